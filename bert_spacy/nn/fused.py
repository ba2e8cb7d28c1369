"""Inference on x86 CPUs by oneDNN's fused kernels, in float32, bfloat16 or int8.

torch's own modules run each linear map, bias, activation and residual sum as a pass of its own.
Here oneDNN does them in one, on weights laid out once for its kernels. The operators are those
that torch's compiler emits; `is_available` says whether this torch and this processor have them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .blocks import Block, Pair, Stack, embed, mask_bias, pool
from .encoder import has_bfloat16, is_x86
from .quantize import ZERO, BlockRanges

# In float32, attention by two batched products beats torch's flash kernel up to this length, in
# bfloat16 at any. An int8 encoder attends in bfloat16 from LONG on, where that is faster.
FLASH_FROM, LONG = 384, 96
# Scores of so many pairs of pieces at once stay in the second-level cache.
SCORES_AT_ONCE = 500_000
# Rows that oneDNN is told to expect when it lays out weights; any number of rows works.
ROWS = 1024


def is_available() -> bool:
    """Say whether oneDNN's fused float kernels can be used here."""
    return is_x86() and torch.backends.mkldnn.is_available() and _has_op("mkldnn._linear_pointwise")


def is_int8_available() -> bool:
    """Say whether the int8 kernels can be used: they need the processor's VNNI."""
    return is_available() and _has_op("onednn.qlinear_pointwise") and has_vnni()


def has_vnni() -> bool:
    """Say whether the processor multiplies int8 exactly, in AVX-512 or AVX VNNI."""
    # The second is what older releases call it.
    for name in ("_is_vnni_supported", "_is_cpu_support_avx512_vnni"):
        check = getattr(torch.cpu, name, None)
        if check is not None:
            return bool(check())
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


