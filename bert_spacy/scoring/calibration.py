"""How far probabilities are from what happens, and what brings them nearer.

Everything works on flat arrays: `p` the probability given, `hit` whether it came true.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Errors

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

N_BINS = 15
# Probabilities are kept this far from 0 and 1 where a logarithm is taken.
EPSILON = 1e-6
# Temperatures that are looked at.
LOWEST, HIGHEST = 0.2, 10.0
# How many entities the calibrated probability is worth, beside those counted.
PRIOR = 30.0


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


def log_loss(p: ArrayLike, hit: ArrayLike) -> Floats:
    """Compute the negative log-probability of each outcome. Shape (N,).

    RAISES (ValueError): B525.
    """
    p, hit = _check(p, hit)
    return -np.log(np.clip(np.where(hit, p, 1 - p), EPSILON, 1))


def fit_temperature(loss: Callable[[float], float], n_steps: int = 18) -> float:
    """Find the temperature of the smallest loss, on a logarithmic scale.

    loss (Callable[[float], float]): Mean loss at a temperature; with one valley.
    n_steps (int): How often the loss is asked for, about; 18 leave 0.1 %.
    RETURNS (float): From 0.2 to 10.

    SOURCE: Kiefer (1953), Sequential minimax search for a maximum (golden section).
    """
    ratio = (np.sqrt(5) - 1) / 2
    low, high = np.log(LOWEST), np.log(HIGHEST)
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = loss(float(np.exp(a))), loss(float(np.exp(b)))
    for _ in range(n_steps - 2):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = loss(float(np.exp(a)))
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = loss(float(np.exp(b)))
    return float(np.exp((low + high) / 2))


def find_threshold(p: ArrayLike, hit: ArrayLike, min_precision: float) -> float | None:
    """Find the smallest threshold that keeps the precision at what is asked for.

    A few lucky hits are no evidence. So the share of hits above a threshold is counted together
    with the mean probability there, which weighs as much as 30 predictions.

    p, hit (ArrayLike): Calibrated probabilities and outcomes. Shape (N,).
    min_precision (float): 0..1.
    RETURNS (float | None): None if no threshold is enough.
    RAISES (ValueError): B525; B526 if the precision is not in 0..1.
    """
    p, hit = _check(p, hit)
    if not 0 <= min_precision <= 1:
        raise ValueError(Errors.B526.format(value=min_precision))
    order = np.argsort(-p, kind="stable")
    n = np.arange(1, len(p) + 1)
    hits, mean = hit[order].cumsum(), p[order].cumsum() / n
    good = (hits + PRIOR * mean) / (n + PRIOR) >= min_precision
    # A threshold keeps all of those that are equal.
    good &= np.append(p[order][1:] < p[order][:-1], True)[: len(p)]
    return float(p[order][np.flatnonzero(good)[-1]]) if good.any() else None


def _check(p: ArrayLike, hit: ArrayLike) -> tuple[Floats, Bools]:
    p, hit = np.asarray(p, dtype=np.float64), np.asarray(hit, dtype=np.bool_)
    if p.ndim != 1 or p.shape != hit.shape or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(Errors.B525.format(shape=p.shape, other=hit.shape))
    return p, hit
