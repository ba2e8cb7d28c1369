"""The scorer of regression: correlations of gold and predicted values."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from spacy import registry
from spacy.training import Example

from ..errors import Errors
from ..targets import get_targets

REGRESSION_SCORES = (
    "regression_score",
    "regression_pearson",
    "regression_spearman",
    "regression_per_target",
)


@registry.scorers("bert-spacy.regression_scorer.v1")
def create_regression_scorer_v1() -> Callable[..., dict[str, Any]]:
    """Create the scorer of regression.

    RETURNS (Callable): Takes Examples, returns the scores of `score_regression`.
    """
    return score_regression


def score_regression(
    examples: Iterable[Example], *, labels: Sequence[str] = (), **cfg: Any
) -> dict[str, Any]:
    """Score targets where the gold says something about them.

    examples (Iterable[Example]): Those whose reference lacks a target are skipped for it.
    labels (Sequence[str]): The component's targets; if empty, all of the gold.
    RETURNS (dict[str, Any]): `regression_pearson` and `regression_spearman`, each the mean over
        the targets, -1..1; `regression_score`, the mean of both; `regression_per_target` with
        "pearson", "spearman", "rmse" (in the target's unit), "n" (values compared) and
        "missing" (values of the gold without a prediction). None where nothing can be scored.
    """
    examples = list(examples)
    labels = list(labels) or sorted({name for eg in examples for name in get_targets(eg.reference)})
    per_target: dict[str, dict[str, Any]] = {}
    for label in labels:
        gold, predicted, missing = pair_values(examples, label)
        if not len(gold) and not missing:
            continue
        per_target[label] = {
            "pearson": pearson(gold, predicted),
            "spearman": spearman(gold, predicted),
            "rmse": float(np.sqrt(np.mean((gold - predicted) ** 2))) if len(gold) else None,
            "n": len(gold),
            "missing": missing,
        }
    scores: dict[str, Any] = dict.fromkeys(REGRESSION_SCORES)
    means = []
    for name in ("pearson", "spearman"):
        known = [row[name] for row in per_target.values() if row[name] is not None]
        if known:
            scores[f"regression_{name}"] = float(np.mean(known))
            means.append(scores[f"regression_{name}"])
    if means:
        scores["regression_score"] = float(np.mean(means))
    scores["regression_per_target"] = per_target or None
    return scores


def pair_values(
    examples: Iterable[Example], label: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return gold and predicted values of a target, and how many predictions are missing.

    examples (Iterable[Example]): The Examples.
    label (str): The target.
    RETURNS (tuple[NDArray, NDArray, int]): Values of the Docs that have both, shape (N,) each;
        Docs with gold alone.
    """
    rows, missing = [], 0
    for eg in examples:
        gold, predicted = get_targets(eg.reference), get_targets(eg.predicted)
        if label in gold and label in predicted:
            rows.append((gold[label], predicted[label]))
        missing += label in gold and label not in predicted
    table = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1], missing


def pearson(gold: ArrayLike, predicted: ArrayLike) -> float | None:
    """Return Pearson's correlation, sum(ab) / sqrt(sum(aa) sum(bb)) of centred values a, b.

    gold (ArrayLike): Right values. Shape (N,).
    predicted (ArrayLike): Predicted values. Shape (N,).
    RETURNS (float | None): -1..1; 0 if all predictions are equal; None for less than two values,
        or if those of the gold are all equal.
    RAISES (ValueError): B504 if the shapes differ, B505 if a value is NaN or infinite.
    """
    a, b = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(Errors.B504.format(gold=a.shape, predicted=b.shape))
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        raise ValueError(Errors.B505)
    if len(a) < 2 or a.min() == a.max():
        return None
    if b.min() == b.max():
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    a, b = a / np.abs(a).max(), b / np.abs(b).max()  # squares of any values stay in range
    return float(np.clip((a @ b) / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def spearman(gold: ArrayLike, predicted: ArrayLike) -> float | None:
    """Return Spearman's correlation: Pearson's of the ranks.

    gold, predicted: See `pearson`, and so is what is returned and raised.
    """
    a, b = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if a.ndim == b.ndim == 1 and np.isfinite(a).all() and np.isfinite(b).all():
        a, b = ranks(a), ranks(b)
    return pearson(a, b)


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranks of values from 1 up; equal values share the mean of their ranks.

    values (NDArray): Shape (N,).
    RETURNS (NDArray): Shape (N,).
    """
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return ((2 * last - count + 1) / 2)[place]
