"""How probable it is that a path runs through given tags: spans of a linear chain."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import Errors
from .chain import log_sum, make_chain
from .sequences import NEG_INF, Batch, Floats, Ints, check_array, to_numpy

Bools = NDArray[np.bool_]


class TagRuns(NamedTuple):
    """Stretches of sequences with a tag for each position, and tags that must not stand beside.

    row (NDArray): Sequence of each, int64. Shape (S,).
    start (NDArray): Its first position, int64. Shape (S,).
    tags (NDArray): Tags of all of them, one stretch after the other, int64. Shape (N,).
    lengths (NDArray): Positions in each, 1 or more, int64. Shape (S,).
    stop (NDArray): True for each tag that must not come next, bool. Shape (S, L).
    avoid (NDArray): True for each tag that must not come before, bool. Shape (S, L).
    """

    row: Ints
    start: Ints
    tags: Ints
    lengths: Ints
    stop: Bools
    avoid: Bools


class Posterior:
    """The distribution over paths of a batch, to be asked for stretches of tags.

    Like the recursions it is made by, it computes in NumPy and float64.

    emissions (Tensor): Scores per position; finite where padded. Shape (B, T, L).
    lengths (Tensor): Tokens per sequence, int64. Shape (B,).
    transitions, start, end (Tensor): Shapes (L, L), (L,), (L,).
    temperature (float): All scores are divided by it.
    """

    log_mass: Floats  # (B,) of all paths; 0 where there is none

    def __init__(
        self,
        emissions: Tensor,
        lengths: Tensor,
        transitions: Tensor,
        start: Tensor,
        end: Tensor,
        temperature: float = 1.0,
    ) -> None:
        self.batch = Batch(emissions, lengths)
        self.batch.emissions /= temperature
        scores = [to_numpy(part) / temperature for part in (transitions, start, end)]
        self.step, _, self.end = scores
        chain = make_chain(self.batch, *scores)
        self.alpha, self.beta = chain.messages()
        # Where in the sorted batch each sequence is.
        self.column = np.argsort(self.batch.order)
        # Without any path all sums are -inf and must stay so.
        mass = chain.log_mass[self.column]
        self.log_mass = np.where(mass == NEG_INF, 0.0, mass)

    def marginals(self) -> list[Floats]:
        """Compute the probability of each tag at each position; B arrays of shape (length, L)."""
        batch = self.batch
        mass = self.log_mass[batch.order[batch.column], None]
        unary = np.exp(self.alpha + self.beta - mass)[np.argsort(batch.places)]
        return np.split(unary, batch.lengths[self.column].cumsum()[:-1])

    def score_runs(self, runs: TagRuns) -> Floats:
        """Compute the log-probability that a path has the given tags, and beside them no others
        than it may.

        Everything before and after a stretch is summed over: what leads to its first tag, times
        the stretch itself, times what may come after its last tag, over the mass of all paths.

        runs (TagRuns): S stretches.
        RETURNS (NDArray): Natural logs, -inf for what is impossible. Shape (S,).
        RAISES (ValueError): B118 a stretch does not lie within its sequence; B119 a tag does
            not exist; B112 stop or avoid.

        SOURCE: Culotta & McCallum (2004), Confidence estimation for information extraction (the
        constrained forward-backward; the boundaries are ours).
        """
        batch, n_tags = self.batch, len(self.end)
        _check_runs(runs, batch.lengths[self.column], n_tags)
        if not len(runs.row):
            return np.zeros(0)
        column = self.column[runs.row]
        first = runs.lengths.cumsum() - runs.lengths
        place = np.arange(len(runs.tags)) - np.repeat(first, runs.lengths)
        rows = batch.begins[np.repeat(runs.start, runs.lengths) + place]
        rows += np.repeat(column, runs.lengths)
        score = batch.emissions[rows, runs.tags] + self.step[np.roll(runs.tags, 1), runs.tags]
        # The first tag's emission and what leads there are part of alpha.
        score[first] = 0.0
        inside = np.add.reduceat(score, first)
        initial, final = runs.tags[first], runs.tags[first + runs.lengths - 1]
        before = self.alpha[rows[first], initial]
        picky = np.flatnonzero(runs.avoid.any(1) & (runs.start > 0))
        if len(picky):
            tag = initial[picky]
            previous = batch.begins[runs.start[picky] - 1] + column[picky]
            into = self.alpha[previous] + self.step.T[tag]  # (picky, L)
            into[runs.avoid[picky]] = NEG_INF
            before[picky] = log_sum(into, 1) + batch.emissions[rows[first[picky]], tag]
        rest = self.end[final]
        after = runs.start + runs.lengths  # position of the next tag
        on = np.flatnonzero(after < batch.lengths[column])
        if len(on):
            then = batch.begins[after[on]] + column[on]
            onward = self.step[final[on]] + batch.emissions[then] + self.beta[then]  # (on, L)
            onward[runs.stop[on]] = NEG_INF
            rest[on] = log_sum(onward, 1)
        return before + inside + rest - self.log_mass[runs.row]


def _check_runs(runs: TagRuns, lengths: Ints, n_tags: int) -> None:
    known = (runs.row >= 0) & (runs.row < len(lengths))
    size = lengths[np.where(known, runs.row, 0)] if len(lengths) else runs.lengths * 0
    bad = ~known | (runs.start < 0) | (runs.lengths < 1) | (runs.start + runs.lengths > size)
    if bad.any():
        i = int(bad.argmax())
        values = {"row": int(runs.row[i]), "start": int(runs.start[i])}
        raise ValueError(Errors.B118.format(length=int(runs.lengths[i]), **values))
    unknown = (runs.tags < 0) | (runs.tags >= n_tags)
    if unknown.any():
        raise ValueError(Errors.B119.format(tag=int(runs.tags[unknown][0]), high=n_tags - 1))
    check_array("stop tags", runs.stop, np.bool_, (len(runs.row), n_tags))
    check_array("avoided tags", runs.avoid, np.bool_, (len(runs.row), n_tags))
