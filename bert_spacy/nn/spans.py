"""How probable it is that a path runs through given tags: spans of a linear chain."""

from typing import NamedTuple

import torch
from torch import Tensor

from .chain import NEG_INF, make_chain, pack


class TagRuns(NamedTuple):
    """Stretches of sequences with a tag for each position, and a tag that must not follow.

    row (Tensor): Sequence of each, int64. Shape (S,).
    start (Tensor): Its first position, int64. Shape (S,).
    tags (Tensor): Tags of all of them, one stretch after the other, int64. Shape (N,).
    lengths (Tensor): Positions in each, 1 or more, int64. Shape (S,).
    stop (Tensor): Tag that may not come next, -1 if any may, int64. Shape (S,).
    """

    row: Tensor
    start: Tensor
    tags: Tensor
    lengths: Tensor
    stop: Tensor


def score_runs(
    emissions: Tensor,
    lengths: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    runs: TagRuns,
) -> Tensor:
    """Compute the log-probability that a path has the given tags and then not the stop tag.

    Everything before and after a stretch is summed over: what leads to its first tag, times the
    stretch itself, times what may come after its last tag, over the mass of all paths.

    emissions (Tensor): Scores per position; finite where padded. Shape (B, T, L).
    lengths (Tensor): Tokens per sequence, int64. Shape (B,).
    transitions, start, end (Tensor): Shapes (L, L), (L,), (L,).
    runs (TagRuns): The stretches.
    RETURNS (Tensor): Natural logs, -inf for what is impossible, in the working dtype. Shape (S,).

    SOURCE: Culotta & McCallum (2004), Confidence estimation for information extraction (the
    constrained forward-backward; the boundary to the right is ours).
    """
    batch = pack(emissions, lengths)
    if not len(runs.row):
        return batch.emissions.new_zeros(0)
    chain = make_chain(batch, transitions, start, end)
    alpha, beta = chain.messages()
    # From here on a sequence is a column of the sorted batch.
    column = torch.empty_like(batch.order)
    column[batch.order] = torch.arange(len(batch.order), device=column.device)
    column = column[runs.row]
    step, last_score = transitions.to(alpha.dtype), end.to(alpha.dtype)
    run = torch.arange(len(column), device=column.device).repeat_interleave(runs.lengths)
    first = runs.lengths.cumsum(0) - runs.lengths
    place = torch.arange(len(run), device=column.device) - first[run]
    score = batch.emissions[runs.start[run] + place, column[run], runs.tags]
    score = score + step[runs.tags.roll(1), runs.tags]
    # The first tag's emission and what leads there are part of alpha.
    score = score.masked_fill(place == 0, 0.0)
    inside = alpha.new_zeros(len(column)).index_add(0, run, score)
    before = alpha[runs.start, column, runs.tags[first]]
    after = runs.start + runs.lengths  # position of the next tag
    final = runs.tags[first + runs.lengths - 1]
    is_last = after == batch.lengths[column]
    then = after.clamp(max=len(alpha) - 1)
    onward = step[final] + (batch.emissions + beta)[then, column]  # (S, L)
    tags = torch.arange(onward.shape[1], device=onward.device)
    onward = onward.masked_fill(tags == runs.stop[:, None], NEG_INF)
    rest = torch.where(is_last, last_score[final], torch.logsumexp(onward, 1))
    return before + inside + rest - chain.log_mass[column]
