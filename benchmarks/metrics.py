"""Metrics of the accuracy benchmark, written apart from the package they judge.

Every function returns percent.
"""

import re
import statistics
import string
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

Span = tuple[int, int, str]
Pair = tuple[float, float]

# The characters that the CMRC 2018 evaluation ignores.
CMRC_IGNORED = set("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")


def accuracy(golds: Sequence[str], predictions: Sequence[str]) -> float:
    """Count equal labels.

    golds (Sequence[str]): The right label of each item.
    predictions (Sequence[str]): The predicted label of each item.
    RETURNS (float): Percent of equal labels.
    """
    return 100 * sum(map(str.__eq__, golds, predictions)) / max(len(golds), 1)


def matthews(golds: Sequence[str], predictions: Sequence[str]) -> float:
    """Correlate two classes: Matthews' coefficient, 0 where it is not defined.

    golds (Sequence[str]): The right label of each item, "1" or "0".
    predictions (Sequence[str]): The predicted label of each item.
    RETURNS (float): Percent, -100 to 100.
    """
    counts = Counter(zip(golds, predictions))
    tp, tn, fp, fn = (counts[pair] for pair in (("1", "1"), ("0", "0"), ("0", "1"), ("1", "0")))
    below = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return 100 * (tp * tn - fp * fn) / below**0.5 if below else 0.0


