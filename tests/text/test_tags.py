"""Tag schemes against a reader that walks tag names one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_spacy.text.tags import (
    allow_around,
    allowed_transitions,
    count_steps,
    find_pieces,
    log_frequencies,
    spans_to_tags,
    tag_names,
    tags_to_spans,
)

LABELS = ["PER", "LOC", "ORG"]
SCHEMES = ["bio", "bioes", "biox"]


def read_names(names: list[str]) -> list[tuple[int, int, str]]:
    """Read spans from tag names token by token, with the documented repair."""
    spans: list[tuple[int, int, str]] = []
    is_open = False
    for i, name in enumerate(names):
        if name == "O":
            is_open = False
            continue
        prefix, label = name.split("-")
        if is_open and prefix in "IE" and spans[-1][2] == label:
            spans[-1] = (spans[-1][0], i + 1, label)
        else:
            spans.append((i, i + 1, label))
        is_open = prefix in "BI"
    return spans


def write_names(n_tokens: int, spans, scheme: str) -> list[str]:
    """Write tag names span by span."""
    names = ["O"] * n_tokens
    for start, end, label in spans:
        inner = ["B"] + ["I"] * (end - start - 1)
        if scheme == "bioes":
            inner = ["S"] if end - start == 1 else [*inner[:-1], "E"]
        names[start:end] = [f"{prefix}-{LABELS[label]}" for prefix in inner]
    return names


def is_legal(names: tuple[str, ...], scheme: str) -> bool:
    """A sequence is legal if writing down what was read gives it back."""
    spans = [(start, end, LABELS.index(label)) for start, end, label in read_names(list(names))]
    return write_names(len(names), spans, scheme) == list(names)


def as_tuples(spans) -> list[tuple[int, int, int]]:
    return [tuple(row) for row in np.stack(spans, axis=1).tolist()]


@st.composite
def texts(draw) -> tuple[int, list[tuple[int, int, int]]]:
    """Token count and non-overlapping spans."""
    spans, position = [], 0
    for _ in range(draw(st.integers(0, 5))):
        start = position + draw(st.integers(0, 3))
        position = start + draw(st.integers(1, 4))
        spans.append((start, position, draw(st.integers(0, len(LABELS) - 1))))
    return position + draw(st.integers(0, 3)), spans


def test_tag_names():
    assert tag_names(["x", "y"], "bio") == ["O", "B-x", "I-x", "B-y", "I-y"]
    assert tag_names(["x"], "bioes") == ["O", "B-x", "I-x", "E-x", "S-x"]
    assert tag_names([], "bio") == ["O"]


@pytest.mark.parametrize("scheme", SCHEMES)
@given(text=texts(), seed=st.randoms(use_true_random=False))
def test_round_trip(scheme, text, seed):
    n_tokens, spans = text
    shuffled = seed.sample(spans, len(spans))
    tags = spans_to_tags(n_tokens, shuffled, scheme)
    names = tag_names(LABELS, scheme)
    assert [names[tag] for tag in tags] == write_names(n_tokens, spans, scheme)
    assert as_tuples(tags_to_spans(tags, len(LABELS), scheme)) == spans


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=300)
@given(data=st.data())
def test_any_tags_of_many_texts(scheme, data):
    """Whatever the tags, texts in a row give the spans of each text alone."""
    names = tag_names(LABELS, scheme)
    tag = st.integers(0, len(names) - 1)
    rows = data.draw(st.lists(st.lists(tag, max_size=8), max_size=5))
    offsets = np.cumsum([0, *map(len, rows)])
    flat = [tag for row in rows for tag in row]
    start, end, label = tags_to_spans(flat, len(LABELS), scheme, offsets)
    text = np.searchsorted(offsets, start, side="right") - 1
    base = offsets[text]
    got = [
        (int(i), int(s), int(e), LABELS[int(k)])
        for i, s, e, k in zip(text, start - base, end - base, label)
    ]
    expected = [
        (i, *span) for i, row in enumerate(rows) for span in read_names([names[t] for t in row])
    ]
    assert got == expected


@pytest.mark.parametrize(
    ("scheme", "names", "expected"),
    [
        ("bio", "O I-PER I-PER O", [(1, 3, 0)]),
        ("bio", "B-PER I-LOC I-LOC", [(0, 1, 0), (1, 3, 1)]),
        ("bio", "B-PER B-PER I-PER", [(0, 1, 0), (1, 3, 0)]),
        ("bio", "I-PER B-PER", [(0, 1, 0), (1, 2, 0)]),
        ("bioes", "E-PER", [(0, 1, 0)]),
        ("bioes", "I-PER E-PER", [(0, 2, 0)]),
        ("bioes", "B-PER O", [(0, 1, 0)]),
        ("bioes", "B-PER I-PER", [(0, 2, 0)]),
        ("bioes", "B-PER E-LOC", [(0, 1, 0), (1, 2, 1)]),
        ("bioes", "B-PER E-PER E-PER", [(0, 2, 0), (2, 3, 0)]),
        ("bioes", "S-PER I-PER E-PER", [(0, 1, 0), (1, 3, 0)]),
        ("bioes", "B-PER S-PER E-PER", [(0, 1, 0), (1, 2, 0), (2, 3, 0)]),
    ],
)
def test_repair(scheme, names, expected):
    ids = {name: i for i, name in enumerate(tag_names(LABELS, scheme))}
    tags = np.array([ids[name] for name in names.split()])
    assert as_tuples(tags_to_spans(tags, len(LABELS), scheme)) == expected


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_span_crosses_texts(scheme):
    tags = spans_to_tags(6, [(1, 5, 1)], scheme)
    spans = as_tuples(tags_to_spans(tags, len(LABELS), scheme, [0, 3, 3, 6]))
    assert spans == [(1, 3, 1), (3, 5, 1)]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_transitions_admit_exactly_the_legal_sequences(scheme, length):
    names = tag_names(LABELS[:2], scheme)
    transitions, start, end = allowed_transitions(2, scheme)
    assert transitions.shape == (len(names), len(names))
    assert transitions.dtype == start.dtype == end.dtype == bool
    for path in itertools.product(range(len(names)), repeat=length):
        has_path = start[path[0]] and end[path[-1]]
        has_path &= all(transitions[i, j] for i, j in zip(path, path[1:]))
        assert has_path == is_legal(tuple(names[i] for i in path), scheme), path


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_labels(scheme):
    transitions, start, end = allowed_transitions(0, scheme)
    assert transitions.tolist() == [[True]]
    assert start.tolist() == end.tolist() == [True]
    assert as_tuples(tags_to_spans([0, 0], 0, scheme)) == []
    assert as_tuples(tags_to_spans([], 0, scheme, [0, 0])) == []


@pytest.mark.parametrize(
    ("code", "spans"),
    [
        ("B021", [(-1, 1, 0)]),
        ("B021", [(2, 6, 0)]),
        ("B021", [(2, 2, 0)]),
        ("B021", [(1, 2, -1)]),
        ("B022", [(2, 4, 0), (0, 3, 1)]),
        ("B022", [(0, 1, 0), (0, 1, 0)]),
    ],
)
def test_bad_spans_have_codes(code, spans):
    with pytest.raises(ValueError, match=rf"\[{code}\]"):
        spans_to_tags(5, spans, "bio")


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ([(3, 9, 0)], r"\[B021\].*\(3, 9, 0\)"),
        ([(4, 5, 0), (3, 5, 1)], r"\[B022\].*\(3, 5\).*\(4, 5\)"),
    ],
)
def test_bad_spans_are_found_and_named_among_good_ones(bad, named):
    with pytest.raises(ValueError, match=named):
        spans_to_tags(5, [(0, 1, 0), (1, 3, 1), *bad], "bio")


def test_bad_arguments_have_codes():
    for call in (lambda: tag_names([], "bilou"), lambda: allowed_transitions(1, "bilou")):
        with pytest.raises(ValueError, match=r"\[B020\]"):
            call()
    for tags in ([0, 3], [-1], [[0, 1]]):
        with pytest.raises(ValueError, match=r"\[B023\]"):
            tags_to_spans(tags, 1, "bio")
    for offsets in ([], [0, 1], [1, 2], [0, 2, 1, 2], [[0, 2]]):
        with pytest.raises(ValueError, match=r"\[B024\]"):
            tags_to_spans([0, 0], 1, "bio", offsets)


FIXED = [
    [],
    [(1, 2, 0)],
    [(0, 2, 1), (2, 3, 0)],
    [(1, 3, -1)],
    [(1, 2, 0), (2, 3, -1)],
    [(2, 4, 0)],
    [(2, 2, 0)],
    [(4, 4, -1), (0, 1, 1)],
]


def holds(found: list[tuple[int, int, int]], spans: list[tuple[int, int, int]]) -> bool:
    """Whether a tagging's spans contain the fixed ones, and nothing reaches into any of them."""
    for start, end, label in spans:
        if start == end:
            reaching = [span for span in found if span[0] < start < span[1]]
        else:
            reaching = [span for span in found if span[0] < end and start < span[1]]
        if reaching != ([(start, end, label)] if label >= 0 and start < end else []):
            return False
    return True


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("spans", FIXED)
def test_allowed_tags_are_those_of_the_legal_taggings_that_hold_the_spans(scheme, spans):
    n_tokens, n_labels = 4, 2
    allowed = allow_around(n_tokens, spans, n_labels, scheme)
    steps, first, last = allowed_transitions(n_labels, scheme)
    n_tags = len(first)
    for path in itertools.product(range(n_tags), repeat=n_tokens):
        if not (
            first[path[0]] and last[path[-1]] and all(steps[a, b] for a, b in zip(path, path[1:]))
        ):
            continue
        found = as_tuples(tags_to_spans(path, n_labels, scheme))
        assert all(allowed[range(n_tokens), path]) == holds(found, spans), path
    with pytest.raises(ValueError, match="B022"):
        allow_around(4, [(0, 2, 0), (1, 3, -1)], n_labels, scheme)
    with pytest.raises(ValueError, match="B021"):
        allow_around(4, [(3, 5, -1)], n_labels, scheme)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=6), max_size=5),
)
def test_counted_steps(texts):
    flat = [pair for text in texts for pair in text]
    offsets = np.cumsum([0, *(len(text) for text in texts)])
    tags, known = [tag for tag, _ in flat], [ok for _, ok in flat]
    pairs, start, end = count_steps(tags, known, 5, offsets)
    wanted = np.zeros((5, 5)), np.zeros(5), np.zeros(5)
    for text in texts:
        for (a, a_known), (b, b_known) in zip(text, text[1:]):
            wanted[0][a, b] += a_known and b_known
        for place, table in ((0, wanted[1]), (-1, wanted[2])):
            if text and text[place][1]:
                table[text[place][0]] += 1
    for ours, theirs in zip((pairs, start, end), wanted):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_frequencies_add_up_to_one_over_what_is_allowed(scheme):
    allowed = allowed_transitions(2, scheme)
    counts = count_steps(
        spans_to_tags(6, [(1, 3, 0), (3, 4, 1)], scheme), [True] * 6, len(allowed[1]), [0, 6]
    )
    steps, first, last = log_frequencies(counts, allowed)
    p_step, p_first, p_last = (np.exp(x) * ok for x, ok in zip((steps, first, last), allowed))
    np.testing.assert_allclose(p_step.sum(1) + p_last, 1.0)
    assert p_first.sum() == pytest.approx(1.0)
    # After O: O once more, B-x (or what begins) once, the end once, and one more of each.
    n_after = allowed[0][0].sum() + 1
    assert p_step[0, 0] == pytest.approx(2 / (3 + n_after))
    assert p_last[0] == pytest.approx(2 / (3 + n_after))
    assert p_first[0] == pytest.approx(2 / (1 + allowed[1].sum()))
    assert np.isfinite(steps).all() and (steps[~allowed[0]] == 0).all()


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=8))
def test_pieces_that_begin_no_token_are_x(steps):
    # Each token begins in the last piece of the one before, or in the next piece.
    tokens, end = [], 0
    for shared, size in steps:
        low = max(end - shared, 0)
        tokens.append(list(range(low, low + size)))
        end = max(end, low + size)
    starts = np.cumsum([0, *(len(t) for t in tokens)])
    rows, token, is_x = find_pieces(starts, [row for t in tokens for row in t])
    assert rows.tolist() == sorted({row for t in tokens for row in t})
    firsts = {t[0] for t in tokens if t}
    assert is_x.tolist() == [row not in firsts for row in rows.tolist()]
    assert token.tolist() == [
        next(i for i, t in enumerate(tokens) if r in t) for r in rows.tolist()
    ]
