"""Hand-worked cases of the SQuAD and CMRC 2018 rules, and a brute-force threshold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_spacy.scoring.squad import (
    best_no_answer_threshold,
    best_over_golds,
    cmrc_exact,
    cmrc_f1,
    is_mostly_han,
    normalize_squad,
    segment_cmrc,
    squad_exact,
    squad_f1,
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("The  Broncos!", "broncos"),
        ("an apple a day", "apple day"),
        ("theory and Andes", "theory and andes"),
        ("U.S.A.", "usa"),
        ("the", ""),
        ("a-the", "athe"),
        ("“quoted”", "“quoted”"),
    ],
)
def test_normalize_squad(text, expected):
    assert normalize_squad(text) == expected


@pytest.mark.parametrize(
    "gold, predicted, exact, f1",
    [
        ("Denver Broncos", "the Denver Broncos.", 1, 1),
        ("Denver Broncos", "Broncos", 0, 2 / 3),
        ("Denver Broncos", "Carolina", 0, 0),
        ("to be to be", "be be be", 0, 4 / 7),  # two shared of four and three
        ("", "", 1, 1),
        ("", "Denver", 0, 0),
        ("Denver", "", 0, 0),
        ("the", "", 1, 1),
    ],
)
def test_squad_pairs(gold, predicted, exact, f1):
    assert squad_exact(gold, predicted) == exact
    assert squad_f1(gold, predicted) == pytest.approx(f1)


def test_best_over_golds():
    golds = ["Santa Clara, California", "Levi's Stadium"]
    assert best_over_golds(squad_f1, golds, "Levi's Stadium in Santa") == pytest.approx(4 / 6)
    assert best_over_golds(squad_exact, [], "") == 1
    assert best_over_golds(squad_exact, [], "something") == 0


@pytest.mark.parametrize("measure", [squad_exact, squad_f1])
@pytest.mark.parametrize(
    ("golds", "predicted", "value"),
    [
        (["the", "paris"], "", 0),
        (["the", "paris"], "a", 0),
        (["the", "paris"], "Paris", 1),
        (["the", "..."], "", 1),  # as if there were no answer
        (["the"], "the", 1),
        (["the"], "paris", 0),
    ],
)
def test_golds_that_normalise_to_nothing_do_not_count(measure, golds, predicted, value):
    assert best_over_golds(measure, golds, predicted) == value
    assert best_over_golds(cmrc_exact, ["，", "北京"], "") == 1  # the rule of SQuAD alone


@pytest.mark.parametrize(
    "text, units",
    [
        ("《Windows XP》系统", ["windows", "xp", "系", "统"]),
        ("1998年", ["1998", "年"]),
        ("第-二", ["第", "二"]),
        ("a-b", ["ab"]),
        ("U.S. army, 1,000人", ["u.s.", "army", ",", "1,000", "人"]),
        ("it's (ok).", ["it", "'s", "(", "ok", ")", "."]),
        ("don't", ["do", "n't"]),
        # A full stop stands alone where it ends the text, three of them anywhere.
        ("5 km. at 3 a.m.", ["5", "km.", "at", "3", "a.m", "."]),
        ("so...", ["so", "..."]),
        ("jan.", ["jan", "."]),
        ("到jan.的", ["到", "jan", ".", "的"]),
        ("", []),
        ("，。", []),
    ],
)
def test_segment_cmrc(text, units):
    assert segment_cmrc(text) == units


@pytest.mark.parametrize(
    "gold, predicted, exact, f1",
    [
        ("《三国志》", "三国志", 1, 1),
        ("光荣和ω-force", "光荣和ω-force。", 1, 1),
        ("1998年8月", "1998年", 0, 2 * 2 / (4 + 2)),
        # The shared run is contiguous: "b c" alone, though a, b, c are in order in both.
        ("甲乙丙", "甲丁乙丙", 0, 2 * 2 / (3 + 4)),
        ("北京", "上海", 0, 0),
        ("", "", 1, 1),
        ("北京", "", 0, 0),
        # ASCII full stops and the single ellipsis are not dropped.
        ("北京.", "北京", 0, 2 * 2 / (3 + 2)),
        ("北京…", "北京", 0, 2 * 2 / (3 + 2)),
    ],
)
def test_cmrc_pairs(gold, predicted, exact, f1):
    assert cmrc_exact(gold, predicted) == exact
    assert cmrc_f1(gold, predicted) == pytest.approx(f1)


@given(st.text("甲乙ab，- ", max_size=12), st.text("甲乙ab，- ", max_size=12))
def test_cmrc_f1_against_all_runs(gold, predicted):
    first, second = segment_cmrc(gold), segment_cmrc(predicted)
    runs = {tuple(second[i:j]) for i in range(len(second)) for j in range(i, len(second) + 1)}
    longest = max(
        (
            j - i
            for i in range(len(first))
            for j in range(i, len(first) + 1)
            if tuple(first[i:j]) in runs
        ),
        default=0,
    )
    if not first or not second:
        assert cmrc_f1(gold, predicted) == (first == second)
    elif longest == 0:
        assert cmrc_f1(gold, predicted) == 0
    else:
        p, r = longest / len(second), longest / len(first)
        assert cmrc_f1(gold, predicted) == pytest.approx(2 * p * r / (p + r))


def test_is_mostly_han():
    assert is_mostly_han(["三国志 game"]) is False
    assert is_mostly_han(["三国志战略版 game"]) is True
    assert is_mostly_han(["1998", ""]) is False
    assert is_mostly_han(["𠀀𠀁"]) is True


def test_threshold_by_hand():
    # Sorted by null score, each answered question earns: +1, -1, +0.5, -1.
    threshold, score = best_no_answer_threshold(
        [3.0, -2.0, 1.0, 0.0], [0.0, 1.0, 0.5, 0.0], [False, True, True, False]
    )
    assert threshold == -1.0  # half-way to the next null score
    assert score == pytest.approx(3 / 4)


def test_threshold_may_refuse_all_questions():
    threshold, score = best_no_answer_threshold([-4.0, 2.0], [0.0, 0.0], [False, True])
    assert threshold == -5.0
    assert score == 0.5


def test_empty_best_answer_of_unanswerable_question_earns_either_way():
    assert best_no_answer_threshold([1.0], [1.0], [False]) == (0.0, 1.0)


@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.sampled_from([0.0, 0.25, 1.0]), st.booleans()),
        min_size=1,
        max_size=20,
    )
)
def test_threshold_against_brute_force(rows):
    nulls = np.array([null for null, _, _ in rows], dtype=float)
    has_answer = np.array([has for _, _, has in rows])
    answered = np.array([score if has else 0.0 for _, score, has in rows])

    def score_at(threshold):
        return np.where(nulls > threshold, ~has_answer, answered).mean()

    threshold, score = best_no_answer_threshold(nulls, answered, has_answer)
    assert score == pytest.approx(score_at(threshold))
    assert score == pytest.approx(max(score_at(t) for t in np.arange(-4.5, 4.5, 0.5)))


def test_threshold_refuses_bad_input():
    with pytest.raises(ValueError, match=r"\[B501\]"):
        best_no_answer_threshold([], [], [])
    with pytest.raises(ValueError, match=r"\[B501\]"):
        best_no_answer_threshold([1.0, 2.0], [1.0], [True])
    with pytest.raises(ValueError, match=r"\[B502\]"):
        best_no_answer_threshold([float("nan")], [1.0], [True])
