"""Measures and fits of probabilities, by hand and against plain searches."""

import math

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from bert_spacy.scored import write_scored
from bert_spacy.scoring.calibration import (
    average_precision,
    bound_precision,
    brier_score,
    expected_error,
    find_threshold,
    find_thresholds,
    fit_temperature,
    is_bound,
    log_loss,
    reliability,
)
from bert_spacy.scoring.ner import judge_spans, score_ner
from bert_spacy.scoring.textcat import judge_cats, score_textcat


def draw(n):
    """Probabilities, and outcomes of just these probabilities."""
    rng = np.random.default_rng(0)
    p = rng.beta(2, 1, n)
    return p, rng.random(n) < p


def test_measures_by_hand():
    p, hit = [0.05, 0.95, 0.95, 1.0, 0.0], [False, True, False, True, False]
    bins = reliability(p, hit, n_bins=10)
    assert bins.count == [2, 3]
    assert bins.confidence == pytest.approx([0.025, (0.95 + 0.95 + 1) / 3])
    assert bins.accuracy == pytest.approx([0.0, 2 / 3])
    wanted = (2 * 0.025 + 3 * abs(2.9 / 3 - 2 / 3)) / 5
    assert expected_error(p, hit, n_bins=10) == pytest.approx(wanted)
    squares = [0.0025, 0.0025, 0.9025, 0, 0]
    assert brier_score(p, hit) == pytest.approx(sum(squares) / 5)
    assert reliability([0.85, 1.0], [True, True], n_bins=10).count == [1, 1]
    assert expected_error([], []) is None
    assert brier_score([], []) is None
    assert log_loss([0.25, 0.25], [True, False]) == pytest.approx(-np.log([0.25, 0.75]))


@pytest.mark.parametrize(("p", "hit"), [([0.5], []), ([1.5], [True]), ([[0.5]], [[True]])])
def test_what_is_no_probability_is_refused(p, hit):
    with pytest.raises(ValueError, match="B525"):
        reliability(p, hit)
    with pytest.raises(ValueError, match="B525"):
        log_loss([math.nan], [True])


@pytest.mark.parametrize("best", [0.3, 1.0, 2.7])
def test_temperature_is_where_the_loss_is_least(best):
    calls = []

    def loss(temperature):
        calls.append(temperature)
        return abs(math.log(temperature / best)) ** 1.5

    assert fit_temperature(loss) == pytest.approx(best, rel=2e-3)
    assert len(calls) == 18


@pytest.mark.parametrize(("best", "is_beyond"), [(0.1, True), (0.3, False), (9, False), (99, True)])
def test_temperature_at_a_bound_is_told(best, is_beyond):
    found = fit_temperature(lambda temperature: abs(math.log(temperature / best)))
    assert is_bound(found) is is_beyond


def bound(hits, n, side):
    """Find where the share seen is just as far from the true one as 80 % of all cases."""
    z, low, high = 0.8416212335729143, 0.0, 1.0
    edge = hits / n
    low, high = (0.0, edge) if side < 0 else (edge, 1.0)
    for _ in range(100):
        middle = (low + high) / 2
        is_far = abs(edge - middle) > z * math.sqrt(middle * (1 - middle) / n)
        if is_far == (side < 0):
            low = middle
        else:
            high = middle
    return low


def test_bounds_of_a_precision_solve_their_equation():
    for hits, n in [(0, 5), (3, 3), (19, 20), (170, 200)]:
        low, high = bound_precision(hits, n)
        assert low == pytest.approx(bound(hits, n, -1), abs=1e-9)
        assert high == pytest.approx(bound(hits, n, 1), abs=1e-9)


def test_threshold_is_the_lowest_that_is_surely_enough():
    p, hit = draw(4000)
    found = find_threshold(p, hit, 0.9)
    kept = p >= found
    assert bound(hit[kept].sum(), kept.sum(), -1) >= 0.9
    for lower in p[p < found]:
        more = p >= lower
        assert bound(hit[more].sum(), more.sum(), -1) < 0.9
    assert find_threshold([0.6, 0.7], [True, True], 0.95) is None  # luck is no evidence
    assert find_threshold([], [], 0.5) is None
    assert find_threshold([0.9] * 7, [True] * 7, 0.9) == 0.9
    equal = np.full(100, 0.9)
    assert find_threshold(equal, np.arange(100) < 50, 0.9) is None  # all or none of equals
    first = np.append(np.full(20, 0.95), equal)
    assert find_threshold(first, np.arange(120) < 50, 0.9) == 0.95
    with pytest.raises(ValueError, match="B526"):
        find_threshold(p, hit, 95)


