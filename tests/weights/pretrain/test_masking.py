"""Masks agree with counts and with a plain re-telling of the papers."""

import numpy as np
import pytest

from bert_spacy.weights.pretrain.masking import Masking, choose, hide, span_lengths, take_up_to

WORDS = np.array([True, False, True, True, False, False, True, True, False, True] * 10)


def rng(seed=0):
    return np.random.default_rng(seed)


def greedy(sizes, budget):
    """Take what fits, in order, one by one."""
    taken = []
    for size in sizes:
        taken.append(size <= budget)
        budget -= size if size <= budget else 0
    return taken


def test_taking_up_to_a_budget_is_greedy():
    for seed in range(300):
        random = rng(seed)
        sizes = random.integers(1, 9, size=random.integers(0, 20))
        budget = int(random.integers(0, 40))
        assert take_up_to(sizes, budget).tolist() == greedy(sizes.tolist(), budget)


@pytest.mark.parametrize("n", [1, 3, 7, 100, 126])
def test_pieces_are_a_fixed_share_and_all_alike(n):
    hits = np.zeros(n)
    for seed in range(400):
        chosen, units = choose(Masking(), np.ones(n, dtype=bool), rng(seed))
        assert chosen.sum() == max(1, round(0.15 * n))
        assert units.tolist() == list(range(n))
        hits += chosen
    expected = 400 * max(1, round(0.15 * n)) / n
    assert np.abs(hits - expected).max() < 5 * np.sqrt(expected) + 1


def test_nothing_is_chosen_from_nothing():
    for unit in ("piece", "word", "span"):
        chosen, units = choose(Masking(unit), np.zeros(0, dtype=bool), rng())
        assert len(chosen) == len(units) == 0


@pytest.mark.parametrize("unit", ["word", "span"])
def test_words_are_hidden_as_a_whole(unit):
    word_of = np.cumsum(WORDS)
    for seed in range(200):
        chosen, _ = choose(Masking(unit), WORDS, rng(seed))
        assert 13 <= chosen.sum() <= 15
        for word in np.unique(word_of):
            assert len(set(chosen[word_of == word].tolist())) == 1


def test_every_word_has_its_turn():
    word_of = np.cumsum(WORDS) - 1
    hits = np.zeros(word_of[-1] + 1)
    for seed in range(2000):
        chosen, _ = choose(Masking("word"), WORDS, rng(seed))
        hits += np.bincount(word_of, chosen) > 0
    # Longer words fit a little less often into what is left of the budget.
    assert hits.min() > 0.1 * 2000
    assert hits.max() < 0.2 * 2000


def test_a_word_beyond_the_budget_stays():
    chosen, _ = choose(Masking("word"), np.array([True, False, False, False]), rng())
    assert not chosen.any()


def test_lengths_of_spans_are_those_of_the_paper():
    p = span_lengths(0.2, 10)
    assert p.sum() == pytest.approx(1)
    assert (p[1:] / p[:-1]).tolist() == pytest.approx([0.8] * 9)
    # The mean that SpanBERT names.
    assert (p * np.arange(1, 11)).sum() == pytest.approx(3.8, abs=0.01)


def test_spans_have_these_lengths():
    n = 100_000
    lengths = []
    starts = np.ones(n, dtype=bool)
    for seed in range(3):
        chosen, units = choose(Masking("span", rate=0.02), starts, rng(seed))
        assert chosen.sum() == 2000
        lengths += np.unique(units[chosen], return_counts=True)[1].tolist()
    found = np.bincount(lengths, minlength=11)[1:] / len(lengths)
    assert np.abs(found - span_lengths(0.2, 10)).max() < 0.03
    assert max(lengths) == 10


def test_spans_do_not_overlap_and_are_contiguous():
    for seed in range(100):
        chosen, units = choose(Masking("span", rate=0.4), WORDS, rng(seed))
        for unit in np.unique(units[chosen]):
            where = np.flatnonzero(chosen & (units == unit))
            assert where.tolist() == list(range(unit, unit + len(where)))
            assert WORDS[unit]


def test_eighty_ten_ten():
    n = 200_000
    ids = np.full(n, 7)
    chosen = np.arange(n) % 2 == 0
    new = hide(Masking(), ids, chosen, np.arange(n), 3, np.array([8, 9]), rng())
    assert (new[~chosen] == 7).all()
    shares = np.bincount(new[chosen], minlength=10) / chosen.sum()
    np.testing.assert_allclose(shares[[3, 7, 8, 9]], [0.8, 0.1, 0.05, 0.05], atol=0.004)


def test_a_span_shares_its_draw():
    chosen, units = choose(Masking("span", rate=0.5), np.ones(1000, dtype=bool), rng())
    new = hide(Masking(), np.full(1000, 7), chosen, units, 3, np.array([8]), rng(1))
    for unit in np.unique(units[chosen]):
        assert len(set(new[chosen & (units == unit)].tolist())) == 1


def test_the_same_seed_gives_the_same_masks():
    for unit in ("piece", "word", "span"):
        first, again, other = (choose(Masking(unit), WORDS, rng(s))[0] for s in (4, 4, 5))
        assert (first == again).all()
        assert (first != other).any()
