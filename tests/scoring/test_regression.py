"""Correlations against numpy and worked cases, and the scorer of regression."""

import numpy as np
import pytest
import spacy
from spacy.training import Example

from bert_spacy.scoring.regression import (
    REGRESSION_SCORES,
    pearson,
    ranks,
    score_regression,
    spearman,
)
from bert_spacy.targets import set_targets


def plain_ranks(values):
    """Rank by counting smaller and equal values."""
    return [sum(x < v for x in values) + (sum(x == v for x in values) + 1) / 2 for v in values]


@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_those_of_numpy(seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=40).round(1)  # with ties
    b = (0.5 * a + rng.normal(size=40)).round(1)
    assert pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
    assert list(ranks(a)) == plain_ranks(a.tolist())
    wanted = np.corrcoef(plain_ranks(a.tolist()), plain_ranks(b.tolist()))[0, 1]
    assert spearman(a, b) == pytest.approx(wanted, abs=1e-12)


def test_spearman_without_ties_is_that_of_rank_differences():
    a, b = [1.0, 5.0, 2.0, 4.0, 3.0], [10.0, 30.0, 1e6, 20.0, -4.0]
    d = np.array([1, 5, 2, 4, 3]) - np.array([2, 4, 5, 3, 1])
    assert spearman(a, b) == pytest.approx(1 - 6 * (d @ d) / (5 * (25 - 1)), abs=1e-12)


def test_extremes():
    assert pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert pearson([1, 2, 3], [0, -1, -2]) == pytest.approx(-1.0)
    assert spearman([1, 2, 3], [1, 10, 1e300]) == pytest.approx(1.0)
    assert pearson([1e200, 2e200, 4e200], [1, 2, 4]) == pytest.approx(1.0)
    assert pearson([1, 2], [0.1, 0.1]) == spearman([1, 2], [3, 3]) == 0.0
    for gold in ([], [1.0], [0.1, 0.1, 0.1]):
        assert pearson(gold, [0.5] * len(gold)) is None
        assert spearman(gold, [0.5] * len(gold)) is None


def test_what_cannot_be_correlated_is_refused():
    for function in (pearson, spearman):
        with pytest.raises(ValueError, match=r"B504.*\(2,\).*\(3,\)"):
            function([1, 2], [1, 2, 3])
        with pytest.raises(ValueError, match="B505"):
            function([1, 2], [1, float("nan")])


def make_examples(rows):
    nlp = spacy.blank("en")
    examples = []
    for gold, predicted in rows:
        examples.append(Example(nlp.make_doc("x"), nlp.make_doc("x")))
        if gold is not None:
            set_targets(examples[-1].reference, gold)
        if predicted is not None:
            set_targets(examples[-1].predicted, predicted)
    return examples


def test_scores_are_means_over_targets():
    rows = [
        ({"a": 1.0, "b": 3.0}, {"a": 1.0, "b": 1.0}),
        ({"a": 2.0, "b": 2.0}, {"a": 4.0, "b": 2.0}),
        ({"a": 3.0, "b": 1.0}, {"a": 9.0, "b": 3.0}),
        ({"a": 4.0}, None),
        (None, {"a": 1.0, "b": 0.0}),
    ]
    scores = score_regression(make_examples(rows), labels=["a", "b", "c"])
    a = np.corrcoef([1, 2, 3], [1, 4, 9])[0, 1]
    assert scores["regression_pearson"] == pytest.approx((a - 1) / 2)
    assert scores["regression_spearman"] == pytest.approx(0.0)
    assert scores["regression_score"] == pytest.approx((a - 1) / 4)
    per_target = scores["regression_per_target"]
    assert set(per_target) == {"a", "b"}
    assert (per_target["a"]["n"], per_target["a"]["missing"]) == (3, 1)
    assert per_target["a"]["rmse"] == pytest.approx(((0 + 4 + 36) / 3) ** 0.5)
    assert per_target["b"]["pearson"] == pytest.approx(-1.0)
    assert scores == score_regression(make_examples(rows))


def test_nothing_to_score_gives_none():
    assert score_regression(make_examples([(None, {"a": 1.0})])) == dict.fromkeys(REGRESSION_SCORES)
    assert score_regression([]) == dict.fromkeys(REGRESSION_SCORES)
    missing = score_regression(make_examples([({"a": 1.0}, None)]))
    assert missing["regression_score"] is None
    assert missing["regression_per_target"]["a"]["missing"] == 1
