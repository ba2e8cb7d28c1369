"""How far probabilities are from what happens, and what brings them nearer.

Everything works on flat arrays: `p` the probability given, `hit` whether it came true.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from spacy.training import Example

from ..errors import Errors

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

N_BINS = 15
# Probabilities are kept this far from 0 and 1 where a logarithm is taken.
EPSILON = 1e-6
TINY = float(np.finfo(np.float64).tiny)
# Temperatures that are looked at.
LOWEST, HIGHEST = 0.2, 10.0
# How many are, to find the best within 0.1 %.
N_STEPS = 18
# Of how many cases a bound of the precision holds, on one side.
CONFIDENCE = 0.8


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width over 0..1; those without any prediction are left out.

    confidence (list[float]): Mean probability in each bin.
    accuracy (list[float]): Share that came true.
    count (list[int]): Number of predictions.
    """

    confidence: list[float]
    accuracy: list[float]
    count: list[int]


@dataclass(frozen=True)
class Outcomes:
    """What a component predicts on gold Docs, and whether it is right.

    at (Callable[[float], Floats]): Returns the probabilities of all predictions at a
        temperature. Shape (N,).
    hit (Bools): Whether each is right. Shape (N,).
    label (NDArray): Number of the label that each predicts. Shape (N,).
    labels (tuple[str, ...]): Names of the labels.
    n_gold (NDArray): How often each label is in the gold. Shape (L,).
    at_truth (Callable[[float], Floats]): As `at`, the probabilities of what is right, where labels
        exclude each other and one of them is. Shape (N,).
    """

    at: Callable[[float], Floats]
    hit: Bools
    label: NDArray[np.int64]
    labels: tuple[str, ...]
    n_gold: NDArray[np.int64]
    at_truth: Callable[[float], Floats] | None = None

    def loss(self, temperature: float) -> float:
        """Return the mean negative log-probability of what is seen, at a temperature."""
        if self.at_truth is None:
            return float(log_loss(self.at(temperature), self.hit).mean())
        return float(-np.log(np.maximum(self.at_truth(temperature), TINY)).mean())


@runtime_checkable
class Judged(Protocol):
    """A component whose probabilities can be compared with gold.

    One whose `cfg` has a temperature can be calibrated by `set_temperature`.
    """

    cfg: dict[str, Any]

    def judge(self, examples: Sequence[Example]) -> Outcomes:
        """Predict anew, as the pipeline does, and compare with gold.

        examples (Sequence[Example]): Gold, with Docs that nothing was predicted on; they stay as
            they are.
        """


def reliability(p: ArrayLike, hit: ArrayLike, n_bins: int = N_BINS) -> Reliability:
    """Group predictions by their probability.

    p (ArrayLike): Probabilities, 0..1. Shape (N,).
    hit (ArrayLike): Whether each came true. Shape (N,).
    n_bins (int): Bins of equal width; 1.0 belongs to the last one.
    RETURNS (Reliability): The bins.
    RAISES (ValueError): B525 if the arrays differ in shape or p leaves 0..1.
    """
    p, hit = _check(p, hit)
    place = np.minimum((p * n_bins).astype(np.int64), n_bins - 1)
    count = np.bincount(place, minlength=n_bins)
    used = np.flatnonzero(count)
    confidence = np.bincount(place, weights=p, minlength=n_bins)[used] / count[used]
    accuracy = np.bincount(place, weights=hit, minlength=n_bins)[used] / count[used]
    return Reliability(confidence.tolist(), accuracy.tolist(), count[used].tolist())


def expected_error(p: ArrayLike, hit: ArrayLike, n_bins: int = N_BINS) -> float | None:
    """Compute the expected calibration error.

    p, hit, n_bins: See `reliability`.
    RETURNS (float | None): Mean distance of confidence and accuracy over the bins, weighted by
        their predictions; None without any.
    RAISES (ValueError): B525.

    SOURCE: Guo et al. (2017), On calibration of modern neural networks, eq. 3.
    """
    bins = reliability(p, hit, n_bins)
    if not bins.count:
        return None
    gaps = np.abs(np.subtract(bins.confidence, bins.accuracy))
    return float(np.average(gaps, weights=bins.count))


def brier_score(p: ArrayLike, hit: ArrayLike) -> float | None:
    """Compute the mean squared distance of probability and outcome; None without any.

    RAISES (ValueError): B525.

    SOURCE: Brier (1950), Verification of forecasts expressed in terms of probability.
    """
    p, hit = _check(p, hit)
    return float(np.mean((p - hit) ** 2)) if len(p) else None


def average_precision(p: ArrayLike, hit: ArrayLike) -> float | None:
    """Compute the mean precision over what came true, each at its own probability as threshold.

    It is the area under the curve of precision against recall, where all that came true is to be
    found. Predictions of equal probability share one threshold, so their order does not count.

    p, hit (ArrayLike): Probabilities and outcomes. Shape (N,).
    RETURNS (float | None): 0..1; None if nothing came true.
    RAISES (ValueError): B525.
    """
    p, hit = _check(p, hit)
    values, place = np.unique(-p, return_inverse=True)  # the most probable first
    n_hits = np.bincount(place, weights=hit, minlength=len(values))
    precision = n_hits.cumsum() / np.bincount(place, minlength=len(values)).cumsum()
    return float(np.average(precision, weights=n_hits)) if hit.any() else None


