"""Probabilities of entities against enumeration of all tag sequences."""

import itertools

import numpy as np
import pytest
import torch

from bert_spacy.layers.ner import TagScores
from bert_spacy.nn.crf import LinearChainCRF
from bert_spacy.pipeline.lattice import Lattice, Spans, split_scores
from bert_spacy.text.tags import allowed_transitions, tags_to_spans

LENGTHS = np.array([4, 1, 3])


def make_lattice(scheme, use_crf, n_labels, temperature=1.0):
    generator = torch.Generator().manual_seed(3)
    masks = [torch.from_numpy(mask) for mask in allowed_transitions(n_labels, scheme)]
    n_tags = len(masks[1])
    crf = LinearChainCRF(n_tags, *masks).double() if use_crf else None
    for param in crf.parameters() if crf else ():
        param.data.copy_(torch.randn(param.shape, generator=generator))
    n = int(LENGTHS.sum())
    emissions = torch.randn((n, n_tags), generator=generator, dtype=torch.float64) * 1.5
    scores = TagScores(emissions, LENGTHS, np.concatenate([np.arange(x) for x in LENGTHS]))
    return Lattice(scores, crf, scheme, n_labels, temperature)


def enumerate_doc(lattice, low, high):
    """All taggings of a text and their probabilities, by products alone."""
    emissions = lattice.scores.emissions[low:high].numpy() / lattice.temperature
    legal, first, last = allowed_transitions(lattice.n_labels, lattice.scheme)
    paths, scores = [], []
    for path in itertools.product(range(emissions.shape[1]), repeat=high - low):
        score = sum(emissions[t, tag] for t, tag in enumerate(path))
        if lattice.crf is not None:
            steps = list(zip(path, path[1:]))
            if not (first[path[0]] and last[path[-1]] and all(legal[a, b] for a, b in steps)):
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


KINDS = [("bio", True, 2), ("bioes", True, 1), ("bio", False, 2), ("bioes", False, 1)]


@pytest.mark.parametrize(("scheme", "use_crf", "n_labels"), KINDS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_every_entity_has_its_share_of_all_taggings(scheme, use_crf, n_labels, temperature):
    lattice = make_lattice(scheme, use_crf, n_labels, temperature)
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


@pytest.mark.parametrize(("scheme", "use_crf", "n_labels"), KINDS)
@pytest.mark.parametrize("lowest", [0.001, 0.05, 0.3, 0.99])
def test_search_finds_all_that_are_probable_and_no_other(scheme, use_crf, n_labels, lowest):
    lattice = make_lattice(scheme, use_crf, n_labels)
    wanted = {key: p for key, p in oracle(lattice).items() if p >= lowest}
    spans, values = lattice.search(lowest)
    assert (np.diff(spans.start) >= 0).all()
    found = dict(zip(zip(*(part.tolist() for part in spans)), values))
    assert found.keys() == wanted.keys()
    assert len(found) == len(values)
    for key, value in found.items():
        assert value == pytest.approx(wanted[key])


@pytest.mark.parametrize(("scheme", "use_crf", "n_labels"), KINDS)
def test_marginals_and_best_taggings(scheme, use_crf, n_labels):
    lattice = make_lattice(scheme, use_crf, n_labels, 1.5)
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


def test_search_through_a_long_text_without_knowledge_is_bounded():
    n_labels, n = 3, 3000
    masks = [torch.from_numpy(mask) for mask in allowed_transitions(n_labels, "bio")]
    crf = LinearChainCRF(7, *masks)
    scores = TagScores(torch.zeros(n, 7), np.array([n]), np.arange(n))
    spans, values = Lattice(scores, crf, "bio", n_labels).search(0.01)
    assert 0 < len(values) <= 100 * n
    assert (values >= 0.01).all()


def test_groups_hold_all_docs_with_tokens():
    lengths = np.array([0, 3, 0, 2])
    scores = TagScores(torch.arange(10.0).reshape(5, 2), lengths, np.array([0, 1, 2, 0, 1]))
    parts = list(split_scores(scores))
    assert sorted(i for docs, _ in parts for i in docs.tolist()) == [1, 3]
    for docs, part in parts:
        at = 0
        for i in docs:
            low = lengths[:i].sum()
            rows = part.emissions[at : at + lengths[i]]
            assert torch.equal(rows, scores.emissions[low : low + lengths[i]])
            at += lengths[i]
    none = TagScores(torch.zeros(0, 2), np.array([0, 0]), np.zeros(0, dtype=np.int64))
    assert list(split_scores(none)) == []
