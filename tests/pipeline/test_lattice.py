"""Probabilities of entities against enumeration of all tag sequences."""

import itertools

import numpy as np
import pytest
import torch

from bert_spacy.layers.ner import TagScores
from bert_spacy.nn.crf import LinearChainCRF
from bert_spacy.pipeline.given import bind_tags
from bert_spacy.pipeline.lattice import Lattice, Spans, split_scores
from bert_spacy.text.tags import allowed_transitions, tags_to_spans

LENGTHS = np.array([4, 1, 3])
LABELS = ["PER", "LOC"]


def make_lattice(scheme, kind, n_labels, temperature=1.0, presets=()):
    """A lattice of Docs with a CRF under hard constraints, a "free" one without, or "none"."""
    generator = torch.Generator().manual_seed(3)
    masks = [torch.from_numpy(mask) for mask in allowed_transitions(n_labels, scheme)]
    n_tags = len(masks[1])
    crf = None
    if kind != "none":
        crf = LinearChainCRF(n_tags, *(masks if kind == "hard" else ())).double()
    for param in crf.parameters() if crf else ():
        param.data.copy_(torch.randn(param.shape, generator=generator))
    n = int(LENGTHS.sum())
    emissions = torch.randn((n, n_tags), generator=generator, dtype=torch.float64) * 1.5
    scores = TagScores(emissions, LENGTHS, np.concatenate([np.arange(x) for x in LENGTHS]))
    given = bind_tags(presets, scores, LABELS[:n_labels], scheme)
    return Lattice(scores, crf, scheme, n_labels, temperature, given)


def enumerate_doc(lattice, low, high, is_possible=lambda path: True):
    """All taggings of a text that are possible, and their probabilities, by products alone."""
    emissions = lattice.scores.emissions[low:high].numpy() / lattice.temperature
    legal, first, last = allowed_transitions(lattice.n_labels, lattice.scheme)
    is_free = lattice.crf is not None and bool(lattice.crf.transitions_mask.all())
    paths, scores = [], []
    for path in itertools.product(range(emissions.shape[1]), repeat=high - low):
        if not is_possible(path):
            continue
        score = sum(emissions[t, tag] for t, tag in enumerate(path))
        if lattice.crf is not None:
            steps = list(zip(path, path[1:]))
            is_legal = first[path[0]] and last[path[-1]] and all(legal[a, b] for a, b in steps)
            if not (is_legal or is_free):
                continue
            crf = lattice.crf
            extra = crf.start[path[0]] + crf.end[path[-1]]
            extra = extra + sum(crf.transitions[a, b] for a, b in steps)
            score += float(extra.detach()) / lattice.temperature
        paths.append(path)
        scores.append(score)
    shares = np.exp(np.array(scores) - np.max(scores))
    return paths, shares / shares.sum()


def oracle(lattice):
    """The probability of every entity: the share of the taggings that hold it."""
    found = {}
    for low, high in zip(lattice.offsets, lattice.offsets[1:]):
        paths, shares = enumerate_doc(lattice, low, high)
        for path, share in zip(paths, shares):
            for a, b, k in zip(*tags_to_spans(path, lattice.n_labels, lattice.scheme)):
                key = (int(low + a), int(low + b), int(k))
                found[key] = found.get(key, 0.0) + share
    return found


KINDS = [
    ("bio", "hard", 2),
    ("bioes", "hard", 1),
    ("biox", "hard", 1),
    ("bio", "free", 2),
    ("bioes", "free", 1),
    ("bio", "none", 2),
    ("bioes", "none", 1),
]


