"""How near a regressor came to the gold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from spacy.training import Example

from ..scoring.regression import pearson, spearman
from ..targets import get_targets


@dataclass(frozen=True)
class Miss:
    """A text and how its value was missed."""

    text: str
    gold: float
    predicted: float


@dataclass(frozen=True)
class TargetResults:
    """The results of one target.

    gold, predicted (NDArray): Values of the texts that have both, float64. Shape (N,).
    pearson, spearman (float | None): Correlations, -1..1.
    rmse (float): Root of the mean squared error, in the unit of the target.
    missing (int): Texts with gold and no prediction.
    misses (list[Miss]): All texts, the one furthest from its gold first.
    """

    name: str
    gold: NDArray[np.float64]
    predicted: NDArray[np.float64]
    pearson: float | None
    spearman: float | None
    rmse: float
    missing: int
    misses: list[Miss]


def target_results(examples: Sequence[Example]) -> list[TargetResults]:
    """Compare predicted with gold values, target by target.

    examples (Sequence[Example]): Those without gold are left out.
    RETURNS (list[TargetResults]): The targets that have gold and predictions, by name.
    """
    found: dict[str, list[Miss]] = {}
    missing: dict[str, int] = {}
    for eg in examples:
        predicted = get_targets(eg.predicted)
        for name, gold in get_targets(eg.reference).items():
            if name in predicted:
                found.setdefault(name, []).append(Miss(eg.reference.text, gold, predicted[name]))
            else:
                missing[name] = missing.get(name, 0) + 1
    return [_results(name, found[name], missing.get(name, 0)) for name in sorted(found)]


def _results(name: str, rows: list[Miss], missing: int) -> TargetResults:
    gold = np.array([row.gold for row in rows])
    predicted = np.array([row.predicted for row in rows])
    misses = sorted(rows, key=lambda row: -abs(row.gold - row.predicted))
    rmse = float(np.sqrt(np.mean((gold - predicted) ** 2)))
    scores = pearson(gold, predicted), spearman(gold, predicted)
    return TargetResults(name, gold, predicted, *scores, rmse, missing, misses)
