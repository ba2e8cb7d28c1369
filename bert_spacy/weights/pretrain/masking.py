"""Choose pieces to hide, and what stands in their place. Pure, in numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
UNITS = ("piece", "word", "span")
# Draws of spans per piece to be hidden, before a window is left with fewer.
TRIES = 8


@dataclass(frozen=True)
class Masking:
    """How pieces are hidden.

    unit (str): "piece"; "word" for all pieces of a word together; "span" for words that
        follow each other.
    rate (float): Share of the pieces of a window to hide, 0..1; at least one piece, but none
        where all words have more pieces than this and the unit is "word".
    masked (float): Share of these that become the mask.
    random (float): Share of these that become another piece; the rest stay as they are.
    span_p (float): For spans: chance to end after each word, 0..1.
    span_max (int): For spans: most words.
    """

    unit: str = "piece"
    rate: float = 0.15
    masked: float = 0.8
    random: float = 0.1
    span_p: float = 0.2
    span_max: int = 10


def choose(masking: Masking, starts: Bools, rng: np.random.Generator) -> tuple[Bools, Ints]:
    """Choose pieces of one window.

    masking (Masking): How.
    starts (Bools): Whether a word starts at each piece that may be hidden; the first one
        counts as a start. Shape (P,).
    rng (Generator): Its state gives the choice.
    RETURNS (tuple[Bools, Ints]): Which pieces are hidden; and the unit of each, by which
        one draw decides on mask, other piece or the same. Both of shape (P,).
    SOURCE: https://arxiv.org/abs/1810.04805 for pieces, BERT's later note for whole
        words, https://arxiv.org/abs/1907.10529 for spans.
    """
    n = len(starts)
    chosen = np.zeros(n, dtype=bool)
    units = np.arange(n)
    if not n:
        return chosen, units
    budget = max(1, round(n * masking.rate))
    if masking.unit == "piece":
        chosen[rng.permutation(n)[:budget]] = True
        return chosen, units
    bounds = np.append(np.flatnonzero(np.append(True, starts[1:])), n)
    if masking.unit == "word":
        sizes = np.diff(bounds)
        order = rng.permutation(len(sizes))
        hidden = np.zeros(len(sizes), dtype=bool)
        hidden[order[take_up_to(sizes[order], budget)]] = True
        return np.repeat(hidden, sizes), units
    return _choose_spans(masking, bounds, budget, rng)


def take_up_to(sizes: Ints, budget: int) -> Bools:
    """Take what fits, one after the other, and pass over what does not fit any more.

    sizes (Ints): Sizes in the order in which they are tried, above 0. Shape (N,).
    budget (int): Most of all that are taken.
    RETURNS (Bools): Which are taken. Shape (N,).
    """
    taken = np.zeros(len(sizes), dtype=bool)
    left = np.arange(len(sizes))
    while len(left):
        totals = np.cumsum(sizes[left])
        n = int(np.searchsorted(totals, budget, side="right"))
        taken[left[:n]] = True
        budget -= int(totals[n - 1]) if n else 0
        left = left[n + 1 :]
        left = left[sizes[left] <= budget]
    return taken


def span_lengths(p: float, longest: int) -> NDArray[np.float64]:
    """Return the probability of each length of a span, from 1 word up.

    p (float): Chance to end after each word.
    longest (int): Most words; what would be longer is drawn anew.
    RETURNS (NDArray): Probabilities that add up to 1. Shape (longest,).
    """
    weights = p * (1 - p) ** np.arange(longest)
    return weights / weights.sum()


def _choose_spans(
    masking: Masking, bounds: Ints, budget: int, rng: np.random.Generator
) -> tuple[Bools, Ints]:
    """Draw spans of whole words that do not overlap until the budget is spent."""
    n, n_words = int(bounds[-1]), len(bounds) - 1
    chosen = np.zeros(n, dtype=bool)
    units = np.arange(n)
    tries = TRIES * budget
    lengths = rng.choice(masking.span_max, tries, p=span_lengths(masking.span_p, masking.span_max))
    firsts = rng.integers(n_words, size=tries)
    for first, length in zip(firsts.tolist(), (lengths + 1).tolist()):
        start = int(bounds[first])
        # The last span is cut to the words that still fit.
        last = min(first + length, n_words)
        last = min(last, int(np.searchsorted(bounds, start + budget, side="right")) - 1)
        stop = int(bounds[last])
        if stop <= start or chosen[start:stop].any():
            continue
        chosen[start:stop] = True
        units[start:stop] = start
        budget -= stop - start
        if not budget:
            break
    return chosen, units


def hide(
    masking: Masking,
    ids: Ints,
    chosen: Bools,
    units: Ints,
    mask_id: int,
    others: Ints,
    rng: np.random.Generator,
) -> Ints:
    """Put masks and other pieces in the place of those that were chosen.

    masking (Masking): The shares.
    ids (Ints): The pieces. Shape (P,).
    chosen (Bools): Which are hidden. Shape (P,).
    units (Ints): Which of them share a draw, 0..P-1. Shape (P,).
    mask_id (int): Id of the mask.
    others (Ints): Ids that may take the place of a piece.
    rng (Generator): Its state gives the draws.
    RETURNS (Ints): The new ids. Shape (P,).
    """
    draws = rng.random(len(ids))[units]
    random_ids = others[rng.integers(len(others), size=len(ids))]
    result = np.where(chosen & (draws < masking.masked), mask_id, ids)
    is_random = (draws >= masking.masked) & (draws < masking.masked + masking.random)
    return np.where(chosen & is_random, random_ids, result)