@pytest.mark.parametrize(("scheme", "kind", "n_labels"), KINDS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_every_entity_has_its_share_of_all_taggings(scheme, kind, n_labels, temperature):
    lattice = make_lattice(scheme, kind, n_labels, temperature)
    wanted = oracle(lattice)
    every = [
        (a, b, k)
        for low, high in zip(lattice.offsets, lattice.offsets[1:])
        for a in range(low, high)
        for b in range(a + 1, high + 1)
        for k in range(n_labels)
    ]
    values = lattice.score(Spans(*np.array(every).T))
    np.testing.assert_allclose(values, [wanted.get(key, 0.0) for key in every], atol=1e-12)


@pytest.mark.parametrize(("scheme", "kind", "n_labels"), KINDS)
@pytest.mark.parametrize("lowest", [0.001, 0.05, 0.3, 0.99])
def test_search_finds_all_that_are_probable_and_no_other(scheme, kind, n_labels, lowest):
    lattice = make_lattice(scheme, kind, n_labels)
    wanted = {key: p for key, p in oracle(lattice).items() if p >= lowest}
    spans, values = lattice.search(lowest)
    assert (np.diff(spans.start) >= 0).all()
    found = dict(zip(zip(*(part.tolist() for part in spans)), values))
    assert found.keys() == wanted.keys()
    assert len(found) == len(values)
    for key, value in found.items():
        assert value == pytest.approx(wanted[key])


@pytest.mark.parametrize(("scheme", "kind", "n_labels"), KINDS)
def test_marginals_and_best_taggings(scheme, kind, n_labels):
    lattice = make_lattice(scheme, kind, n_labels, 1.5)
    ranks, shares = lattice.decode_k_best(6)
    table = lattice.marginals()
    for row, (low, high) in enumerate(zip(lattice.offsets, lattice.offsets[1:])):
        paths, wanted = enumerate_doc(lattice, low, high)
        order = np.argsort(-wanted)[:6]
        n = len(order)
        np.testing.assert_allclose(shares[row, :n], wanted[order])
        assert (shares[row, n:] == 0).all()
        assert [tuple(ranks[i][low:high]) for i in range(n)] == [paths[i] for i in order]
        for t in range(high - low):
            for tag in range(table.shape[1]):
                p = sum(share for path, share in zip(paths, wanted) if path[t] == tag)
                assert table[low + t, tag] == pytest.approx(p)


def test_best_taggings_of_large_scores_keep_their_digits():
    """Sums of scores near a million in single precision are whole quarters."""
    generator = torch.Generator().manual_seed(3)
    emissions = torch.randn((3, 3), generator=generator) + 1e6
    scores = TagScores(emissions, np.array([3]), np.arange(3))
    _, shares = Lattice(scores, None, "bio", 1).decode_k_best(27)
    wanted = torch.einsum("i,j,k->ijk", *emissions.double().softmax(1)).flatten()
    np.testing.assert_allclose(shares[0], wanted.sort(descending=True).values)


def test_search_through_a_long_text_without_knowledge_is_bounded():
    n_labels, n = 3, 3000
    masks = [torch.from_numpy(mask) for mask in allowed_transitions(n_labels, "bio")]
    crf = LinearChainCRF(7, *masks)
    scores = TagScores(torch.zeros(n, 7), np.array([n]), np.arange(n))
    spans, values = Lattice(scores, crf, "bio", n_labels).search(0.01)
    assert 0 < len(values) <= 100 * n
    assert (values >= 0.01).all()


def test_groups_hold_all_docs_with_tokens():
    lengths = np.array([0, 3, 0, 2, 1])
    scores = TagScores(torch.arange(12.0).reshape(6, 2), lengths, np.array([0, 1, 2, 0, 1, 0]))
    parts = list(split_scores(scores))
    assert sorted(i for docs, _ in parts for i in docs.tolist()) == [1, 3, 4]
    for docs, part in parts:
        at = 0
        for i in docs:
            low = lengths[:i].sum()
            rows = part.emissions[at : at + lengths[i]]
            assert torch.equal(rows, scores.emissions[low : low + lengths[i]])
            at += lengths[i]
    none = TagScores(torch.zeros(0, 2), np.array([0, 0]), np.zeros(0, dtype=np.int64))
    assert list(split_scores(none)) == []


def write_tags(spans, length, scheme):
    """Tags of spans, written down one by one; None where a token is free."""
    tags = [None] * length
    width = 4 if scheme == "bioes" else 2
    for start, end, label in spans:
        if label not in LABELS:
            tags[start:end] = [0] * (end - start)
            continue
        first = 1 + LABELS.index(label) * width
        inner = [first] + [first + 1] * (end - start - 1)
        if width == 4:
            inner = [first + 3] if end - start == 1 else [*inner[:-1], first + 2]
        tags[start:end] = inner
    return tags


GIVEN = [
    [[(1, 3, "PER")], [], [(0, 1, "RULE")]],
    [[(0, 1, "PER"), (1, 2, "RULE"), (2, 3, "PER")], [(0, 1, "PER")], []],
    [[(2, 3, "")], [(0, 1, "")], [(0, 3, "PER")]],
    # Borders: alone, beside a given entity, and inside of given ones.
    [[(2, 2, "")], [], [(1, 1, ""), (2, 2, "")]],
    [[(0, 1, "PER"), (1, 1, ""), (3, 3, "")], [], [(0, 2, "RULE"), (1, 1, "")]],
    [[(1, 3, "PER"), (2, 2, "")], [], [(1, 1, ""), (2, 2, ""), (0, 3, "PER")]],
]


@pytest.mark.parametrize(("scheme", "kind", "n_labels"), KINDS)
@pytest.mark.parametrize("presets", GIVEN)
def test_all_is_said_on_condition_that_the_given_spans_hold(scheme, kind, n_labels, presets):
    lattice = make_lattice(scheme, kind, n_labels, 1.5, presets)
    ranks, shares = lattice.decode_k_best(4)
    best, table = lattice.decode(), lattice.marginals()
    spans, values = lattice.search(1e-9)
    found = dict(zip(zip(*(part.tolist() for part in spans)), values))
    every, probable = {}, {}
    width = 4 if scheme == "bioes" else 2
    for row, (low, high) in enumerate(zip(lattice.offsets, lattice.offsets[1:])):
        fixed = [(start, end, label) for start, end, label in presets[row] if start < end]
        borders = {start for start, end, _ in presets[row] if start == end}
        wanted_tags = write_tags(fixed, high - low, scheme)
        taken = {t for start, end, _ in fixed for t in range(start, end)}

        def is_possible(path, fixed=fixed, borders=borders, wanted_tags=wanted_tags, taken=taken):
            if any(tag not in (None, own) for tag, own in zip(wanted_tags, path)):
                return False
            read = [*zip(*tags_to_spans(path, n_labels, scheme))]
            free = [(a, b) for a, b, _ in read if not taken.intersection(range(a, b))]
            if any(a < border < b for a, b in free for border in borders):
                return False
            # No I or E stands at a border, even where it would be read as the begin of an entity.
            if any(path[i] and (path[i] - 1) % width in (1, 2) for i in borders - taken):
                return False
            touching = [(a, b, LABELS[k]) for a, b, k in read if taken.intersection(range(a, b))]
            return set(touching) == {span for span in fixed if span[2] in LABELS[:n_labels]}

        paths, p = enumerate_doc(lattice, low, high, is_possible)
        order = np.argsort(-p)[:4]
        n = len(order)
        np.testing.assert_allclose(shares[row, :n], p[order])
        assert (shares[row, n:] == 0).all()
        assert [tuple(ranks[i][low:high]) for i in range(n)] == [paths[i] for i in order]
        assert tuple(best[low:high]) == paths[order[0]]
        for path, share in zip(paths, p):
            for t, tag in enumerate(path):
                table[low + t, tag] -= share
            for a, b, k in zip(*tags_to_spans(path, n_labels, scheme)):
                key = (int(low + a), int(low + b), int(k))
                every[key] = every.get(key, 0.0) + share
                if not taken.intersection(range(a, b)):
                    probable[key] = every[key]
    np.testing.assert_allclose(table, 0.0, atol=1e-12)
    assert found.keys() == {key for key, share in probable.items() if share >= 1e-9}
    for key, value in found.items():
        assert value == pytest.approx(probable[key])
    keys = sorted(every)
    np.testing.assert_allclose(
        lattice.score(Spans(*np.array(keys).T)), [every[key] for key in keys], atol=1e-12
    )
    read = lattice.read_spans(best)
    fixed_rows = {
        int(lattice.offsets[i]) + t for i in range(3) for a, b, _ in presets[i] for t in range(a, b)
    }
    assert not fixed_rows.intersection(read.start.tolist())
