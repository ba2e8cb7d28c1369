"""Recursions over a linear chain: mass and expectations; `viterbi` and `kbest` have best paths.

Scores are (B, T, L) emissions, (L, L) transitions, (L,) start and (L,) end, any of them -inf for
what is forbidden. Everything runs in float64 and in NumPy, wherever the scores come from: a step is
a few operations on a small array, and there are as many steps as the longest sequence has tokens,
so that what counts is the cost of a call, and NumPy's is a third of torch's, and less still than
starting a kernel on a GPU.

`ScaledChain` sums probabilities that are rescaled as it goes: one small matrix product per step. It
is exact unless numbers hundreds of nats apart meet at one position and the smaller one
underflows; that is checked, and then `LogChain` does the same sums on logarithms.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .sequences import NEG_INF, Batch, Floats, to_numpy

# How the exponent range of a float is shared out, so that a product of a rescaled sum, a
# transition and an emission is never rounded to zero. What is left pays for the sum over tags.
SUM_SHARE, TRANSITION_SHARE, EMISSION_SHARE = 0.35, 0.15, 0.42
# Steps between two rescalings. In between, sums may leave what is checked somewhat sooner.
RESCALE_EVERY = 4
# Multiplications in a product that is sooner done than handed to torch.
DOT_LIMIT = 65536
TINY = np.finfo(np.float64).tiny
DEPTH = -math.log(TINY)
FLOOR = math.exp(-SUM_SHARE * DEPTH)


class LogMass(torch.autograd.Function):
    """Log of the summed exponential scores of all paths, with marginals as its gradient.

    emissions (Tensor): Scores per position; finite where padded. Shape (B, T, L).
    lengths (Tensor): Tokens per sequence, int64. Shape (B,).
    transitions, start, end (Tensor): Shapes (L, L), (L,), (L,).
    RETURNS (Tensor): -inf without any path, 0 for an empty sequence; in float64 (float32 where a
        device has none). Shape (B,).

    SOURCE: Lafferty et al. (2001), section 3 (forward-backward and expected features).
    """

    @staticmethod
    def forward(
        ctx: Any,
        emissions: Tensor,
        lengths: Tensor,
        transitions: Tensor,
        start: Tensor,
        end: Tensor,
    ) -> Tensor:
        ctx.chain = make_chain(Batch(emissions, lengths), *map(to_numpy, (transitions, start, end)))
        ctx.save_for_backward(emissions, transitions, start, end)
        return _unsort(ctx.chain.log_mass, ctx.chain.batch, emissions)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        emissions, transitions, start, end = ctx.saved_tensors
        batch = ctx.chain.batch
        weight = to_numpy(grad)[batch.order]  # (B,)
        unary, pairs = ctx.chain.expect(weight)
        unary = unary * weight[batch.column, None]
        first = unary[batch.time == 0].sum(0)
        last = unary[batch.lasts[batch.lengths > 0]].sum(0)
        parts = zip((pairs, first, last), (transitions, start, end))
        return batch.restore(unary, emissions), None, *(_to_torch(x, like) for x, like in parts)


def find_marginals(
    emissions: Tensor, lengths: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> Tensor:
    """Compute the probability of each tag at each position.

    emissions (Tensor): Scores per position; finite where padded. Shape (B, T, L).
    lengths (Tensor): Tokens per sequence, int64. Shape (B,).
    transitions, start, end (Tensor): Shapes (L, L), (L,), (L,).
    RETURNS (Tensor): Probabilities, 0 where padded. Shape (B, T, L).

    SOURCE: Rabiner (1989), section III.A.
    """
    chain = make_chain(Batch(emissions, lengths), *map(to_numpy, (transitions, start, end)))
    unary, _ = chain.expect(np.zeros_like(chain.log_mass))
    return chain.batch.restore(unary, emissions)


def find_expectations(
    emissions: Tensor, lengths: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the mass of all paths, and how often tags and pairs of tags are expected.

    emissions (Tensor): Scores per position; finite where padded. Shape (B, T, L).
    lengths (Tensor): Tokens per sequence, int64. Shape (B,).
    transitions, start, end (Tensor): Shapes (L, L), (L,), (L,).
    RETURNS (tuple[Tensor, Tensor, Tensor]): Log of the summed exponential scores, shape (B,);
        probability of each tag, 0 where padded, shape (B, T, L); expected number of each pair of
        neighbours in all sequences together, shape (L, L). In float64 (float32 where a device has
        none).

    SOURCE: Lafferty et al. (2001), section 3.
    """
    chain = make_chain(Batch(emissions, lengths), *map(to_numpy, (transitions, start, end)))
    unary, pairs = chain.expect(np.ones_like(chain.log_mass))
    mass = _unsort(chain.log_mass, chain.batch, emissions)
    return mass, chain.batch.restore(unary, emissions.to(mass.dtype)), _to_torch(pairs, mass)


