"""What a text classifier got right and wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from spacy.training import Example

from ..scoring.calibration import brier_score, expected_error, reliability
from ..scoring.textcat import has_gold

MULTI_LABEL_THRESHOLD = 0.5
SUM_TOLERANCE = 0.01


@dataclass(frozen=True)
class ClassRow:
    """The results of one label, shares in 0..1.

    support (int): Texts that have the label in the gold.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Bin:
    """Predictions of about the same probability.

    confidence (float): Mean probability, 0..1.
    accuracy (float): Share that is right, 0..1.
    count (int): Number of predictions.
    """

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Mistake:
    """A text that got a wrong label, with the probability of that label, 0..1."""

    text: str
    gold: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class ClassResults:
    """The results of a classifier.

    rows (list[ClassRow]): Per label.
    n_texts (int): Texts scored.
    is_exclusive (bool): Whether each text has one label; the fields below are
        empty if not.
    labels (list[str]): Order of the matrix.
    matrix (NDArray): Counts, gold by row, predicted by column, int64. Shape (L, L).
    bins (list[Bin]): Predictions by probability of the predicted label.
    calibration_error (float): Mean distance of confidence and accuracy, 0..1.
    brier (float): Mean squared distance of probability and outcome, 0..1.
    mistakes (list[Mistake]): All of them, the most confident first.
    """

    rows: list[ClassRow]
    n_texts: int
    is_exclusive: bool
    labels: list[str]
    matrix: NDArray[np.int64]
    bins: list[Bin]
    calibration_error: float
    brier: float
    mistakes: list[Mistake]

    @property
    def accuracy(self) -> float:
        """The share of texts with the right label."""
        return float(np.trace(self.matrix) / self.n_texts)


def class_results(
    examples: Sequence[Example], thresholds: Mapping[str, float] | None = None
) -> ClassResults | None:
    """Compare predicted with gold categories.

    examples (Sequence[Example]): Those without gold or prediction are left out.
    thresholds (Mapping[str, float]): Probability from which a label that excludes no other is
        given; 0.5 for those that are missing.
    RETURNS (ClassResults | None): None if none is left.
    """
    scored = [eg for eg in examples if eg.predicted.cats and has_gold(eg, multi_label=True)]
    if not scored:
        return None
    decided = [eg for eg in scored if len(_true_labels(eg)) == 1]
    if decided and (len(decided) == len(scored) or _is_exclusive(scored)):
        return _exclusive_results(decided)
    return _multi_label_results(scored, thresholds or {})


def _exclusive_results(scored: Sequence[Example]) -> ClassResults:
    golds = [_true_labels(eg)[0] for eg in scored]
    guesses = [max(eg.predicted.cats.items(), key=lambda item: item[1]) for eg in scored]
    labels = list(dict.fromkeys(label for eg in scored for label in eg.predicted.cats))
    labels += [label for label in dict.fromkeys(golds) if label not in labels]
    ids = {label: i for i, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), dtype="int64")
    for gold, (guess, _) in zip(golds, guesses):
        matrix[ids[gold], ids[guess]] += 1
    p = [probability for _, probability in guesses]
    hit = [gold == guess for gold, (guess, _) in zip(golds, guesses)]
    groups = reliability(p, hit)
    bins = [Bin(*row) for row in zip(groups.confidence, groups.accuracy, groups.count)]
    error, brier = expected_error(p, hit) or 0.0, brier_score(p, hit) or 0.0
    mistakes = [
        Mistake(eg.reference.text, gold, guess, probability)
        for eg, gold, (guess, probability) in zip(scored, golds, guesses)
        if gold != guess
    ]
    mistakes.sort(key=lambda mistake: -mistake.probability)
    hits = matrix.diagonal()
    rows = _rows(labels, hits, matrix.sum(axis=0), matrix.sum(axis=1))
    return ClassResults(rows, len(scored), True, labels, matrix, bins, error, brier, mistakes)


def _multi_label_results(
    scored: Sequence[Example], thresholds: Mapping[str, float]
) -> ClassResults:
    """Count each label that the gold gives on its own."""
    labels = list(dict.fromkeys(label for eg in scored for label in eg.predicted.cats))
    hits, n_predicted, n_gold = (np.zeros(len(labels), dtype="int64") for _ in range(3))
    for eg in scored:
        for i, label in enumerate(labels):
            gold = eg.reference.cats.get(label)
            if gold is None:
                continue
            least = thresholds.get(label, MULTI_LABEL_THRESHOLD)
            is_predicted = eg.predicted.cats.get(label, 0.0) >= least
            hits[i] += gold > 0 and is_predicted
            n_predicted[i] += is_predicted
            n_gold[i] += gold > 0
    rows = _rows(labels, hits, n_predicted, n_gold)
    empty = np.zeros((0, 0), dtype="int64")
    return ClassResults(rows, len(scored), False, [], empty, [], 0.0, 0.0, [])


def _rows(
    labels: Sequence[str],
    hits: NDArray[np.int64],
    n_predicted: NDArray[np.int64],
    n_gold: NDArray[np.int64],
) -> list[ClassRow]:
    precision = hits / np.maximum(n_predicted, 1)
    recall = hits / np.maximum(n_gold, 1)
    f1 = 2 * hits / np.maximum(n_predicted + n_gold, 1)
    return [
        ClassRow(label, float(p), float(r), float(f), int(n))
        for label, p, r, f, n in zip(labels, precision, recall, f1, n_gold)
    ]


def _is_exclusive(scored: Sequence[Example]) -> bool:
    """Whether no gold has two labels and all predicted probabilities sum to one."""
    return all(
        len(_true_labels(eg)) <= 1 and abs(sum(eg.predicted.cats.values()) - 1) < SUM_TOLERANCE
        for eg in scored
    )


def _true_labels(eg: Example) -> list[str]:
    return [label for label, value in eg.reference.cats.items() if value > 0]