class FusedEncoder:
    """An encoder of the BERT kind for prediction alone.

    model (PreTrainedModel): Keeps embeddings and pooler, which run as they are.
    stack (Stack): Its layers.
    dtype (torch.dtype): float32 or bfloat16: what linear maps and attention compute in.
    ranges (list[BlockRanges] | None): One a layer: compute linear maps in int8.
    """

    def __init__(
        self,
        model: Any,
        stack: Stack,
        dtype: torch.dtype = torch.float32,
        ranges: list[BlockRanges] | None = None,
    ):
        self.model = model
        self.stack = stack
        self.dtype = dtype
        self.long_dtype = torch.bfloat16 if ranges and has_bfloat16("cpu") else dtype
        made: dict[int, Any] = {}
        for i, block in enumerate(stack.blocks):
            if id(block) not in made:
                made[id(block)] = (
                    _Int8Layer(block, stack, ranges[i])
                    if ranges
                    else _FloatLayer(block, stack, dtype)
                )
        self.layers = [made[id(block)] for block in stack.blocks]

    def __call__(
        self, ids: Tensor, mask: Tensor, types: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Run the encoder on padded windows.

        ids (Tensor): Piece ids, int64. Shape (B, P).
        mask (Tensor): 1 on real pieces, int64. Shape (B, P).
        types (Tensor | None): Segment ids, None for models without. Shape (B, P).
        RETURNS (tuple[Tensor, Tensor | None]): Last hidden states, float32, shape
            (B, P, H), and the pooler's output, shape (B, H), None without one.
        """
        hidden = embed(self.model, ids, types)
        dtype = self.long_dtype if ids.shape[1] >= LONG else self.dtype
        attention = _Attention(mask, self.stack.n_heads, hidden.shape[2], dtype)
        x = hidden.reshape(-1, hidden.shape[2]).to(self.dtype)
        for layer in self.layers:
            x = layer(x, attention)
        last = x.view(hidden.shape).float()
        has_pooler = getattr(self.model, "pooler", None) is not None
        return last, pool(self.model, last) if has_pooler else None


class _Attention:
    """Attention over one group of windows, with room for its scores.

    A few windows are taken at a time, and those no further than the longest of them reaches: what
    is padding beyond that costs nothing.

    mask (Tensor): 1 on real pieces. Shape (B, P).
    n_heads (int): N.
    width (int): H.
    dtype (torch.dtype): Of queries, keys and values.
    """

    def __init__(self, mask: Tensor, n_heads: int, width: int, dtype: torch.dtype):
        n_windows, n_pieces = mask.shape
        self.shape = (n_windows, n_pieces, 3, n_heads, width // n_heads)
        self.dtype = dtype
        ends = (mask * torch.arange(1, n_pieces + 1)).amax(1).clamp(min=1).tolist()
        self.parts: list[tuple[slice, int, Tensor | None, bool]] = []
        n_vectors = n_scores = at = 0
        while at < n_windows:
            longest = max(ends[at:])
            is_flash = dtype == torch.float32 and longest >= FLASH_FROM
            n = 1 if is_flash else max(1, SCORES_AT_ONCE // (n_heads * longest**2))
            part = slice(at, at + n)
            end = max(ends[part])
            some = mask[part, :end]
            bias = None if bool(some.all()) else mask_bias(some).to(dtype)
            self.parts.append((part, end, bias, is_flash))
            n_vectors = max(n_vectors, len(some) * end * width)
            n_scores = max(n_scores, 0 if is_flash else len(some) * n_heads * end**2)
            at += n
        self.vectors = torch.empty(4, n_vectors, dtype=dtype)
        self.scores = torch.empty(2, n_scores, dtype=dtype)

    def __call__(self, qkv: Tensor) -> Tensor:
        """Attend. Queries, keys and values (B * P, 3H) to contexts (B * P, H), 0 where padded."""
        n_windows, n_pieces, _, n_heads, width = self.shape
        heads = qkv.view(self.shape).permute(2, 0, 3, 1, 4)  # (3, B, N, P, H / N)
        context = qkv.new_zeros(n_windows, n_pieces, n_heads, width)
        for part, end, bias, is_flash in self.parts:
            attend = _attend_in_flash if is_flash else self._attend_in_products
            context[part, :end] = attend(heads[:, part, :, :end], bias).transpose(1, 2)
        return context.view(-1, n_heads * width)

    def _attend_in_products(self, heads: Tensor, bias: Tensor | None) -> Tensor:
        _, n, n_heads, n_pieces, width = heads.shape
        rows = n * n_heads
        room = self.vectors[:, : heads[0].numel()].view(4, rows, n_pieces, width)
        room[:3].view(heads.shape).copy_(heads)
        q, k, v, out = room
        scores, weights = self.scores[:, : rows * n_pieces**2].view(2, rows, n_pieces, n_pieces)
        torch.bmm(q, k.transpose(1, 2), out=scores)  # (n * N, P, P)
        if bias is not None:
            scores.view(n, n_heads, n_pieces, n_pieces).add_(bias)
        torch.softmax(scores, -1, out=weights)
        torch.bmm(weights, v, out=out)
        return out.view(n, n_heads, n_pieces, width)


def _attend_in_flash(heads: Tensor, bias: Tensor | None) -> Tensor:
    query, key, value = heads.unbind(0)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)


class _Linear:
    """A linear map in float32 or bfloat16 with what follows it fused in."""

    def __init__(self, pair: Pair, dtype: torch.dtype):
        weight, self.bias = pair[0].to(dtype).contiguous(), pair[1].to(dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)

    def plain(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")

    def activated(self, x: Tensor, activation: str) -> Tensor:
        name, how = _post_op(activation)
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, name, [], how)

    def added(self, x: Tensor, other: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, self.bias, "add")


class _FloatLayer:
    """One layer in float32 or bfloat16."""

    def __init__(self, block: Block, stack: Stack, dtype: torch.dtype):
        self.activation, self.eps = stack.activation, stack.eps
        self.qkv, self.out, self.up, self.down = (
            _Linear(pair, dtype) for pair in (block.qkv, block.out, block.up, block.down)
        )
        self.norm1, self.norm2 = (
            (pair[0].to(dtype), pair[1].to(dtype)) for pair in (block.norm1, block.norm2)
        )

    def __call__(self, x: Tensor, attend: _Attention) -> Tensor:
        width = (x.shape[1],)
        context = attend(self.qkv.plain(x))
        y = functional.layer_norm(self.out.added(context, x), width, *self.norm1, self.eps)
        inner = self.up.activated(y, self.activation)
        return functional.layer_norm(self.down.added(inner, y), width, *self.norm2, self.eps)


class _Int8Linear:
    """A linear map on uint8 input, int8 weights with a scale for each output.

    weight (Tensor): Acts on the integers of the input, its scales multiplied in. Shape (out, in).
    bias (Tensor): Shape (out,).
    zero (int): What stands for 0 in the input.
    """

    def __init__(self, weight: Tensor, bias: Tensor, zero: int = ZERO):
        self.scale = weight.abs().amax(1).clamp(min=1e-12) / 127
        whole = torch.round(weight / self.scale[:, None]).to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(whole, None)
        self.zeros = torch.zeros(len(bias), dtype=torch.int64)
        self.bias = bias.float().contiguous()
        self.zero = zero

    def plain(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return self._run(x, dtype, 1.0, 0, "none", "")

    def activated(self, x: Tensor, activation: str, scale: float, zero: int) -> Tensor:
        """Apply the activation and round to uint8 with the given scale and zero."""
        return self._run(x, torch.uint8, scale, zero, *_post_op(activation))

    def added(self, x: Tensor, other: Tensor) -> Tensor:
        # By name, as torch 2.4 has another order.
        return torch.ops.onednn.qlinear_pointwise.binary(
            x, 1.0, self.zero, self.weight, self.scale, self.zeros, bias=self.bias,
            output_scale=1.0, output_zero_point=0, output_dtype=torch.float32,
            other=other, other_scale=1.0, other_zp=0, binary_post_op="add", binary_alpha=1.0,
            unary_post_op="none", unary_post_op_args=[], unary_post_op_algorithm="",
        )  # fmt: skip

    def _run(
        self, x: Tensor, dtype: torch.dtype, scale: float, zero: int, name: str, how: str
    ) -> Tensor:
        return torch.ops.onednn.qlinear_pointwise(
            x, 1.0, self.zero, self.weight, self.scale, self.zeros, self.bias,
            scale, zero, dtype, name, [], how,
        )  # fmt: skip


class _Int8Layer:
    """One layer with linear maps in int8; sums, norms and attention stay in float32.

    The scales of inputs cost nothing: LayerNorm gives its output a second time, in the units
    of the integers; the values carry those of the contexts through attention; the feed-forward
    layer rounds its own output. Its few channels with outliers go beside it in float32.
    """

    def __init__(self, block: Block, stack: Stack, ranges: BlockRanges):
        self.activation, self.eps = stack.activation, stack.eps
        width = block.out[0].shape[0]
        weight, bias = block.qkv[0].clone(), block.qkv[1].clone()
        weight[2 * width :] /= ranges.out[:, None]
        bias[2 * width :] /= ranges.out
        self.qkv = _Int8Linear(weight * ranges.qkv, bias)
        self.out = _Int8Linear(block.out[0] * ranges.out, block.out[1])
        far = ranges.outliers
        near = torch.ones(block.up[0].shape[0], dtype=torch.bool)
        near[far] = False
        self.up = _Int8Linear(block.up[0][near] * ranges.up, block.up[1][near])
        self.down = _Int8Linear(
            block.down[0][:, near] * ranges.down_scale, block.down[1], ranges.down_zero
        )
        self.down_scale, self.down_zero = ranges.down_scale, ranges.down_zero
        self.far_up = self.far_down = None
        if len(far):
            self.far_up = _Linear((block.up[0][far], block.up[1][far]), torch.float32)
            none = torch.zeros_like(block.down[1])
            self.far_down = _Linear((block.down[0][:, far], none), torch.float32)
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.norm1_whole = _in_units(block.norm1, ranges.up)
        self.first = 1.0 / ranges.qkv

    def __call__(self, x: Tensor, attend: _Attention) -> Tensor:
        width = (x.shape[1],)
        qkv = self.qkv.plain(_round(torch.addcmul(_HALF, x, self.first)), attend.dtype)
        y = self.out.added(_round(_HALF + attend(qkv)), x)
        middle = functional.layer_norm(y, width, *self.norm1, self.eps)
        whole = _round(functional.layer_norm(y, width, *self.norm1_whole, self.eps))
        inner = self.up.activated(whole, self.activation, self.down_scale, self.down_zero)
        other = middle
        if self.far_up is not None and self.far_down is not None:
            other = self.far_down.added(self.far_up.activated(middle, self.activation), middle)
        y = self.down.added(inner, other)
        return functional.layer_norm(y, width, *self.norm2, self.eps)


_HALF = torch.tensor(ZERO + 0.5)


def _round(x: Tensor) -> Tensor:
    """Round to uint8 what is half above its integers already; x is overwritten."""
    return x.clamp_(0.0, 255.0).to(torch.uint8)


def _in_units(norm: Pair, scale: Tensor) -> Pair:
    return norm[0] / scale, norm[1] / scale + (ZERO + 0.5)


def _post_op(activation: str) -> tuple[str, str]:
    return ("relu", "") if activation == "relu" else ("gelu", activation)


def _has_op(name: str) -> bool:
    space, op = name.split(".")
    return hasattr(getattr(torch.ops, space), op)