def make_chain(
    batch: Batch, transitions: Floats, start: Floats, end: Floats
) -> "ScaledChain | LogChain":
    """Run the forward recursion in the fastest way that is exact for these scores."""
    if batch.alive:
        chain = ScaledChain(batch, transitions, start, end)
        if chain.is_exact:
            return chain
    return LogChain(batch, transitions, start, end)


class ScaledChain:
    """Forward-backward on probabilities rescaled, every few positions, to a maximum of 1.

    batch (Batch): Sequences, at least one of them not empty.
    transitions, start, end (NDArray): Shapes (L, L), (L,), (L,).

    is_exact says whether log_mass (B,), of the sorted sequences, may be used.

    SOURCE: Rabiner (1989), section V.A (scaling), with the maximum in place of the sum.
    """

    log_mass: Floats

    def __init__(self, batch: Batch, transitions: Floats, start: Floats, end: Floats) -> None:
        self.batch = batch
        self.scores = (transitions, start, end)
        widest = max(float(_find_spread(score.ravel())) for score in self.scores)
        self.is_exact = bool(
            widest <= TRANSITION_SHARE * DEPTH
            and (_find_spread(batch.emissions) <= EMISSION_SHARE * DEPTH).all()
        )
        if self.is_exact:
            self._run_forward()

    def _run_forward(self) -> None:
        batch = self.batch
        (step, self.step_shift), (start, self.start_shift), (self.end, self.end_shift) = (
            _exp_shifted(score.ravel()) for score in self.scores
        )
        self.step = step.reshape(self.scores[0].shape)
        self.weight, self.weight_shift = _exp_shifted(batch.emissions)  # (N, L), (N, 1)
        self.alpha = np.empty_like(self.weight)
        scale = np.ones_like(self.weight_shift)
        rows, weights, scales = map(batch.cut, (self.alpha, self.weight, scale))
        np.multiply(weights[0], start, out=rows[0])
        for t, row in enumerate(rows):
            if t > 0:
                _multiply(rows[t - 1][: len(row)], self.step, out=row)
                np.multiply(row, weights[t], out=row)
            if t % RESCALE_EVERY == 0:
                _rescale(row, scales[t])
        self.is_exact = _is_above_floor(self.alpha)
        self.shift = (self.weight_shift + np.log(scale))[:, 0]
        last = _log((self.alpha[batch.lasts] * self.end).sum(1))
        sums = np.bincount(batch.column, self.shift, len(batch.lengths))
        ends = self.start_shift + self.end_shift + (batch.lengths - 1) * self.step_shift
        self.log_mass = np.where(batch.lengths > 0, last + sums + ends, 0.0)

    def messages(self) -> tuple[Floats, Floats]:
        """Compute the log-mass of all ways up to each tag, and of all ways on from it.

        RETURNS (tuple[NDArray, NDArray]): Up to and with the tag's own emission, and from the next
            position on. Each (N, L).
        """
        beta, _, scale = self._run_backward()
        batch = self.batch
        if not _is_above_floor(beta):
            return LogChain(batch, *self.scores).messages()
        before = batch.sum_up(self.shift) + batch.time * self.step_shift + self.start_shift
        left = batch.lengths[batch.column] - 1 - batch.time  # (N,)
        # What is taken off at a position belongs to the sums from the one before it on.
        taken = np.log(scale[:, 0])
        taken[batch.before] += self.weight_shift[batch.begins[1] :, 0]
        after = batch.sum_up(taken, backward=True) + left * self.step_shift + self.end_shift
        return _log(self.alpha) + before[:, None], _log(beta) + after[:, None]

    def _run_backward(self) -> tuple[Floats, Floats, Floats]:
        """Give beta, what comes from each position on (scaled as beta before it), and scales."""
        batch = self.batch
        beta = np.tile(self.end, (len(self.weight), 1))
        ahead = np.zeros_like(self.weight)
        scale = np.ones_like(self.weight_shift)
        betas, aheads, weights, scales = map(batch.cut, (beta, ahead, self.weight, scale))
        back = np.ascontiguousarray(self.step.T)
        for t in range(len(betas) - 1, 0, -1):
            n = len(betas[t])
            np.multiply(betas[t], weights[t], out=aheads[t])
            target = betas[t - 1][:n]
            _multiply(aheads[t], back, out=target)
            if t % RESCALE_EVERY == 0:
                size = scales[t - 1][:n]
                _rescale(target, size)
                np.divide(aheads[t], size, out=aheads[t])
        return beta, ahead, scale

    def expect(self, weight: Floats) -> tuple[Floats, Floats]:
        """Run the backward recursion and compute expected tags and transitions.

        weight (NDArray): Weight of each sorted sequence in the sum. Shape (B,).
        RETURNS (tuple[NDArray, NDArray]): Probability of each tag, shape (N, L), and the weighted
            sum of transition probabilities, shape (L, L).
        """
        beta, ahead, _ = self._run_backward()
        if not _is_above_floor(beta):
            return LogChain(self.batch, *self.scores).expect(weight)
        batch = self.batch
        unary = self.alpha * beta
        total = unary.sum(1, keepdims=True)
        total[total == 0] = 1.0
        unary /= total
        before = (self.alpha * (weight[batch.column, None] / total))[batch.before]
        pairs = np.empty_like(self.step)
        _multiply(before.T, ahead[batch.begins[1] :], out=pairs)
        return unary, self.step * pairs


