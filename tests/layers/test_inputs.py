"""Padded model input, built by index arrays, against the same built window by window."""

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertTokenizer

from bert_spacy.data.pairs import make_choice, make_pair, make_question, make_segments
from bert_spacy.layers import inputs
from bert_spacy.layers.inputs import (
    cut_stream,
    owned_positions,
    pad_group,
    prepare_docs,
    round_width,
)
from bert_spacy.nn.encoder import clean_tokenizer
from bert_spacy.text.pieces import Template, read_template

NLP = spacy.blank("en")
WORD = st.sampled_from(["the", "anna", "x" * 9, "北京", "good", "play"])
TEXT = st.lists(WORD, max_size=12).map(" ".join)
WINDOW, PAD = 24, 7
# Special pieces of several ids each, so that their order shows.
ODD = Template(np.array([90, 91]), np.array([92, 93, 94]), np.array([95, 96]), (3, 5), 0)


def read_by_hand(layout, window, n_segments):
    """List the piece rows of the texts of a window's reading, and which text is cut."""
    doc = int(np.searchsorted(layout.doc_windows, window, side="right")) - 1
    n, is_choice, has_context = n_segments[doc]
    every = range(*layout.doc_pieces[doc : doc + 2])
    parts = [[r for r in every if layout.piece_segment[r] == i] for i in range(n)]
    if not is_choice:
        is_late = has_context or n != 2 or len(parts[0]) <= len(parts[1])
        return parts, n - 1 if is_late else 0
    context, question, chosen = parts[0], parts[1], parts[2 + layout.window_choice[window]]
    return ([context, [*question, *chosen]] if context else [question, chosen]), 0


def window_by_hand(given_, n_segments, window, template):
    """Join the parts of one window: ids, and the piece row of each, -1 for special ones."""
    layout, plan = given_.layout, given_.plan
    parts, body = read_by_hand(layout, window, n_segments)
    parts[body] = parts[body][plan.start[window] : plan.end[window]]
    n = len(parts)
    ids, rows, types = list(template.prefix), [-1] * len(template.prefix), []
    for i, part in enumerate(parts):
        closing = template.suffix if i == n - 1 else template.infix
        ids += [*(int(layout.piece_ids[r]) for r in part), *closing]
        rows += [*part, *[-1] * len(closing)]
        types += [template.types[int(n > 1 and i == n - 1)]] * (len(ids) - len(types))
    return ids, rows, types


@pytest.fixture(scope="module")
def tokenizer(bert):
    return clean_tokenizer(AutoTokenizer.from_pretrained(bert))


LISTS = st.lists(TEXT, min_size=1, max_size=3).map(lambda texts: (False, texts))
LABELS = {True: "context", False: "b"}
ITEMS = st.tuples(TEXT, TEXT, st.lists(TEXT.filter(bool), min_size=2, max_size=4)).map(
    lambda item: (True, item)
)


@settings(max_examples=120, deadline=None)
@given(st.lists(LISTS | ITEMS, min_size=1, max_size=6), st.data())
@pytest.mark.filterwarnings("ignore:.*BW001")
@pytest.mark.parametrize("template", [ODD, None], ids=["odd", "own"])
def test_padded_groups_equal_windows_joined_by_hand(tokenizer, template, texts, data):
    template = template or read_template(tokenizer)
    docs, n_segments = [], []
    for is_choice, part in texts:
        # What is shortened is no longer the longest: there the context alone shows the rule.
        is_pair = not is_choice and len(part) == 2
        has_context = is_pair and (len(part[1].split()) > 2 or data.draw(st.booleans()))
        n_segments.append((2 + len(part[2]) if is_choice else len(part), is_choice, has_context))
        if is_choice:
            docs.append(make_choice(NLP, *part))
        elif len(part) > 1:
            docs.append(make_segments(NLP, part, [*["a"] * (len(part) - 1), LABELS[has_context]]))
        else:
            docs.append(NLP.make_doc(part[0]))
    prepared = prepare_docs(docs, tokenizer, template, WINDOW, 5)
    order = data.draw(st.permutations(range(len(prepared.lengths))))
    size = data.draw(st.integers(1, len(order)))
    given_rows = []
    for at in range(0, len(order), size):
        group = np.array(order[at : at + size])
        ids, mask, types = pad_group(prepared, group, template, PAD)
        assert ids.dtype == mask.dtype == types.dtype == np.int64
        hands = [window_by_hand(prepared, n_segments, window, template) for window in group]
        width = max(len(hand[0]) for hand in hands)
        assert ids.shape == mask.shape == types.shape == (len(group), width)
        for row, (want, _, kinds) in enumerate(hands):
            rest = width - len(want)
            assert ids[row].tolist() == [*want, *[PAD] * rest]
            assert mask[row].tolist() == [*[1] * len(want), *[0] * rest]
            assert types[row].tolist() == [*kinds, *[0] * rest]
        places, rows = owned_positions(prepared, group, width, template)
        held = np.concatenate([[*r, *[-1] * (width - len(r))] for _, r, _ in hands])
        np.testing.assert_array_equal(held[places], rows)
        given_rows += rows.tolist()
    # Each piece is given once.
    assert sorted(given_rows) == list(range(prepared.layout.doc_pieces[-1]))


@given(st.integers(1, 600), st.integers(8, 600))
def test_widths_are_rounded_by_less_than_a_sixteenth(width, limit):
    rounded = round_width(width, limit)
    assert width <= rounded <= max(width, limit)
    assert rounded == width or rounded - width < width / 16


