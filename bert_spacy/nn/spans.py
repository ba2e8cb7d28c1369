"""How probable it is that a path runs through given tags: spans of a linear chain."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import Errors
from .chain import NEG_INF, check_array, make_chain, pack


class TagRuns(NamedTuple):
    """Stretches of sequences with a tag for each position, and tags that must not stand beside.

    row (Tensor): Sequence of each, int64. Shape (S,).
    start (Tensor): Its first position, int64. Shape (S,).
    tags (Tensor): Tags of all of them, one stretch after the other, int64. Shape (N,).
    lengths (Tensor): Positions in each, 1 or more, int64. Shape (S,).
    stop (Tensor): True for each tag that must not come next, bool. Shape (S, L).
    avoid (Tensor): True for each tag that must not come before, bool. Shape (S, L).
    """

    row: Tensor
    start: Tensor
    tags: Tensor
    lengths: Tensor
    stop: Tensor
    avoid: Tensor


class Posterior:
    """The distribution over paths of a batch, to be asked for stretches of tags.

    emissions (Tensor): Scores per position; finite where padded. Shape (B, T, L).
    lengths (Tensor): Tokens per sequence, int64. Shape (B,).
    transitions, start, end (Tensor): Shapes (L, L), (L,), (L,).
    temperature (float): All scores are divided by it.
    """

    def __init__(
        self,
        emissions: Tensor,
        lengths: Tensor,
        transitions: Tensor,
        start: Tensor,
        end: Tensor,
        temperature: float = 1.0,
    ) -> None:
        batch = pack(emissions, lengths)
        self.batch = batch._replace(emissions=batch.emissions / temperature)
        dtype = self.batch.emissions.dtype
        self.step, start, self.end = (x.to(dtype) / temperature for x in (transitions, start, end))
        chain = make_chain(self.batch, self.step, start, self.end)
        self.alpha, self.beta = chain.messages()
        # Without any path all sums are -inf and must stay so.
        self.log_mass = chain.log_mass.masked_fill(chain.log_mass == NEG_INF, 0.0)
        # Where in the sorted batch each sequence is.
        self.column = torch.empty_like(self.batch.order)
        self.column[self.batch.order] = torch.arange(len(self.column), device=self.column.device)

    def marginals(self) -> Tensor:
        """Compute the probability of each tag at each position, 0 where padded. Shape (B, T, L)."""
        unary = (self.alpha + self.beta - self.log_mass[:, None]).exp()
        steps = torch.arange(len(unary), device=unary.device)[:, None]
        unary = unary.masked_fill((steps >= self.batch.lengths)[..., None], 0.0)
        return unary.transpose(0, 1)[self.column]

    def score_runs(self, runs: TagRuns) -> Tensor:
        """Compute the log-probability that a path has the given tags, and beside them no others
        than it may.

        Everything before and after a stretch is summed over: what leads to its first tag, times
        the stretch itself, times what may come after its last tag, over the mass of all paths.

        runs (TagRuns): S stretches.
        RETURNS (Tensor): Natural logs in the working dtype, -inf for what is impossible.
            Shape (S,).
        RAISES (ValueError): B118 a stretch does not lie within its sequence; B119 a tag does
            not exist; B112 stop or avoid.

        SOURCE: Culotta & McCallum (2004), Confidence estimation for information extraction (the
        constrained forward-backward; the boundaries are ours).
        """
        batch, n_tags = self.batch, len(self.end)
        _check_runs(runs, batch.lengths[self.column], n_tags)
        if not len(runs.row):
            return self.alpha.new_zeros(0)
        column = self.column[runs.row]
        run = torch.arange(len(column), device=column.device).repeat_interleave(runs.lengths)
        first = runs.lengths.cumsum(0) - runs.lengths
        place = torch.arange(len(run), device=column.device) - first[run]
        score = batch.emissions[runs.start[run] + place, column[run], runs.tags]
        score = score + self.step[runs.tags.roll(1), runs.tags]
        # The first tag's emission and what leads there are part of alpha.
        score = score.masked_fill(place == 0, 0.0)
        inside = self.alpha.new_zeros(len(column)).index_add(0, run, score)
        before = self.alpha[runs.start, column, runs.tags[first]]
        picky = torch.nonzero(runs.avoid.any(1) & (runs.start > 0))[:, 0]
        if len(picky):
            at, col, tag = runs.start[picky], column[picky], runs.tags[first[picky]]
            into = self.alpha[at - 1, col] + self.step.t()[tag]  # (picky, L)
            into = torch.logsumexp(into.masked_fill(runs.avoid[picky], NEG_INF), 1)
            before = before.index_copy(0, picky, into + batch.emissions[at, col, tag])
        after = runs.start + runs.lengths  # position of the next tag
        final = runs.tags[first + runs.lengths - 1]
        then = after.clamp(max=len(self.alpha) - 1)
        onward = self.step[final] + (batch.emissions + self.beta)[then, column]  # (S, L)
        onward = onward.masked_fill(runs.stop, NEG_INF)
        is_last = after == batch.lengths[column]
        rest = torch.where(is_last, self.end[final], torch.logsumexp(onward, 1))
        return before + inside + rest - self.log_mass[column]


def _check_runs(runs: TagRuns, lengths: Tensor, n_tags: int) -> None:
    known = (runs.row >= 0) & (runs.row < len(lengths))
    size = lengths[runs.row.masked_fill(~known, 0)] if len(lengths) else runs.lengths * 0
    bad = ~known | (runs.start < 0) | (runs.lengths < 1) | (runs.start + runs.lengths > size)
    if bad.any():
        i = int(bad.int().argmax())
        values = {"row": int(runs.row[i]), "start": int(runs.start[i])}
        raise ValueError(Errors.B118.format(length=int(runs.lengths[i]), **values))
    unknown = (runs.tags < 0) | (runs.tags >= n_tags)
    if unknown.any():
        raise ValueError(Errors.B119.format(tag=int(runs.tags[unknown][0]), high=n_tags - 1))
    check_array("stop tags", runs.stop, torch.bool, (len(runs.row), n_tags))
    check_array("avoided tags", runs.avoid, torch.bool, (len(runs.row), n_tags))
