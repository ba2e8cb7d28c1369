"""The best path through a linear chain.

A step is three operations on a small array, and there are as many steps as the longest sequence
has tokens: what counts is the cost of a call. NumPy's is a third of torch's on a CPU, and less
still than starting a kernel on a GPU, so the recursion runs in NumPy wherever the scores come from.
Tags come before sequences in memory, so that a step runs over contiguous rows.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .chain import pack

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def find_best_paths(
    emissions: Tensor, lengths: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> tuple[Tensor, Tensor]:
    """Find the path of the highest score for each sequence.

    emissions (Tensor): Scores per position; finite where padded. Shape (B, T, L).
    lengths (Tensor): Tokens per sequence, int64. Shape (B,).
    transitions, start, end (Tensor): Shapes (L, L), (L,), (L,).
    RETURNS (tuple[Tensor, Tensor]): Tag ids, int64, 0 where padded, shape (B, T), and scores, 0 for
        an empty sequence, shape (B,).

    SOURCE: Viterbi (1967), Error bounds for convolutional codes.
    """
    batch = pack(emissions.detach().cpu(), lengths.cpu())
    paths = torch.zeros(emissions.shape[:2], dtype=torch.int64)
    scores = torch.zeros(len(lengths), dtype=torch.float64)
    if batch.alive:
        sums = batch.emissions.transpose(1, 2).contiguous().numpy()  # (T, L, B)
        step, first, last = (to_numpy(x) for x in (transitions, start, end))
        _sum_best(sums, step, first, batch.alive)
        sizes = batch.lengths.numpy()
        at_end = sums[np.maximum(sizes - 1, 0), :, np.arange(len(sizes))] + last  # (B, L)
        tag = at_end.argmax(1)
        best = np.where(sizes > 0, at_end.max(1), 0.0)
        scores[batch.order] = torch.from_numpy(best)
        found = _trace_back(sums, step, tag, batch.alive)
        found[np.arange(len(found))[:, None] >= sizes] = 0
        paths[batch.order, : len(found)] = torch.from_numpy(found).t()
    return paths.to(emissions.device), scores.to(emissions)


def _sum_best(sums: Floats, step: Floats, first: Floats, alive: list[int]) -> None:
    """Turn emissions (T, L, B), in place, into the best score up to each tag."""
    n_tags, n_rows = sums.shape[1:]
    room = np.empty((n_tags + 1) * n_tags * n_rows)
    shapes = {n: _cut(room, n_tags, n) for n in set(alive)}
    step = step[:, :, None]
    sums[0] += first[:, None]
    for t in range(1, len(alive)):
        n = alive[t]
        ways, best = shapes[n]  # (L before, L, n), (L, n)
        np.add(sums[t - 1, :, None, :n], step, out=ways)
        np.maximum.reduce(ways, 0, out=best)
        now = sums[t, :, :n]
        np.add(now, best, out=now)


def _cut(room: Floats, n_tags: int, n_rows: int) -> tuple[Floats, Floats]:
    size = n_tags * n_rows
    ways = room[: n_tags * size].reshape(n_tags, n_tags, n_rows)
    return ways, room[n_tags * size :][:size].reshape(n_tags, n_rows)


def _trace_back(sums: Floats, step: Floats, tag: Ints, alive: list[int]) -> Ints:
    """Find the paths (T, B) that end with the given tags (B,).

    The best tag before is looked for along the path only, so that no back-pointers are kept.
    """
    path = np.tile(tag, (len(sums), 1))
    into = np.ascontiguousarray(step.T)
    for t in range(len(sums) - 1, 0, -1):
        n = alive[t]
        before = into.take(path[t, :n], 0)  # (n, L)
        before += sums[t - 1, :, :n].T
        before.argmax(1, out=path[t - 1, :n])
    return path


def to_numpy(scores: Tensor) -> Floats:
    """Return scores as float64 in memory."""
    return scores.detach().double().cpu().numpy()
