"""The best path through a linear chain.

As in `chain`, the recursion runs in NumPy. Tags come before sequences in memory, so that a step
runs over contiguous rows.
"""

import numpy as np
import torch
from torch import Tensor

from .sequences import Batch, Floats, Ints, to_numpy


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
    batch = Batch(emissions, lengths)
    paths = torch.zeros(emissions.shape[:2], dtype=torch.int64, device=emissions.device)
    scores = np.zeros(len(batch.lengths))
    if batch.alive:
        step, first, last = (to_numpy(x) for x in (transitions, start, end))
        sums = _sum_best(batch, step, first)
        n = batch.alive[0]
        ends = [sums[size - 1][:, i] for i, size in enumerate(batch.lengths[:n].tolist())]
        at_end = np.stack(ends) + last  # (n, L)
        scores[batch.order[:n]] = at_end.max(1)
        paths = batch.restore(_trace_back(batch, sums, step, at_end.argmax(1)), paths)
    return paths, torch.from_numpy(scores).to(emissions)


def _sum_best(batch: Batch, step: Floats, first: Floats) -> list[Floats]:
    """Find for each position the best score up to each tag, emission included; each (L, n)."""
    n_tags, most = len(first), batch.alive[0]
    room = np.empty((n_tags + 1) * n_tags * most)
    shapes = {n: _cut(room, n_tags, n) for n in set(batch.alive)}
    step = step[:, :, None]
    emissions = batch.cut(batch.emissions)
    sums = [np.add(emissions[0].T, first[:, None], order="C")]
    for n, given in zip(batch.alive[1:], emissions[1:]):
        ways, best = shapes[n]  # (L before, L, n), (L, n)
        np.add(sums[-1][:, None, :n], step, out=ways)
        np.maximum.reduce(ways, 0, out=best)
        sums.append(np.add(given.T, best, order="C"))
    return sums


def _cut(room: Floats, n_tags: int, n_rows: int) -> tuple[Floats, Floats]:
    size = n_tags * n_rows
    ways = room[: n_tags * size].reshape(n_tags, n_tags, n_rows)
    return ways, room[n_tags * size :][:size].reshape(n_tags, n_rows)


def _trace_back(batch: Batch, sums: list[Floats], step: Floats, tag: Ints) -> Ints:
    """Find the paths (N,) that end with the given tags.

    The best tag before is looked for along the path only, so that no back-pointers are kept.
    """
    path = tag[batch.column]
    rows = batch.cut(path)
    into = np.ascontiguousarray(step.T)
    for t in range(len(rows) - 1, 0, -1):
        before = into.take(rows[t], 0)  # (n, L)
        before += sums[t - 1][:, : len(before)].T
        before.argmax(1, out=rows[t - 1][: len(before)])
    return path