def test_rounded_widths_are_few():
    assert [round_width(w, 512) for w in (31, 33, 100, 150, 260, 500, 511)] == [
        *(31, 34, 100, 152, 272, 512, 512)
    ]
    assert len({round_width(w, 512) for w in range(1, 513)}) == 31 + 4 * 16 + 1
    # Without a limit there is no rounding.
    assert round_width(500, 0) == 500


def test_the_longer_text_of_a_pair_is_cut_and_the_shorter_one_stays(tokenizer):
    long, short = " ".join(["play"] * 40), "good"
    template = read_template(tokenizer)
    for texts, body in (([long, short], 0), ([short, long], 1)):
        prepared = prepare_docs([make_pair(NLP, *texts)], tokenizer, template, WINDOW, 5)
        ids, mask, types = pad_group(prepared, np.arange(len(prepared.lengths)), template, PAD)
        assert len(ids) > 1 and prepared.readings.body.item() == body
        one = tokenizer(short, add_special_tokens=False)["input_ids"]
        for row, there, kind in zip(ids, mask.astype(bool), types):
            first = row[there & (kind == 0)].tolist()[1:-1]
            second = row[there & (kind == 1)].tolist()[:-1]
            assert (second if body == 0 else first) == one
            assert len(first) + len(second) + 3 == WINDOW
    # A context is what is cut, however short.
    doc = make_question(NLP, long, short)
    with pytest.warns(UserWarning, match=r"\[BW001\]"):
        assert prepare_docs([doc], tokenizer, template, WINDOW, 5).readings.body.item() == 1


LONG = st.lists(WORD, max_size=40).map(" ".join)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(LONG, LONG), min_size=1, max_size=5), st.integers(8, 40))
def test_longest_first_gives_what_transformers_gives(tokenizer, bert, pairs, window):
    template = read_template(tokenizer)
    docs = [make_pair(NLP, *pair) for pair in pairs]
    prepared = prepare_docs(docs, tokenizer, template, window, 5, "longest_first")
    ids, mask, types = pad_group(prepared, np.arange(len(prepared.lengths)), template, PAD)
    # The slow tokenizer, as BERT's own code; the fast one may leave the odd piece to the other.
    slow = BertTokenizer(str(bert / "vocab.txt"))
    assert len(ids) == len(docs)
    for i, pair in enumerate(pairs):
        want = slow(*pair, truncation="longest_first", max_length=window)
        there = mask[i].astype(bool)
        assert ids[i][there].tolist() == want["input_ids"]
        assert types[i][there].tolist() == want["token_type_ids"]
        whole = slow(*pair)["input_ids"]
        assert prepared.n_cut[i] == len(whole) - len(want["input_ids"])


def test_longest_first_changes_nothing_but_pairs_that_are_too_long(tokenizer):
    long, short = " ".join(["play"] * 40), "good"
    docs = [
        NLP.make_doc(long),
        make_pair(NLP, short, short),
        make_question(NLP, short, long),
        make_segments(NLP, [long, short], ["a", "context"]),
        make_segments(NLP, [short, short, long], ["a", "b", "c"]),
        make_choice(NLP, long, short, [short, "the good"]),
        make_choice(NLP, "", long, [short, "the good"]),
    ]
    template = read_template(tokenizer)
    kept = [docs[i] for i in (0, 1, 2, 4, 5, 6)]
    plain = prepare_docs(kept, tokenizer, template, WINDOW, 5)
    given_ = prepare_docs(kept, tokenizer, template, WINDOW, 5, "longest_first")
    assert not given_.n_cut.any()
    everything = np.arange(len(plain.lengths))
    for a, b in zip(*(pad_group(x, everything, template, PAD) for x in (plain, given_))):
        np.testing.assert_array_equal(a, b)
    with pytest.warns(UserWarning, match=r"\[BW001\]"):  # as a context, however short
        given_ = prepare_docs([docs[3]], tokenizer, template, WINDOW, 5, "longest_first")
    assert not given_.n_cut.any()
    with_pair = [*kept[:3], make_pair(NLP, long, long), *kept[3:]]
    given_ = prepare_docs(with_pair, tokenizer, template, WINDOW, 5, "longest_first")
    assert given_.n_cut.tolist() == [0, 0, 0, 80 - (WINDOW - 3), 0, 0, 0]
    assert len(given_.lengths) == len(plain.lengths) + 1


def test_stream_is_cut_by_docs_and_tokens_and_read_no_further_than_needed(monkeypatch):
    monkeypatch.setattr(inputs, "TOKENS_AT_ONCE", 10)
    # Tokens of one character, but for the last Doc, whose one token counts as 11.
    texts = [" ".join("a" * n) for n in (4, 6, 4, 5, 2, 30, 1, 0, 1, 1)] + ["a" * 44]
    docs, read = [NLP.make_doc(text) for text in texts], []
    parts = cut_stream((read.append(doc) or doc for doc in docs), 3)
    found = [([len(doc) for doc in part], len(read)) for part in parts]
    # One Doc too many is read only where it does not fit any more.
    assert found == [
        ([4, 6], 2),
        ([4, 5], 5),
        ([2], 6),
        ([30], 6),
        ([1, 0, 1], 9),
        ([1], 11),
        ([1], 11),
    ]
    assert list(cut_stream([], 3)) == []
