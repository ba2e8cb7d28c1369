"""Recursions over a linear chain: mass and expectations; `viterbi` has the best path.

Scores are (B, T, L) emissions, (L, L) transitions, (L,) start and (L,) end, any of them -inf for
what is forbidden. Everything runs in float64 (float32 where a device has none).

`ScaledChain` sums probabilities that are rescaled at each position: one small matrix product per
step. It is exact unless numbers hundreds of nats apart meet at one position and the smaller one
underflows; that is checked, and then `LogChain` does the same sums on logarithms.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import Errors

NEG_INF = float("-inf")
# How the exponent range of a float is shared out, so that a product of a rescaled sum, a
# transition and an emission is never rounded to zero. What is left pays for the sum over tags.
SUM_SHARE, TRANSITION_SHARE, EMISSION_SHARE = 0.35, 0.15, 0.42


class Batch(NamedTuple):
    """Sequences sorted by falling length, so that those alive at a step are the first rows."""

    emissions: Tensor  # (T, B, L), T of the longest, contiguous
    order: Tensor  # (B,) where each sorted row came from
    lengths: Tensor  # (B,) falling
    alive: list[int]  # (T,) number of sequences longer than t

    def take_last(self, values: Tensor) -> Tensor:
        """Pick each sequence's values at its last position from (T, B, L)."""
        rows = torch.arange(len(self.lengths), device=values.device)
        return values[(self.lengths - 1).clamp(min=0), rows]  # (B, L)

    def restore(self, values: Tensor, like: Tensor) -> Tensor:
        """Bring (T, B, L) back to the order, shape and dtype of the caller's (B, T, L)."""
        out = torch.zeros_like(like)
        out[self.order, : values.shape[0]] = values.transpose(0, 1).to(like.dtype)
        return out


def pack(emissions: Tensor, lengths: Tensor) -> Batch:
    """Sort sequences by falling length and put time first.

    emissions (Tensor): Scores per position, float. Shape (B, T, L).
    lengths (Tensor): Tokens per sequence, int64. Shape (B,).
    RETURNS (Batch): Copy in the working dtype.
    """
    lengths, order = lengths.sort(descending=True, stable=True)
    counts = torch.bincount(lengths, minlength=1)
    # Longer than t are all but those of length 0 .. t.
    alive = (len(lengths) - counts.cumsum(0))[:-1].tolist()
    time_first = emissions[:, : len(alive)].transpose(0, 1)  # (T, B, L)
    dtype = torch.float32 if emissions.device.type == "mps" else torch.float64
    return Batch(time_first.index_select(1, order).to(dtype), order, lengths, alive)


class LogMass(torch.autograd.Function):
    """Log of the summed exponential scores of all paths, with marginals as its gradient.

    emissions (Tensor): Scores per position; finite where padded. Shape (B, T, L).
    lengths (Tensor): Tokens per sequence, int64. Shape (B,).
    transitions, start, end (Tensor): Shapes (L, L), (L,), (L,).
    RETURNS (Tensor): -inf without any path, 0 for an empty sequence; in the working dtype.
        Shape (B,).

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
        with torch.autocast(emissions.device.type, enabled=False):
            batch = pack(emissions, lengths)
            ctx.chain = make_chain(batch, transitions, start, end)
        ctx.save_for_backward(emissions, transitions, start, end)
        return torch.empty_like(ctx.chain.log_mass).index_copy_(0, batch.order, ctx.chain.log_mass)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        emissions, transitions, start, end = ctx.saved_tensors
        chain = ctx.chain
        batch = chain.batch
        with torch.autocast(emissions.device.type, enabled=False):
            weight = grad[batch.order]  # (B,)
            unary, pairs = chain.expect(weight)
            unary = unary * weight[:, None]  # (T, B, L)
            d_start = unary[:1].sum((0, 1))
            d_end = batch.take_last(unary).sum(0) if batch.alive else d_start
        return (
            batch.restore(unary, emissions),
            None,
            pairs.to(transitions.dtype),
            d_start.to(start.dtype),
            d_end.to(end.dtype),
        )


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
    with torch.autocast(emissions.device.type, enabled=False):
        chain = make_chain(pack(emissions, lengths), transitions, start, end)
        unary, _ = chain.expect(torch.zeros_like(chain.log_mass))
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
        neighbours in all sequences together, shape (L, L). In the working dtype.

    SOURCE: Lafferty et al. (2001), section 3.
    """
    with torch.autocast(emissions.device.type, enabled=False):
        chain = make_chain(pack(emissions, lengths), transitions, start, end)
        unary, pairs = chain.expect(torch.ones_like(chain.log_mass))
    batch, mass = chain.batch, torch.empty_like(chain.log_mass)
    mass[batch.order] = chain.log_mass
    return mass, batch.restore(unary, emissions.to(unary.dtype)), pairs


