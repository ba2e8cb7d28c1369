"""Dropout and attention with dropout at the speed of the CPU, for training.

On a CPU torch draws dropout masks one number at a time (13 ns each, where the
multiplication takes 0.3), and its attention with dropout leaves the fast kernels
for single float32 steps. In bfloat16 its fast attention takes four times as long backward
as the products need that it consists of, without dropout too. The same sums are done here with
masks of 16 random bits per number and bfloat16 products. What is learned is the same up to
rounding; a GPU keeps torch's own kernels.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def fast_dropout(device: torch.device) -> Any:
    """Return a context in which dropout and attention with dropout are fast.

    device (torch.device): Where the model computes; only a CPU gains from it.
    RETURNS (ContextManager): For the forward pass alone.
    """
    return _FastDropout() if device.type == "cpu" else nullcontext()


def recompute_contexts() -> tuple[Any, Any]:
    """Return contexts of a checkpointed layer: its first run and that in the backward pass."""
    return nullcontext(), _FastDropout()


def draw_kept(shape: Sequence[int], rate: float) -> Tensor:
    """Draw which numbers dropout keeps, from torch's generator of the CPU.

    shape (Sequence[int]): Shape of the mask.
    rate (float): Share of numbers to drop, to 1 / 65,536.
    RETURNS (Tensor): True where a number stays. Shape as asked.
    """
    n = torch.Size(shape).numel()
    words = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None)
    return (words.view(torch.int16)[:n] >= round(rate * 65536) - 32768).view(shape)


class _FastDropout(TorchFunctionMode):
    """Answers the two functions that every encoder calls with dropout."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        replace = _REPLACED.get(func)
        done = None if replace is None else replace(*args, **kwargs)
        return func(*args, **kwargs) if done is None else done


def _dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor | None:
    if not training or inplace or not _is_fine(p, input):
        return None
    return _Dropout.apply(input, p)


def _is_fine(rate: float, x: Tensor) -> bool:
    # Rates near 0 and 1, which 16 bits do not tell from them, are left to torch.
    return x.device.type == "cpu" and 1 <= round(rate * 65536) <= 65535


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        kept = draw_kept(x.shape, rate)
        ctx.save_for_backward(kept)
        ctx.rate = rate
        return _mask(kept, rate, x.dtype).mul_(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (kept,) = ctx.saved_tensors
        return _mask(kept, ctx.rate, grads[0].dtype).mul_(grads[0]), None


def _mask(kept: Tensor, rate: float, dtype: torch.dtype) -> Tensor:
    return kept.to(dtype).mul_(1 / (1 - rate))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    is_half = dtype == torch.bfloat16 and dropout_p == 0 and query.device.type == "cpu"
    if not (is_half or _is_fine(dropout_p, query)):
        return None
    if is_causal or query.shape[:-2] != key.shape[:-2]:
        return None
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    with torch.autocast("cpu", enabled=False):
        return _Attention.apply(query, key, value, _bias(attn_mask, dtype), dropout_p, scale)


def _bias(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if mask is None:
        return None
    low = torch.finfo(dtype).min
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, low)
    return mask.to(dtype).clamp(min=low)  # no infinities: a row may be masked as a whole


class _Attention(torch.autograd.Function):
    """softmax(q k' * scale + bias), dropout, times v. Shapes (B, N, P, H / N)."""

    @staticmethod
    def forward(  # noqa: PLR0913 - one sum
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, rate: float, scale: float
    ) -> Tensor:
        scores = torch.matmul(q, k.transpose(-2, -1)).mul_(scale)
        if bias is not None:
            scores.add_(bias)
        weights = torch.softmax(scores, -1)
        kept = draw_kept(weights.shape, rate) if rate else None
        ctx.save_for_backward(q, k, v, weights, kept)
        ctx.rate, ctx.scale = rate, scale
        dropped = weights if kept is None else _mask(kept, rate, q.dtype).mul_(weights)
        return torch.matmul(dropped, v)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, kept = ctx.saved_tensors
        grad_weights = torch.matmul(grads[0], v.transpose(-2, -1))
        dropped = weights
        if kept is not None:
            mask = _mask(kept, ctx.rate, q.dtype)
            grad_weights.mul_(mask)
            dropped = mask.mul_(weights)
        grad_v = torch.matmul(dropped.transpose(-2, -1), grads[0])
        grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, q.dtype)
        grad_scores.mul_(ctx.scale)
        grad_q = torch.matmul(grad_scores, k)
        grad_k = torch.matmul(grad_scores.transpose(-2, -1), q)
        return grad_q, grad_k, grad_v, None, None, None


_REPLACED: dict[Any, Callable[..., Tensor | None]] = {
    functional.dropout: _dropout,
    functional.scaled_dot_product_attention: _attention,
}