class LogChain:
    """Forward-backward on logarithms: slower, and exact for any scores.

    batch (Batch): Sequences.
    transitions, start, end (NDArray): Shapes (L, L), (L,), (L,).
    """

    def __init__(self, batch: Batch, transitions: Floats, start: Floats, end: Floats) -> None:
        self.batch = batch
        self.step, self.end = transitions, end
        self.alpha = batch.emissions.copy()
        rows = batch.cut(self.alpha)
        for t, row in enumerate(rows):
            row += log_sum(rows[t - 1][: len(row), :, None] + self.step, 1) if t > 0 else start
        self.log_mass = np.zeros(len(batch.lengths))
        if batch.alive:
            mass = log_sum(self.alpha[batch.lasts] + end, 1)
            self.log_mass = np.where(batch.lengths > 0, mass, 0.0)

    def messages(self) -> tuple[Floats, Floats]:
        """Run the backward recursion, as `ScaledChain.messages`."""
        batch = self.batch
        beta = np.tile(self.end, (len(batch.emissions), 1))
        betas, emissions = batch.cut(beta), batch.cut(batch.emissions)
        for t in range(len(betas) - 1, 0, -1):
            after = self.step + (emissions[t] + betas[t])[:, None, :]  # (n, L, L)
            betas[t - 1][: len(after)] = log_sum(after, 2)
        return self.alpha, beta

    def expect(self, weight: Floats) -> tuple[Floats, Floats]:
        """Compute expected tags and transitions, as `ScaledChain.expect`."""
        batch = self.batch
        # Without any path all sums below are -inf and must stay so.
        total = np.where(self.log_mass == NEG_INF, 0.0, self.log_mass)
        _, beta = self.messages()
        alphas, betas, emissions = map(batch.cut, (self.alpha, beta, batch.emissions))
        pairs = np.zeros_like(self.step)
        for t in range(len(betas) - 1, 0, -1):
            n = len(betas[t])
            after = self.step + (emissions[t] + betas[t])[:, None, :]  # (n, L, L)
            share = np.exp(alphas[t - 1][:n, :, None] + after - total[:n, None, None])
            pairs += (weight[:n, None, None] * share).sum(0)
        return np.exp(self.alpha + beta - total[batch.column, None]), pairs


def _to_torch(values: Floats, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, like.dtype)


def _unsort(values: Floats, batch: Batch, like: Tensor) -> Tensor:
    """Bring values of the sorted sequences (B,) to the caller's order and device."""
    out = np.empty_like(values)
    out[batch.order] = values
    dtype = torch.float32 if like.device.type == "mps" else torch.float64
    return torch.from_numpy(out).to(like.device, dtype)


def _multiply(left: Floats, right: Floats, out: Floats) -> None:
    """Multiply matrices; large ones by torch, as threads of NumPy's own would be in its way."""
    if len(left) * right.size < DOT_LIMIT:
        np.dot(left, right, out=out)
    else:
        torch.mm(torch.from_numpy(left), torch.from_numpy(right), out=torch.from_numpy(out))


def _rescale(row: Floats, scale: Floats) -> None:
    """Divide rows by their maximum, which goes to scale; a row of zeros stays."""
    np.maximum.reduce(row, axis=1, out=scale, keepdims=True)
    np.maximum(scale, TINY, out=scale)
    np.divide(row, scale, out=row)


def _is_above_floor(sums: Floats) -> bool:
    return bool((sums[sums != 0] >= FLOOR).all())


def _find_spread(scores: Floats) -> Floats:
    """Find the distance from the lowest to the highest score that is not -inf, per last axis."""
    low = np.where(scores == NEG_INF, np.inf, scores).min(-1)
    return scores.max(-1) - low


def _exp_shifted(scores: Floats) -> tuple[Floats, Floats]:
    """Exponentiate with a maximum of 1 on the last axis, and give what was taken off."""
    shift = scores.max(-1, keepdims=True)
    shift = np.where(shift == NEG_INF, 0.0, shift)
    return np.exp(scores - shift), shift


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log(values)


def log_sum(scores: Floats, axis: int) -> Floats:
    """Sum exponential scores along an axis, on logarithms."""
    top = scores.max(axis, keepdims=True)
    top = np.where(top == NEG_INF, 0.0, top)
    return _log(np.exp(scores - top).sum(axis)) + top.squeeze(axis)