def make_chain(
    batch: Batch, transitions: Tensor, start: Tensor, end: Tensor
) -> "ScaledChain | LogChain":
    """Run the forward recursion in the fastest way that is exact for these scores."""
    dtype = batch.emissions.dtype
    scores = (transitions.to(dtype), start.to(dtype), end.to(dtype))
    if batch.alive:
        chain = ScaledChain(batch, *scores)
        if chain.is_exact:
            return chain
    return LogChain(batch, *scores)


class ScaledChain:
    """Forward-backward on probabilities rescaled to a maximum of 1 at each position.

    batch (Batch): Sorted sequences, at least one of them not empty.
    transitions, start, end (Tensor): Shapes (L, L), (L,), (L,).

    is_exact says whether log_mass may be used.

    SOURCE: Rabiner (1989), section V.A (scaling), with the maximum in place of the sum.
    """

    def __init__(self, batch: Batch, transitions: Tensor, start: Tensor, end: Tensor) -> None:
        self.batch = batch
        self.scores = (transitions, start, end)
        info = torch.finfo(batch.emissions.dtype)
        self.tiny, depth = info.tiny, -math.log(info.tiny)
        self.floor = math.exp(-SUM_SHARE * depth)
        widest = torch.stack([_find_spread(score.flatten()) for score in self.scores]).max()
        fits = widest <= TRANSITION_SHARE * depth
        fits &= (_find_spread(batch.emissions) <= EMISSION_SHARE * depth).all()
        self.is_exact = bool(fits)
        if self.is_exact:
            self._run_forward()

    def _run_forward(self) -> None:
        batch = self.batch
        (self.step, self.step_shift), (start, self.start_shift), (self.end, self.end_shift) = (
            _exp_shifted(score.flatten()) for score in self.scores
        )
        self.step = self.step.view(self.scores[0].shape)
        self.weight, shift = _exp_shifted(batch.emissions)  # (T, B, L), (T, B, 1)
        self.alpha = torch.zeros_like(self.weight)
        scale = torch.ones_like(shift)
        rows = _take_alive(self.alpha, batch.alive)
        weights = _take_alive(self.weight, batch.alive)
        scales = _take_alive(scale, batch.alive)
        torch.mul(weights[0], start, out=rows[0])
        for t, row in enumerate(rows):
            if t > 0:
                torch.mm(rows[t - 1][: len(row)], self.step, out=row)
                row.mul_(weights[t])
            torch.amax(row, 1, keepdim=True, out=scales[t])
            row.div_(scales[t].clamp_(min=self.tiny))
        self.is_exact = self._is_above_floor(self.alpha)
        is_real = torch.arange(len(shift), device=shift.device)[:, None] < batch.lengths  # (T, B)
        self.weight_shift = shift[..., 0].masked_fill(~is_real, 0.0)  # (T, B)
        self.shift = self.weight_shift + scale.log()[..., 0].masked_fill(~is_real, 0.0)
        last = (batch.take_last(self.alpha) @ self.end).log()
        ends = self.start_shift + self.end_shift + (batch.lengths - 1) * self.step_shift
        self.log_mass = (last + self.shift.sum(0) + ends).masked_fill(batch.lengths == 0, 0.0)

    def _is_above_floor(self, values: Tensor) -> bool:
        return bool((values.masked_fill(values == 0, 1.0).amin() >= self.floor).item())

    def messages(self) -> tuple[Tensor, Tensor]:
        """Compute the log-mass of all ways up to each tag, and of all ways on from it.

        RETURNS (tuple[Tensor, Tensor]): Up to and with the tag's own emission, and from the next
            position on; rubbish where padded. Each (T, B, L).
        """
        beta, _, scale = self._run_backward()
        if not self._is_above_floor(beta):
            return LogChain(self.batch, *self.scores).messages()
        steps = torch.arange(len(scale), device=scale.device)[:, None]  # (T, 1)
        before = self.shift.cumsum(0) + steps * self.step_shift + self.start_shift
        left = self.batch.lengths - 1 - steps  # (T, B)
        scale = scale.masked_fill(left[..., None] <= 0, 1.0)
        after = scale.log()[..., 0] + self.weight_shift.roll(-1, 0).masked_fill(left <= 0, 0.0)
        after = after.flip(0).cumsum(0).flip(0) + left * self.step_shift + self.end_shift
        return self.alpha.log() + before[..., None], beta.log() + after[..., None]

    def _run_backward(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give beta, what comes from each position on (scaled as beta before it), and scales."""
        beta = self.end.expand_as(self.weight).contiguous()
        ahead = torch.zeros_like(self.weight)
        scale = self.weight.new_ones(*beta.shape[:2], 1)
        alive = self.batch.alive
        betas, aheads = _take_alive(beta, alive), _take_alive(ahead, alive)
        weights = _take_alive(self.weight, alive)
        back = self.step.t()
        for t in range(len(alive) - 1, 0, -1):
            n = alive[t]
            torch.mul(betas[t], weights[t], out=aheads[t])
            target, size = betas[t - 1][:n], scale[t - 1, :n]
            torch.mm(aheads[t], back, out=target)
            torch.amax(target, 1, keepdim=True, out=size)
            size.clamp_(min=self.tiny)
            target.div_(size)
            aheads[t].div_(size)
        return beta, ahead, scale

    def expect(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Run the backward recursion and compute expected tags and transitions.

        weight (Tensor): Weight of each sorted sequence in the sum. Shape (B,).
        RETURNS (tuple[Tensor, Tensor]): Probability of each tag, 0 where padded, shape (T, B, L),
            and the weighted sum of transition probabilities, shape (L, L).
        """
        beta, ahead, _ = self._run_backward()
        if not self._is_above_floor(beta):
            return LogChain(self.batch, *self.scores).expect(weight)
        unary = self.alpha * beta
        total = unary.sum(-1, keepdim=True)
        total.masked_fill_(total == 0, 1.0)
        unary /= total
        # alpha and ahead are zero where padded, so padding adds nothing to the product.
        before = (self.alpha * (weight[:, None] / total))[:-1].flatten(0, 1)
        pairs = self.step * (before.t() @ ahead[1:].flatten(0, 1))
        return unary, pairs


class LogChain:
    """Forward-backward on logarithms: slower, and exact for any scores.

    batch (Batch): Sorted sequences.
    transitions, start, end (Tensor): Shapes (L, L), (L,), (L,).
    """

    def __init__(self, batch: Batch, transitions: Tensor, start: Tensor, end: Tensor) -> None:
        self.batch = batch
        self.step, self.end = transitions, end
        emissions = batch.emissions
        self.alpha = torch.full_like(emissions, NEG_INF)
        for t, n in enumerate(batch.alive):
            if t == 0:
                into = start
            else:
                into = torch.logsumexp(self.alpha[t - 1, :n, :, None] + self.step, 1)
            self.alpha[t, :n] = into + emissions[t, :n]
        self.log_mass = emissions.new_zeros(len(batch.lengths))
        if batch.alive:
            mass = torch.logsumexp(batch.take_last(self.alpha) + end, 1)
            self.log_mass = mass.masked_fill(batch.lengths == 0, 0.0)

    def messages(self) -> tuple[Tensor, Tensor]:
        """Run the backward recursion, as `ScaledChain.messages`."""
        emissions, alive = self.batch.emissions, self.batch.alive
        beta = self.end.expand_as(emissions).contiguous()
        for t in range(len(alive) - 1, 0, -1):
            n = alive[t]
            after = self.step + (emissions[t, :n] + beta[t, :n])[:, None, :]  # (n, L, L)
            beta[t - 1, :n] = torch.logsumexp(after, 2)
        return self.alpha, beta

    def expect(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Compute expected tags and transitions, as `ScaledChain.expect`."""
        emissions, alive = self.batch.emissions, self.batch.alive
        # Without any path all sums below are -inf and must stay so.
        total = self.log_mass.masked_fill(self.log_mass == NEG_INF, 0.0)[:, None]
        _, beta = self.messages()
        pairs = torch.zeros_like(self.step)
        for t in range(len(alive) - 1, 0, -1):
            n = alive[t]
            after = self.step + (emissions[t, :n] + beta[t, :n])[:, None, :]  # (n, L, L)
            share = torch.exp(self.alpha[t - 1, :n, :, None] + after - total[:n, :, None])
            pairs += torch.einsum("b,bij->ij", weight[:n], share)
        return torch.exp(self.alpha + beta - total), pairs


def check_array(name: str, value: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Refuse a tensor of another dtype or shape (B112)."""
    if value.dtype != dtype or tuple(value.shape) != shape:
        got = {"dtype": value.dtype, "shape": tuple(value.shape)}
        raise ValueError(Errors.B112.format(name=name, want_dtype=dtype, want_shape=shape, **got))


def _take_alive(values: Tensor, alive: list[int]) -> list[Tensor]:
    """View (T, B, ...) as a list of its live rows."""
    return [row[:n] for row, n in zip(values.unbind(0), alive)]


def _find_spread(scores: Tensor) -> Tensor:
    """Find the distance from the lowest to the highest score that is not -inf, per last axis."""
    low = scores.masked_fill(scores == NEG_INF, float("inf")).amin(-1)
    return scores.amax(-1) - low


def _exp_shifted(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Exponentiate with a maximum of 1 on the last axis, and give what was taken off."""
    shift = scores.amax(-1, keepdim=True)
    shift = shift.masked_fill(shift == NEG_INF, 0.0)
    return (scores - shift).exp(), shift
