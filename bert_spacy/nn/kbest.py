"""The k best paths through a linear chain, as `viterbi` finds the best one."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .sequences import NEG_INF, Batch, Floats, Ints, to_numpy

Pointers = NDArray[np.int32]


def find_k_best_paths(
    emissions: Tensor, lengths: Tensor, transitions: Tensor, start: Tensor, end: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Find the k paths of the highest scores for each sequence.

    emissions (Tensor): Scores per position; finite where padded. Shape (B, T, L).
    lengths (Tensor): Tokens per sequence, int64. Shape (B,).
    transitions, start, end (Tensor): Shapes (L, L), (L,), (L,).
    k (int): Paths per sequence.
    RETURNS (tuple[Tensor, Tensor]): Tag ids, best first, int64, 0 where padded, shape (B, k, T),
        and scores, -inf for paths that do not exist, shape (B, k).

    SOURCE: Seshadri & Sundberg (1994), List Viterbi decoding algorithms with applications.
    """
    batch = Batch(emissions, lengths)
    n_rows, _, n_tags = emissions.shape
    paths = torch.zeros((n_rows, k, emissions.shape[1]), dtype=torch.int64)
    scores = torch.full((n_rows, k), NEG_INF, dtype=torch.float64)
    scores[:, 0] = 0.0  # of an empty sequence
    if batch.alive:
        step, first, last = (to_numpy(x) for x in (transitions, start, end))
        sums, back = _sum_k_best(batch, step, first, k)
        at_end = (sums + last[:, None, None]).reshape(n_tags * k, -1)  # (L * k, B)
        order = (-at_end).argsort(0, kind="stable")[:k]  # (k, B)
        found = _trace_back(back, order, batch.alive, k)  # (T, k, B)
        n_full = batch.alive[0]
        found *= np.arange(len(found))[:, None, None] < batch.lengths[:n_full]
        rows = torch.from_numpy(batch.order[:n_full])
        scores[rows] = torch.from_numpy(np.take_along_axis(at_end, order, 0).T.copy())
        paths[rows, :, : len(found)] = torch.from_numpy(found.transpose(2, 1, 0).copy())
    return paths.to(emissions.device), scores.to(emissions)


def _sum_k_best(batch: Batch, step: Floats, first: Floats, k: int) -> tuple[Floats, Pointers]:
    """Find the k best scores up to each tag at each sequence's end, and where each came from.

    RETURNS (tuple[Floats, Pointers]): Scores, falling, shape (L, k, B), and back-pointers to
        (tag before) * k + (rank there), shape (T, L, k, B).
    """
    n_tags, n_rows = len(first), batch.alive[0]
    emissions = batch.cut(batch.emissions)
    sums = np.full((n_tags, k + 1, n_rows), NEG_INF)  # the last rank stays -inf
    sums[:, 0] = emissions[0].T + first[:, None]
    back = np.zeros((len(emissions), n_tags, k, n_rows), dtype=np.int32)
    to, row = np.arange(n_tags)[:, None], np.arange(n_rows)
    for t in range(1, len(emissions)):
        n = len(emissions[t])
        before = sums[:, :, :n].copy()
        # The lists of the tags before are sorted: merge them, always taking the best head.
        heads = before[:, 0, None, :] + step[:, :, None]  # (L before, L, n)
        rank = np.zeros(heads.shape, dtype=np.int32)
        for i in range(k):
            tag = heads.argmax(0)  # (L, n)
            at = (tag, to, row[:n])
            back[t, :, i, :n] = tag * k + np.minimum(rank[at], k - 1)
            sums[:, i, :n] = heads[at] + emissions[t].T
            rank[at] = np.minimum(rank[at] + 1, k)
            heads[at] = before[tag, rank[at], row[:n]] + step[tag, to]
    return sums[:, :k], back


def _trace_back(back: Pointers, order: Ints, alive: list[int], k: int) -> Ints:
    """Follow the pointers from the ends (k, B); gives tags (T, k, B)."""
    at = order.astype(np.int64)
    path = np.empty((len(back), *at.shape), dtype=np.int64)
    row = np.arange(at.shape[1])
    for t in range(len(back) - 1, -1, -1):
        tag, rank = np.divmod(at, k)
        path[t] = tag
        n = alive[t]
        at[:, :n] = back[t, tag[:, :n], rank[:, :n], row[:n]]
    return path
