"""What int8 inference needs to know of an encoder: the ranges of what flows through its layers.

A plain rounding of all inputs to 8 bits ruins an encoder: a few channels are ten times as large
as the rest, and with one scale for all of them the rest has no digits left. Three things help:

- Scales for each channel, as far as the weights can take them over (Xiao et al., 2023,
  SmoothQuant, eq. 4), with the share chosen by the error of the output.
- Channels of the feed-forward layer with outliers, which come in few of them and on few pieces,
  stay in float (Dettmers et al., 2022, LLM.int8(), section 3.2).
- A range for the others that is cut where the error is least.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from .blocks import Block, Stack, embed, mask_bias, run_block

ZERO = 128  # the uint8 that stands for 0 in symmetric ranges
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
CUTS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
# Channels of the feed-forward layer in float: 2 % of its width, in whole vectors of the kernels.
OUTLIER_SHARE, OUTLIER_STEP = 0.02, 16
# Rows kept for the search, over all samples of a layer.
SAMPLE_ROWS = 1024


@dataclass(frozen=True)
class BlockRanges:
    """Ranges of one layer's inputs, in float32.

    qkv (Tensor): Value of one step of the integers, for each channel. Shape (H,).
    out (Tensor): The same for the contexts of attention. Shape (H,).
    up (Tensor): The same for the input of the feed-forward layer. Shape (H,).
    outliers (Tensor): Channels of the feed-forward layer that stay in float, int64, ascending.
    down_scale (float): Value of one step for the other channels.
    down_zero (int): Integer that stands for 0 in them.
    """

    qkv: Tensor
    out: Tensor
    up: Tensor
    outliers: Tensor
    down_scale: float
    down_zero: int

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the fields as tensors, for a file."""
        return {f.name: torch.as_tensor(getattr(self, f.name)) for f in fields(self)}

    @staticmethod
    def from_tensors(tensors: dict[str, Tensor]) -> "BlockRanges":
        """Return the ranges that `to_tensors` wrote."""
        return BlockRanges(
            qkv=tensors["qkv"],
            out=tensors["out"],
            up=tensors["up"],
            outliers=tensors["outliers"],
            down_scale=float(tensors["down_scale"]),
            down_zero=int(tensors["down_zero"]),
        )


Batch = tuple[Tensor, Tensor, Tensor | None]


@torch.no_grad()
def measure_ranges(model: Any, stack: Stack, batches: Iterable[Batch]) -> list[BlockRanges]:
    """Run samples through an encoder in float and choose the ranges of each layer.

    model (PreTrainedModel): The encoder, in evaluation mode.
    stack (Stack): Its layers.
    batches (Iterable[Batch]): Piece ids, mask and segment ids of real text; some
        thousand pieces are enough. Each (B, P).
    RETURNS (list[BlockRanges]): One a layer; layers that share weights share ranges.
    """
    samples: dict[int, dict[str, list[Tensor]]] = {id(b): {} for b in stack.blocks}
    generator = torch.Generator().manual_seed(0)
    for ids, mask, types in batches:
        x, bias, real = embed(model, ids, types), mask_bias(mask), mask.bool()
        for block in stack.blocks:
            x, inputs = run_block(block, stack, x, bias)
            for name, value in inputs.items():
                rows = value[real]
                kept = torch.randperm(len(rows), generator=generator)[:SAMPLE_ROWS]
                samples[id(block)].setdefault(name, []).append(rows[kept])
    chosen = {}
    for block in stack.blocks:
        if id(block) not in chosen:
            parts = {name: _thin(rows, generator) for name, rows in samples[id(block)].items()}
            chosen[id(block)] = _choose(block, parts)
    return [chosen[id(block)] for block in stack.blocks]


def _thin(parts: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return some rows, and the largest value of each channel over all of them."""
    rows = torch.cat(list(parts))
    kept = torch.randperm(len(rows), generator=generator)[:SAMPLE_ROWS]
    return rows[kept], rows.abs().amax(0)


def _choose(block: Block, samples: dict[str, tuple[Tensor, Tensor]]) -> BlockRanges:
    rows, most = samples["down"]
    count = int(len(most) * OUTLIER_SHARE) // OUTLIER_STEP * OUTLIER_STEP
    outliers = torch.topk(most, count).indices.sort().values
    near = torch.ones(len(most), dtype=torch.bool)
    near[outliers] = False
    scale, zero = _cut(rows[:, near], block.down[0][:, near])
    return BlockRanges(
        qkv=_smooth(*samples["qkv"], block.qkv[0]),
        out=_smooth(*samples["out"], block.out[0]),
        up=_smooth(*samples["up"], block.up[0][near]),
        outliers=outliers,
        down_scale=scale,
        down_zero=zero,
    )


def _smooth(rows: Tensor, most: Tensor, weight: Tensor) -> Tensor:
    """Choose the scale of each channel, so that the output errs least. Shape (in,)."""
    wanted = rows @ weight.T
    largest, share_of_weight = most.clamp(min=1e-4), weight.abs().amax(0).clamp(min=1e-5)
    tried = []
    for share in SHARES:
        smooth = largest**share / share_of_weight ** (1 - share)
        for cut in CUTS[:2]:
            scale = smooth * ((largest / smooth).max() * cut / 127)
            whole = torch.round(rows / scale).clamp(-ZERO, 255 - ZERO)
            error = float((whole @ _round_weight(weight * scale).T - wanted).pow(2).sum())
            tried.append((error, scale))
    return min(tried, key=lambda pair: pair[0])[1]


def _cut(rows: Tensor, weight: Tensor) -> tuple[float, int]:
    """Choose one range for all channels, so that the output errs least."""
    wanted, rounded = rows @ weight.T, _round_weight(weight)
    low, high = min(float(rows.min()), 0.0), max(float(rows.max()), 1e-6)
    tried = []
    for cut in CUTS:
        scale = (high * cut - low) / 255
        zero = round(-low / scale)
        near = (torch.round(rows / scale) + zero).clamp(0, 255) - zero
        error = float(((near * scale) @ rounded.T - wanted).pow(2).sum())
        tried.append((error, (scale, zero)))
    return min(tried, key=lambda pair: pair[0])[1]


def _round_weight(weight: Tensor) -> Tensor:
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return torch.round(weight / scale) * scale