def test_thresholds_of_labels_lean_on_all_of_them_where_there_are_few():
    p, hit = draw(3000)
    label = np.arange(3000) % 2
    hit[label == 1] &= np.random.default_rng(1).random(1500) < 0.7  # surer than it should be
    few = ([0.99, 0.98], [True, True], [2, 2])
    p, hit, label = (np.concatenate(pair) for pair in zip((p, hit, label), few))
    good, bad, rare, unseen = find_thresholds(p, hit, label, 4, 0.9)
    together = find_threshold(p, hit, 0.9)
    assert together is None  # the bad label spoils the sum
    assert bad is None and rare is None and unseen is None
    own = find_threshold(p[label == 0], hit[label == 0], 0.9)
    assert good == max(own, floor_of(p, 0.9))
    mine = label != 1
    good, bad, rare, unseen = find_thresholds(p[mine], hit[mine], label[mine], 4, 0.9)
    together = find_threshold(p[mine], hit[mine], 0.9)
    assert rare == unseen == bad == max(together, floor_of(p[mine], 0.9))
    wrong = label[mine] == 2
    hit = np.where(wrong, False, hit[mine])
    assert find_thresholds(p[mine], hit, label[mine], 4, 0.9)[2] is None  # they speak against it
    with pytest.raises(ValueError, match="B526"):
        find_thresholds([], [], [], 1, 95)


def floor_of(p, least):
    return min(x for x in p if p[p >= x].mean() >= least)


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_area_over_all_thresholds_in_any_order(seed):
    rng = np.random.default_rng(seed)
    p = rng.integers(0, 5, 30) / 4  # many are equal
    hit = rng.random(30) < 0.6
    area, before = 0.0, 0.0
    for threshold in sorted(set(p), reverse=True):
        given = hit[p >= threshold]
        recall = given.sum() / hit.sum()
        area += (recall - before) * given.mean()
        before = recall
    assert average_precision(p, hit) == pytest.approx(area)
    order = np.argsort(hit)  # the wrong ones first
    assert average_precision(p[order], hit[order]) == pytest.approx(area)
    assert average_precision(p, np.zeros(30)) is None
    assert average_precision([], []) is None


def test_entities_are_scored_by_their_probability(nlp):
    gold = Doc(nlp.vocab, words=["anna", "was", "in", "new", "york"])
    gold.set_ents([Span(gold, 0, 1, "PER"), Span(gold, 3, 5, "LOC")], missing=[gold[1:2]])
    predicted = nlp.make_doc("anna was in new york")
    spans = [Span(predicted, *x) for x in [(0, 1, "PER"), (1, 2, "LOC"), (4, 5, "LOC")]]
    predicted.set_ents(spans)
    write_scored(predicted, "bert_ner_scores", spans, [0.9, 0.8, 0.4])
    eg = Example(predicted, gold)
    places = [(0, 1, "PER"), (0, 1, "LOC"), (1, 2, "LOC"), (3, 5, "LOC"), (4, 5, "LOC")]
    assert judge_spans(eg, places) == [True, False, None, True, False]
    scores = score_ner([eg])
    assert scores["ents_ece"] == pytest.approx((0.1 + 0.4) / 2)
    assert scores["ents_brier"] == pytest.approx((0.01 + 0.16) / 2)
    assert (scores["ents_p"], scores["ents_r"]) == (0.5, 0.5)  # of the same two that can be judged
    # A later component gives another label, and takes an entity away.
    predicted.set_ents([Span(predicted, 0, 1, "PER"), Span(predicted, 4, 5, "X")])
    assert score_ner([eg])["ents_ece"] == pytest.approx(0.1)
    del predicted.spans["bert_ner_scores"]
    assert score_ner([eg])["ents_ece"] is None


def test_categories_are_scored_by_the_probability_of_the_best(nlp):
    examples = []
    for predicted, gold in [
        ({"A": 0.9, "B": 0.1}, {"A": 1.0, "B": 0.0}),
        ({"A": 0.3, "B": 0.7}, {"A": 1.0, "B": 0.0}),
        ({}, {"A": 1.0}),
    ]:
        docs = [nlp.make_doc("a text"), nlp.make_doc("a text")]
        docs[0].cats, docs[1].cats = predicted, gold
        examples.append(Example(*docs))
    table, truth = judge_cats(examples, ["A", "B"])
    assert table.tolist() == [[0.9, 0.1], [0.3, 0.7]] and truth.tolist() == [0, 0]
    scores = score_textcat(examples, labels=["A", "B"])
    assert scores["cats_ece"] == pytest.approx((0.1 + 0.7) / 2)
    assert scores["cats_brier"] == pytest.approx((0.01 + 0.49) / 2)
    # Each label by itself, B of the third text being unknown and its A not predicted.
    each = score_textcat(examples, labels=["A", "B"], multi_label=True)
    assert each["cats_ece"] == pytest.approx((0.1 + 0.1 + 0.7 + 0.7) / 4)
    assert each["cats_brier"] == pytest.approx((0.01 + 0.01 + 0.49 + 0.49) / 4)
    assert score_textcat([], labels=["A"])["cats_ece"] is None
    assert score_textcat(examples[2:], labels=["A", "B"])["cats_ece"] is None
