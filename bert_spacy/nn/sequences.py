"""Sequences of a batch as the recursions over a chain read them: in NumPy and without padding."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import Errors

NEG_INF = float("-inf")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Batch:
    """Sequences side by side, position after position, without padding.

    They are sorted by falling length, so that those that have a position t are the first ones. The
    rows of arrays over the batch are: position 0 of all sequences, then position 1 of those that
    have one, and so on.

    emissions (Tensor): Scores per position. Shape (B, T, L).
    lengths (Tensor): Tokens per sequence, int64. Shape (B,).
    """

    emissions: Floats  # (N, L)
    order: Ints  # (B,) where each sorted sequence came from
    lengths: Ints  # (B,) falling
    alive: list[int]  # number of sequences longer than t
    time: Ints  # (N,) position of each row
    column: Ints  # (N,) its sorted sequence
    places: Ints  # (N,) its row in the caller's sequences, laid end to end
    begins: Ints  # (T + 1,) first row of each position, and the number of all

    def __init__(self, emissions: Tensor, lengths: Tensor) -> None:
        sizes = lengths.cpu().numpy()
        self.order = np.argsort(-sizes, kind="stable")
        self.lengths = sizes[self.order]
        counts = np.bincount(sizes, minlength=1)
        # Longer than t are all but those of length 0 .. t.
        alive = (len(sizes) - counts.cumsum())[:-1]
        self.alive = alive.tolist()
        self.begins = np.concatenate(([0], alive.cumsum()))
        self.time = np.repeat(np.arange(len(alive)), alive)
        self.column = np.arange(len(self.time)) - self.begins[self.time]
        self.places = self.order[self.column] * emissions.shape[1] + self.time
        places = torch.from_numpy(self.places).to(emissions.device)
        rows = emissions.detach().flatten(0, 1).index_select(0, places)
        self.emissions = rows.cpu().double().numpy()

    def cut(self, values: NDArray) -> list[NDArray]:
        """View rows as a list with those of each position."""
        bounds = self.begins.tolist()
        return [values[low:high] for low, high in zip(bounds, bounds[1:])]

    @cached_property
    def lasts(self) -> Ints:
        """The row of each sequence's last position; any row for an empty one. Shape (B,)."""
        rows = self.begins[np.maximum(self.lengths - 1, 0)] + np.arange(len(self.lengths))
        return np.minimum(rows, len(self.time) - 1)

    @cached_property
    def before(self) -> Ints:
        """The row one position before each row but those of position 0."""
        is_later = self.time > 0
        return self.begins[self.time[is_later] - 1] + self.column[is_later]

    def sum_up(self, values: Floats, *, backward: bool = False) -> Floats:
        """Sum values (N,) along each sequence, up to each position or from each on."""
        table = np.zeros((len(self.alive), len(self.lengths)))
        table[self.time, self.column] = values
        sums = table[::-1].cumsum(0)[::-1] if backward else table.cumsum(0)
        return sums[self.time, self.column]

    def restore(self, values: NDArray, like: Tensor) -> Tensor:
        """Bring rows (N, ...) back to the order, shape, dtype and device of (B, T, ...)."""
        out = torch.zeros_like(like, memory_format=torch.contiguous_format)
        rows = torch.from_numpy(values).to(like.device, like.dtype)
        out.flatten(0, 1)[torch.from_numpy(self.places).to(like.device)] = rows
        return out


def check_array(name: str, value: Tensor | NDArray, dtype: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array or tensor of another dtype or shape (B112)."""
    if value.dtype != dtype or tuple(value.shape) != shape:
        got = {"dtype": value.dtype, "shape": tuple(value.shape)}
        raise ValueError(Errors.B112.format(name=name, want_dtype=dtype, want_shape=shape, **got))


def to_numpy(scores: Tensor) -> Floats:
    """Return scores as float64 in memory."""
    return scores.detach().cpu().double().numpy()