def log_loss(p: ArrayLike, hit: ArrayLike) -> Floats:
    """Compute the negative log-probability of each outcome. Shape (N,).

    RAISES (ValueError): B525.
    """
    p, hit = _check(p, hit)
    return -np.log(np.clip(np.where(hit, p, 1 - p), EPSILON, 1))


def fit_temperature(loss: Callable[[float], float]) -> float:
    """Find the temperature of the smallest loss, on a logarithmic scale.

    loss (Callable[[float], float]): Mean loss at a temperature; with one valley.
    RETURNS (float): From 0.2 to 10.

    SOURCE: Kiefer (1953), Sequential minimax search for a maximum (golden section).
    """
    ratio = (np.sqrt(5) - 1) / 2
    low, high = np.log(LOWEST), np.log(HIGHEST)
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = loss(float(np.exp(a))), loss(float(np.exp(b)))
    for _ in range(N_STEPS - 2):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = loss(float(np.exp(a)))
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = loss(float(np.exp(b)))
    return float(np.exp((low + high) / 2))


def is_bound(temperature: float) -> bool:
    """Tell whether `fit_temperature` ended at a bound, so that a better one may lie beyond.

    temperature (float): What it returned.
    """
    return not 1.01 * LOWEST < temperature < HIGHEST / 1.01


def bound_precision(hits: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    """Compute between which precisions the true one lies, each side holding in 80 of 100 cases.

    hits (ArrayLike): Right predictions. Shape (N,).
    n (ArrayLike): Predictions, 1 or more. Shape (N,).
    RETURNS (tuple[Floats, Floats]): One-sided lower and upper bounds. Shape (N,).

    SOURCE: Wilson (1927), Probable inference; Brown, Cai & DasGupta (2001), Interval estimation
        for a binomial proportion, section 3.1.1.
    """
    hits, n = np.asarray(hits, dtype=np.float64), np.asarray(n, dtype=np.float64)
    z = NormalDist().inv_cdf(CONFIDENCE)
    share = hits / n
    middle = share + z * z / (2 * n)
    reach = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)


def find_threshold(p: ArrayLike, hit: ArrayLike, min_precision: float) -> float | None:
    """Find the smallest threshold above which the precision is surely enough.

    A few lucky hits are no evidence, so the lower bound of the precision counts.

    p, hit (ArrayLike): Calibrated probabilities and outcomes. Shape (N,).
    min_precision (float): 0..1.
    RETURNS (float | None): None if no threshold is enough.
    RAISES (ValueError): B525; B526 if the precision is not in 0..1.
    """
    p, hit = _check(p, hit)
    order = np.argsort(-p, kind="stable")
    low, _ = bound_precision(hit[order].cumsum(), np.arange(1, len(p) + 1))
    return _lowest_good(p[order], low, min_precision)


def find_thresholds(
    p: ArrayLike, hit: ArrayLike, label: ArrayLike, n_labels: int, min_precision: float
) -> list[float | None]:
    """Find a threshold for each label above which its precision is surely enough.

    A label with too few predictions to be sure of gets the threshold of all labels together,
    unless its own predictions speak against that. And no threshold is lower than the one above
    which all labels together are expected to be precise enough by their probabilities: what a
    single label showed by luck is not repeated on other texts.

    p, hit (ArrayLike): See `find_threshold`.
    label (ArrayLike): Number of the label of each. Shape (N,).
    n_labels (int): Number of labels.
    min_precision (float): 0..1.
    RETURNS (list[float | None]): None for a label that no threshold makes precise enough.
    RAISES (ValueError): B525; B526.
    """
    p, hit = _check(p, hit)
    label = np.asarray(label)
    falling = np.sort(p)[::-1]
    expected = falling.cumsum() / np.arange(1, len(p) + 1)
    floor = _lowest_good(falling, expected, min_precision)
    together = find_threshold(p, hit, min_precision)
    found: list[float | None] = []
    for k in range(n_labels):
        mine = label == k
        own = find_threshold(p[mine], hit[mine], min_precision)
        if own is None and together is not None:
            above = hit[mine & (p >= together)]
            _, high = bound_precision(above.sum(), max(len(above), 1))
            own = together if not len(above) or high >= min_precision else None
        found.append(None if own is None or floor is None else max(own, floor))
    return found


def _lowest_good(p: Floats, precision: Floats, min_precision: float) -> float | None:
    """Return the last of falling probabilities where the precision is enough."""
    if not 0 <= min_precision <= 1:
        raise ValueError(Errors.B526.format(value=min_precision))
    # A threshold keeps all of those that are equal.
    good = (precision >= min_precision) & np.append(p[1:] < p[:-1], True)[: len(p)]
    return float(p[np.flatnonzero(good)[-1]]) if good.any() else None


def _check(p: ArrayLike, hit: ArrayLike) -> tuple[Floats, Bools]:
    p, hit = np.asarray(p, dtype=np.float64), np.asarray(hit, dtype=np.bool_)
    if p.ndim != 1 or p.shape != hit.shape or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(Errors.B525.format(shape=p.shape, other=hit.shape))
    return p, hit
