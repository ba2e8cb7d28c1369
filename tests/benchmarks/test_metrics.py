"""The benchmark's metrics and readers against cases worked out by hand."""

import json

import numpy as np
import pytest

from benchmarks import metrics, pairs
from benchmarks.tasks import (
    TagItem,
    TextItem,
    read_cluener,
    read_cola,
    read_conll,
    read_squad,
    read_titles,
)


def test_entity_f1_counts_over_all_texts():
    golds = [[(0, 1, "A"), (2, 3, "B")], [(0, 2, "A")]]
    guesses = [[(0, 1, "A"), (2, 3, "A")], []]
    assert metrics.entity_f1(golds, guesses) == pytest.approx(100 * 2 * 1 / (3 + 2))
    assert metrics.entity_f1([[]], [[]]) == 0


@pytest.mark.parametrize(
    "tags, spans",
    [
        (["B-A", "I-A", "O", "I-B"], [(0, 2, "A"), (3, 4, "B")]),
        (["I-A", "B-A", "I-B"], [(0, 1, "A"), (1, 2, "A"), (2, 3, "B")]),
        (["O", "O"], []),
        ([], []),
    ],
)
def test_read_bio(tags, spans):
    assert metrics.read_bio(tags) == spans


@pytest.mark.parametrize(
    "gold, guess, exact, overlap",
    [
        ("The Apple!", "apple", 1, 1),
        ("red apple pie", "apple pie", 0, 2 * 2 / 5),
        ("", "", 1, 1),
        ("", "x", 0, 0),
        ("a b b", "b b b", 0, 2 * 2 / 5),
    ],
)
def test_squad_pair(gold, guess, exact, overlap):
    assert metrics.squad_pair(gold, guess) == (exact, pytest.approx(overlap))


@pytest.mark.parametrize(
    "gold, guess, exact, overlap",
    [
        ("北京，上海。", "北京上海", 1, 1),
        ("在北京大学", "北京大", 0, 2 * 3 / 8),
        ("iPhone 4手机", "iphone 4", 0, 2 * 2 / 6),
        ("北京", "上海", 0, 0),
        ("甲乙丙丁", "甲丙丁", 0, 2 * 2 / 7),
        ("1992年", "", 0, 0),
    ],
)
def test_cmrc_pair(gold, guess, exact, overlap):
    assert metrics.cmrc_pair(gold, guess) == (exact, pytest.approx(overlap))


def test_answer_scores_take_the_best_gold():
    scores = metrics.answer_scores([["x y", "x"], []], ["x", ""])
    assert scores == {"em": 100, "f1": 100}


def test_threshold_is_the_best_of_all_cuts():
    golds = [["right"], [], ["other"], [], ["right"]]
    guesses = ["right", "right", "right", "right", "right"]
    nulls = [-3.0, 1.0, 0.0, -1.0, -0.5]
    threshold = metrics.tune_threshold(golds, guesses, nulls)

    def score(cut: float) -> float:
        kept = ["" if null > cut else guess for guess, null in zip(guesses, nulls)]
        return metrics.answer_scores(golds, kept)["f1"]

    assert score(threshold) == max(score(cut / 4) for cut in range(-20, 20))


def test_threshold_without_any_right_answer_answers_nothing():
    assert metrics.tune_threshold([[], []], ["a", "b"], [0.5, -2.0]) < -2.0


def test_readers(tmp_path):
    (tmp_path / "class.txt").write_text("first\nsecond\n")
    (tmp_path / "t.txt").write_text('a "quoted\t1\nb\u2028c\t0\n', encoding="utf8")
    items = [(item.text, item.label) for item in read_titles(tmp_path / "t.txt")]
    assert items == [('a "quoted', "second"), ("b\u2028c", "first")]
    row = {"text": "在北京北京", "label": {"place": {"北京": [[1, 2], [3, 4]]}}}
    (tmp_path / "c.json").write_text(json.dumps(row), encoding="utf8")
    assert read_cluener(tmp_path / "c.json") == [
        TagItem(list("在北京北京"), [(1, 3, "place"), (3, 5, "place")])
    ]
    (tmp_path / "c.txt").write_text("-DOCSTART- O\n\nNew I-LOC\nYork I-LOC\n\nx O\n")
    assert read_conll(tmp_path / "c.txt") == [
        TagItem(["New", "York"], [(0, 2, "LOC")]),
        TagItem(["x"], []),
    ]


def test_squad_reader_repairs_offsets(tmp_path):
    answers = [{"text": "b", "answer_start": 5}, {"text": "z", "answer_start": -1}]
    row = {"id": "1", "question": " q ", "answers": answers}
    lost = {"id": "2", "question": "q", "answers": answers[1:]}
    data = {"data": [{"paragraphs": [{"context": "b a b", "qas": [row, lost]}]}]}
    (tmp_path / "q.json").write_text(json.dumps(data))
    first, second = read_squad(tmp_path / "q.json")
    assert (first.question, first.answers) == ("q", [("b", 4), ("z", -1)])
    assert first.is_trainable and not second.is_trainable
    assert second.texts == ["z"]


def test_overlapping_spans_keep_the_longest():
    item = TagItem(list("abcd"), [(0, 2, "A"), (1, 4, "B"), (0, 1, "C")])
    assert item.flat_spans() == [(0, 1, "C"), (1, 4, "B")]


def test_matthews_is_the_correlation_of_zeros_and_ones():
    golds, guesses = list("1101001011"), list("1001101010")
    wanted = np.corrcoef([int(x) for x in golds], [int(x) for x in guesses])[0, 1]
    assert metrics.matthews(golds, guesses) == pytest.approx(100 * wanted)
    assert metrics.matthews(golds, ["1"] * 10) == metrics.matthews([], []) == 0


def test_accuracy_and_f1_of_pairs():
    scores = metrics.accuracy_f1(list("1101"), list("1011"))
    assert scores == {"accuracy": 50, "f1": pytest.approx(100 * 2 * 2 / (3 + 3))}
    assert metrics.accuracy_f1(["0"], ["0"]) == {"accuracy": 100, "f1": 0}


def test_correlation_of_values_and_of_ranks():
    golds, guesses = [1.0, 2.0, 2.0, 5.0], [0.5, 3.0, 1.0, 1.0]
    wanted = (
        np.corrcoef(golds, guesses)[0, 1],
        np.corrcoef([1, 2.5, 2.5, 4], [1, 4, 2.5, 2.5])[0, 1],
    )
    scores = metrics.correlation(golds, guesses)
    assert scores["pearson"] == pytest.approx(100 * wanted[0])
    assert scores["spearman"] == pytest.approx(100 * wanted[1])
    assert scores["mean"] == pytest.approx(50 * sum(wanted))
    assert metrics.correlation(golds, [1.0] * 4)["mean"] == 0


def test_readers_of_pairs(tmp_path):
    path = tmp_path / "x.tsv"
    head = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    path.write_text(head + '1\t7\t8\tan "open\tb \n', encoding="utf8")
    assert pairs.read_mrpc(path) == [pairs.PairItem('an "open', "b", "1")]
    path.write_text("index\tsentence1\tsentence2\tscore\n0\ta\tb\t4.600\n", encoding="utf8")
    assert pairs.read_stsb(path) == [pairs.ValueItem("a", "b", 4.6)]
    path.write_text("甲\t乙\t0\n", encoding="utf8")
    assert pairs.read_afqmc(path) == [pairs.PairItem("甲", "乙", "0")]
    path.write_text("l-93\t0\t*\tThey drank.\n", encoding="utf8")
    assert read_cola(path) == [TextItem("They drank.", "0")]