def accuracy_f1(golds: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    """Count equal labels, and compute the F1 of label "1".

    golds (Sequence[str]): The right label of each item.
    predictions (Sequence[str]): The predicted label of each item.
    RETURNS (dict[str, float]): "accuracy" and "f1", percent.
    """
    both = sum(pair == ("1", "1") for pair in zip(golds, predictions))
    total = sum(label == "1" for label in (*golds, *predictions))
    f1 = 200 * both / total if total else 0.0
    return {"accuracy": accuracy(golds, predictions), "f1": f1}


CLASSIFY: dict[str, Callable[..., Any]] = {
    "accuracy": accuracy,
    "matthews": matthews,
    "accuracy_f1": accuracy_f1,
}


def correlation(golds: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
    """Correlate numbers by Pearson and by Spearman.

    golds (Sequence[float]): The right number of each item.
    predictions (Sequence[float]): The predicted number of each item.
    RETURNS (dict[str, float]): "mean", "pearson" and "spearman", percent; 0 where all
        predictions are equal.
    """
    pearson = _pearson(golds, predictions)
    spearman = _pearson(_ranks(golds), _ranks(predictions))
    return {"mean": (pearson + spearman) / 2, "pearson": pearson, "spearman": spearman}


def _pearson(golds: Sequence[float], predictions: Sequence[float]) -> float:
    if len(set(golds)) < 2 or len(set(predictions)) < 2:
        return 0.0
    return 100 * statistics.correlation(golds, predictions)


def _ranks(values: Sequence[float]) -> list[float]:
    """Rank from 1 up; equal values share the mean of their ranks."""
    order = sorted(values)
    return [(bisect_left(order, x) + bisect_right(order, x) + 1) / 2 for x in values]


def entity_f1(golds: Sequence[list[Span]], predictions: Sequence[list[Span]]) -> float:
    """Compare entities: right only if start, end and label are right.

    golds (Sequence[list[Span]]): Start, end (exclusive) and label, per text.
    predictions (Sequence[list[Span]]): The same for the predicted entities.
    RETURNS (float): F1 over all texts together, percent.
    """
    right = sum(len(set(gold) & set(guess)) for gold, guess in zip(golds, predictions))
    total = sum(len(set(gold)) + len(set(guess)) for gold, guess in zip(golds, predictions))
    return 200 * right / total if total else 0.0


def read_bio(tags: Sequence[str]) -> list[Span]:
    """Read entities from BIO or IOB1 tags; an I- tag with nothing to continue opens one.

    tags (Sequence[str]): Such as "O", "B-PER", "I-PER".
    RETURNS (list[Span]): Start, end (exclusive) and label.
    """
    spans: list[Span] = []
    start, label = 0, ""
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if label and (prefix != "I" or name != label):
            spans.append((start, i, label))
            label = ""
        if prefix != "O" and not label:
            start, label = i, name
    return spans


def squad_pair(gold: str, guess: str) -> Pair:
    """Compare two answers by the rules of SQuAD.

    gold (str): A right answer, empty for none.
    guess (str): The predicted answer, empty for none.
    RETURNS (Pair): Exact match and F1 over words, each from 0 to 1.
    """
    gold_words, guess_words = _squad_words(gold), _squad_words(guess)
    exact = float(gold_words == guess_words)
    if not gold_words or not guess_words:
        return exact, exact
    same = sum((Counter(gold_words) & Counter(guess_words)).values())
    return exact, 2 * same / (len(gold_words) + len(guess_words))


def _squad_words(text: str) -> list[str]:
    """Lower the case, drop ASCII punctuation and articles, split at white space."""
    kept = "".join(char for char in text.lower() if char not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def cmrc_pair(gold: str, guess: str) -> Pair:
    """Compare two answers by the rules of CMRC 2018.

    gold (str): A right answer.
    guess (str): The predicted answer.
    RETURNS (Pair): Exact match without punctuation, and F1 over the longest
        common run of units (Chinese characters and words), each from 0 to 1.
    """
    exact = float(_cmrc_text(gold) == _cmrc_text(guess))
    gold_units, guess_units = _cmrc_units(gold), _cmrc_units(guess)
    run = _longest_run(gold_units, guess_units)
    return exact, 2 * run / (len(gold_units) + len(guess_units)) if run else 0.0


def _cmrc_text(text: str) -> str:
    return "".join(char for char in text.lower().strip() if char not in CMRC_IGNORED)


def _cmrc_units(text: str) -> list[str]:
    """Split into Chinese characters and, between them, words and marks."""
    return re.findall(r"[一-龥]|[^\W一-龥]+|[^\w\s]", _cmrc_text(text))


def _longest_run(first: list[str], second: list[str]) -> int:
    """Length of the longest common contiguous run."""
    best, before = 0, [0] * (len(second) + 1)
    for unit in first:
        row = [0] * (len(second) + 1)
        for j, other in enumerate(second):
            if unit == other:
                row[j + 1] = before[j] + 1
                best = max(best, row[j + 1])
        before = row
    return best


def answer_scores(
    golds: Sequence[Sequence[str]],
    predictions: Sequence[str],
    compare: Callable[[str, str], Pair] = squad_pair,
) -> dict[str, float]:
    """Score answers, each against the best of its golds.

    golds (Sequence[Sequence[str]]): The right answers; none if unanswerable.
    predictions (Sequence[str]): The answers, empty for none.
    compare (Callable): `squad_pair` or `cmrc_pair`.
    RETURNS (dict[str, float]): "em" and "f1", percent.
    """
    exact = overlap = 0.0
    for texts, guess in zip(golds, predictions):
        pairs = [compare(text, guess) for text in texts or [""]]
        exact += max(pair[0] for pair in pairs)
        overlap += max(pair[1] for pair in pairs)
    count = max(len(golds), 1)
    return {"em": 100 * exact / count, "f1": 100 * overlap / count}


def tune_threshold(
    golds: Sequence[Sequence[str]], predictions: Sequence[str], null_scores: Sequence[float]
) -> float:
    """Find the null score above which giving no answer is best for F1.

    golds (Sequence[Sequence[str]]): The right answers; none if unanswerable.
    predictions (Sequence[str]): The best answers, none of them empty.
    null_scores (Sequence[float]): Score of no answer minus that of the best answer.
    RETURNS (float): A threshold; answer with nothing where the null score is greater.
    """
    gains = [
        (score, max(squad_pair(text, guess)[1] for text in texts or [""]) - (not texts))
        for texts, guess, score in zip(golds, predictions, null_scores)
    ]
    gains.sort()
    best, total, threshold = 0.0, 0.0, gains[0][0] - 1.0 if gains else 0.0
    for i, (score, gain) in enumerate(gains):
        total += gain
        is_last = i + 1 == len(gains)
        if total > best and (is_last or gains[i + 1][0] > score):
            best = total
            threshold = score + 1.0 if is_last else (score + gains[i + 1][0]) / 2
    return threshold
