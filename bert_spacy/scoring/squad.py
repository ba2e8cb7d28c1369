"""Exact match and F1 of answers, by the rules of SQuAD and of CMRC 2018.

All functions take plain strings and arrays. A question without an answer has
the single gold answer ``""``; "no answer" as a prediction is ``""`` too.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..errors import Errors
from ..text.words import HAN

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)

# The marks that the CMRC 2018 evaluation removes. ASCII commas and full stops
# are not among them, nor is the single "…".
_NO_CMRC_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CMRC_PARTS = re.compile(r"[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+")
_WORD = re.compile(
    r"""\.\.\.                      # an ellipsis
    | [;@\#$%&?!()\[\]{}<>"«»]    # marks that always stand alone
    | ,(?!\d)                       # a comma, unless it groups digits
    | (?:(?!\.\.\.)[^\s;@\#$%&?!()\[\]{}<>"«»,]|,(?=\d))+
    """,
    re.VERBOSE,
)
_CONTRACTION = re.compile(r"(.+?)(n't|'(?:s|m|d|ll|re|ve))", re.DOTALL)

Measure = Callable[[str, str], float]


def normalize_squad(text: str) -> str:
    """Lower-case a text and drop ASCII punctuation, English articles and extra white space.

    text (str): An answer.
    RETURNS (str): The form in which SQuAD compares answers.

    SOURCE: Rajpurkar et al. (2016), section 6.1.
    """
    text = text.lower().translate(_NO_ASCII_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def squad_exact(gold: str, predicted: str) -> float:
    """Tell whether two answers are equal once normalised.

    gold (str): The gold answer, "" for none.
    predicted (str): The predicted answer, "" for none.
    RETURNS (float): 1.0 or 0.0.
    """
    return float(normalize_squad(gold) == normalize_squad(predicted))


def squad_f1(gold: str, predicted: str) -> float:
    """Compute the harmonic mean of word precision and recall of two answers.

    gold (str): The gold answer, "" for none.
    predicted (str): The predicted answer, "" for none.
    RETURNS (float): F1 in 0..1. Where either has no words, 1.0 if both have none.

    SOURCE: Rajpurkar et al. (2016), section 6.1; the rule for no answer from
        Rajpurkar et al. (2018), section 5.
    """
    gold_words = normalize_squad(gold).split()
    words = normalize_squad(predicted).split()
    if not gold_words or not words:
        return float(gold_words == words)
    common = sum((Counter(gold_words) & Counter(words)).values())
    return _f1(common, len(gold_words), len(words))


def normalize_cmrc(text: str) -> str:
    """Lower-case and strip a text and drop the marks that CMRC 2018 does not count.

    text (str): An answer.
    RETURNS (str): The form in which CMRC 2018 compares answers.

    SOURCE: the evaluation of Cui et al. (2019), "A Span-Extraction Dataset for
        Chinese Machine Reading Comprehension".
    """
    return text.lower().strip().translate(_NO_CMRC_PUNCTUATION)


def segment_cmrc(text: str) -> list[str]:
    """Split a text into single Chinese characters and words of other scripts.

    text (str): An answer; the marks of `normalize_cmrc` are dropped first.
    RETURNS (list[str]): The units that the F1 of CMRC 2018 counts. Words are
        split as the Penn Treebank does; its rare rules ("cannot" and the like)
        are left out.
    """
    parts = _CMRC_PARTS.findall(normalize_cmrc(text))
    return [unit for part in parts for unit in _split_words(part)]


def cmrc_exact(gold: str, predicted: str) -> float:
    """Tell whether two answers are equal without punctuation.

    gold (str): The gold answer, "" for none.
    predicted (str): The predicted answer, "" for none.
    RETURNS (float): 1.0 or 0.0.
    """
    return float(normalize_cmrc(gold) == normalize_cmrc(predicted))


def cmrc_f1(gold: str, predicted: str) -> float:
    """Compute F1 from the longest run of units that two answers share.

    gold (str): The gold answer, "" for none.
    predicted (str): The predicted answer, "" for none.
    RETURNS (float): F1 in 0..1. Where either has no units, 1.0 if both have none.

    SOURCE: the evaluation of Cui et al. (2019); the shared part is a contiguous
        run (longest common substring of units), not a subsequence.
    """
    gold_units, units = segment_cmrc(gold), segment_cmrc(predicted)
    if not gold_units or not units:
        return float(gold_units == units)
    return _f1(_longest_common_run(gold_units, units), len(gold_units), len(units))


def best_over_golds(measure: Measure, golds: Sequence[str], predicted: str) -> float:
    """Compute the best value of a measure over several gold answers.

    By the rule of SQuAD, gold answers of which nothing is left once normalised do not count; if
    there is no other, "no answer" is right.

    measure (Callable): `squad_exact`, `squad_f1`, `cmrc_exact` or `cmrc_f1`.
    golds (Sequence[str]): The gold answers, none for an unanswerable question.
    predicted (str): The predicted answer, "" for none.
    RETURNS (float): The value in 0..1.

    SOURCE: the evaluation of SQuAD 2.0, Rajpurkar et al. (2018).
    """
    if measure in (squad_exact, squad_f1):
        golds = [gold for gold in golds if normalize_squad(gold)]
    return max(measure(gold, predicted) for gold in (golds or [""]))


def is_mostly_han(texts: Sequence[str]) -> bool:
    """Tell whether more than half of the letters of some texts are Chinese characters.

    texts (Sequence[str]): Any texts.
    RETURNS (bool): False if there is no letter at all.
    """
    letters = sum(sum(map(str.isalpha, text)) for text in texts)
    return 2 * sum(len(HAN.findall(text)) for text in texts) > letters


def best_no_answer_threshold(
    null_scores: ArrayLike, answer_scores: ArrayLike, has_answer: ArrayLike
) -> tuple[float, float]:
    """Find the null score above which "no answer" is best given.

    null_scores (ArrayLike): Score of no answer less that of the best answer,
        per question. Shape (Q,).
    answer_scores (ArrayLike): What each question earns (EM or F1, 0..1) if its
        best answer is given; 0 for an unanswerable one with an answer. Shape (Q,).
    has_answer (ArrayLike): True for answerable questions. Shape (Q,).
    RETURNS (tuple[float, float]): The threshold (a question with a null score
        above it gets no answer), half-way between two null scores or 1 beyond them
        all, and the mean score it reaches.
    RAISES (ValueError): B501 for no questions or unequal lengths; B502 for a
        score that is not finite.

    SOURCE: Rajpurkar et al. (2018), section 5. Questions with the same null score are
        moved together, and where no answer at all is best, the threshold lies
        below the lowest null score.
    """
    nulls = np.asarray(null_scores, dtype="float64")
    answered = np.asarray(answer_scores, dtype="float64")
    unanswerable = ~np.asarray(has_answer, dtype=bool)
    if not nulls.size or not nulls.shape == answered.shape == unanswerable.shape or nulls.ndim > 1:
        raise ValueError(
            Errors.B501.format(
                null=nulls.shape, answered=answered.shape, has_answer=unanswerable.shape
            )
        )
    if not (np.isfinite(nulls).all() and np.isfinite(answered).all()):
        raise ValueError(Errors.B502)
    order = np.argsort(nulls, kind="stable")
    nulls = nulls[order]
    totals = unanswerable.sum() + np.cumsum((answered - unanswerable)[order])
    is_last_of_ties = np.append(nulls[1:] != nulls[:-1], True)
    ends = np.concatenate(([nulls[0] - 2], nulls[is_last_of_ties], [nulls[-1] + 2]))
    thresholds = (ends[:-1] + ends[1:]) / 2
    totals = np.append(float(unanswerable.sum()), totals[is_last_of_ties])
    best = int(np.argmax(totals))
    return float(thresholds[best]), float(totals[best] / nulls.size)


def _f1(common: int, n_gold: int, n_predicted: int) -> float:
    return 2 * common / (n_gold + n_predicted)


def _split_words(text: str) -> list[str]:
    """Split text without Chinese characters, or a single one, into words and marks."""
    words: list[str] = []
    for word in _WORD.findall(text):
        found = _CONTRACTION.fullmatch(word)
        words.extend(found.groups() if found else [word])
    if words and len(words[-1]) > 1 and words[-1].endswith(".") and words[-1] != "...":
        words[-1:] = [words[-1][:-1], "."]
    return words


def _longest_common_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest run of units that stands in both."""
    best = 0
    before = [0] * (len(second) + 1)
    for unit in first:
        here = [0] * (len(second) + 1)
        for j, other in enumerate(second):
            if unit == other:
                here[j + 1] = before[j] + 1
                best = max(best, here[j + 1])
        before = here
    return best
