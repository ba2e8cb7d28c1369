"""An encoder as a module that torch.onnx.export writes as onnxruntime's own fast operators.

What was measured with onnxruntime 1.32 on two AVX-512 cores decides the form: its fused attention
beats its parts, its fused bias and GELU too; but its SkipLayerNormalization is seven times slower
than an Add and a LayerNormalization, and its Gemm slower than a MatMul and an Add.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import Block, Stack, activate, embed, pool, read_stack
from .encoder import TransformerEncoder

DOMAIN = "com.microsoft"
# The linear maps of a layer, in the order in which they run.
PARTS = ("qkv", "out", "up", "down")


class PlainGraph(nn.Module):
    """Any encoder as its own code computes it.

    encoder (TransformerEncoder): The encoder.
    """

    def __init__(self, encoder: TransformerEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> tuple[Tensor, ...]:
        hidden, pooled = self.encoder(ids, mask, types)
        return (hidden,) if pooled is None else (hidden, pooled)


class FusedGraph(nn.Module):
    """An encoder of the BERT kind. Its weights are called `blocks.0.up` and so on.

    encoder (TransformerEncoder): The encoder.
    stack (Stack): Its layers.
    """

    def __init__(self, encoder: TransformerEncoder, stack: Stack):
        super().__init__()
        self.model = encoder.model
        self.has_types, self.has_pooler = encoder.has_types, encoder.has_pooler
        layers = {id(block): _Layer(block, stack) for block in stack.blocks}
        self.blocks = nn.ModuleList([layers[id(block)] for block in stack.blocks])

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> tuple[Tensor, ...]:
        hidden = embed(self.model, ids, types if self.has_types else None)
        mask = mask.to(torch.int32)
        for block in self.blocks:
            hidden = block(hidden, mask)
        return (hidden, pool(self.model, hidden)) if self.has_pooler else (hidden,)


def list_graphs(encoder: TransformerEncoder) -> list[nn.Module]:
    """List the modules to export, the fastest first; each is to be checked after export."""
    stack = read_stack(encoder.model)
    fused = [] if stack is None else [FusedGraph(encoder, stack)]
    return [*fused, PlainGraph(encoder)]


class _Layer(nn.Module):
    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    out_bias: Tensor
    up: Tensor
    up_bias: Tensor
    down: Tensor
    down_bias: Tensor
    norm1: Tensor
    norm1_bias: Tensor
    norm2: Tensor
    norm2_bias: Tensor

    def __init__(self, block: Block, stack: Stack):
        super().__init__()
        self.n_heads, self.activation, self.eps = stack.n_heads, stack.activation, stack.eps
        self.width = int(block.norm1[0].shape[0])
        for name in (*PARTS, "norm1", "norm2"):
            weight, bias = getattr(block, name)
            # MatMul wants (in, out), which also gives the initializer its name.
            weight = weight.t().contiguous() if name in PARTS else weight
            self.register_buffer(name, weight.detach().clone())
            self.register_buffer(f"{name}_bias", bias.detach().clone())

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (x @ self.qkv).split(self.width, -1)
        context = _Attention.apply(query, key, value, self.qkv_bias, mask, self.n_heads)
        # A bias added to the residual cannot be made a Gemm with the product.
        y = context @ self.out + (x + self.out_bias)
        y = functional.layer_norm(y, (self.width,), self.norm1, self.norm1_bias, self.eps)
        inner = _Activation.apply(y @ self.up, self.up_bias, self.activation)
        z = inner @ self.down + (y + self.down_bias)
        return functional.layer_norm(z, (self.width,), self.norm2, self.norm2_bias, self.eps)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, mask: Tensor, n: int
    ) -> Tensor:
        shape = query.shape
        triple = zip((query, key, value), bias.chunk(3))
        q, k, v = ((x + b).view(*shape[:2], n, -1).transpose(1, 2) for x, b in triple)
        keep = mask[:, None, None, :].bool()
        context = functional.scaled_dot_product_attention(q, k, v, attn_mask=keep, scale=1.0)
        return context.transpose(1, 2).reshape(shape)

    @staticmethod
    def symbolic(g: Any, query: Any, key: Any, value: Any, bias: Any, mask: Any, n: int) -> Any:
        inputs = (query, key, value, bias, mask)
        # The queries are scaled in their weights. Masked scores get what no score outweighs.
        node = g.op(
            f"{DOMAIN}::MultiHeadAttention",
            *inputs,
            num_heads_i=n,
            scale_f=1.0,
            mask_filter_value_f=-1e9,
        )
        return node.setType(query.type())


class _Activation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, activation: str) -> Tensor:
        return activate(x + bias, activation)

    @staticmethod
    def symbolic(g: Any, x: Any, bias: Any, activation: str) -> Any:
        if activation == "relu":
            return g.op("Relu", g.op("Add", x, bias).setType(x.type())).setType(x.type())
        kind = "FastGelu" if activation == "tanh" else "BiasGelu"
        return g.op(f"{DOMAIN}::{kind}", x, bias).setType(x.type())
