"""The layers of BERT and its kin as plain weights, whatever the model calls them.

BERT, RoBERTa, ELECTRA, ALBERT and DistilBERT are one architecture under many names: layers of
attention and feed-forward, each followed by a residual sum and LayerNorm. Read here once, their
weights serve the fused inference of `fused` and the measurements of `quantize`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Where a family keeps its layers, and what it calls the parts of one.
_BERT = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
}
_ALBERT = {
    "query": "attention.query",
    "key": "attention.key",
    "value": "attention.value",
    "out": "attention.dense",
    "norm1": "attention.LayerNorm",
    "up": "ffn",
    "down": "ffn_output",
    "norm2": "full_layer_layer_norm",
}
_DISTILBERT = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "out": "attention.out_lin",
    "norm1": "sa_layer_norm",
    "up": "ffn.lin1",
    "down": "ffn.lin2",
    "norm2": "output_layer_norm",
}
_NAMES = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "albert": _ALBERT,
    "distilbert": _DISTILBERT,
}
# Name of an activation in a config: how torch's gelu approximates it, or relu.
ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "relu": "relu"}

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Block:
    """One layer: weight (out, in) and bias of each linear map and norm.

    qkv (Pair): Query, key and value, one after the other; the queries are scaled by
        1 / sqrt(head width) already. Shapes (3H, H), (3H,).
    out (Pair): After attention. Shapes (H, H), (H,).
    up (Pair): Into the feed-forward layer, width F. Shapes (F, H), (F,).
    down (Pair): Out of it. Shapes (H, F), (H,).
    norm1, norm2 (Pair): LayerNorm after attention and at the end. Shapes (H,), (H,).
    """

    qkv: Pair
    out: Pair
    up: Pair
    down: Pair
    norm1: Pair
    norm2: Pair


@dataclass(frozen=True)
class Stack:
    """All layers of an encoder.

    blocks (list[Block]): In order; ALBERT repeats the same object.
    n_heads (int): Attention heads, N.
    activation (str): "none" for exact GELU, "tanh" for its approximation, "relu".
    eps (float): Of LayerNorm.
    """

    blocks: list[Block]
    n_heads: int
    activation: str
    eps: float


def read_stack(model: Any) -> Stack | None:
    """Read the layers of a Hugging Face encoder.

    model (PreTrainedModel): Without task head.
    RETURNS (Stack | None): Its layers, as views or copies of the weights; None for an
        architecture that computes otherwise (another family, relative positions, another
        activation).
    """
    config = model.config
    names = _NAMES.get(config.model_type)
    activation = getattr(config, "hidden_act", None) or getattr(config, "activation", None)
    positions = getattr(config, "position_embedding_type", "absolute")
    if names is None or activation not in ACTIVATIONS or positions != "absolute":
        return None
    layers = _list_layers(model)
    n_heads = int(config.num_attention_heads)
    blocks = {id(layer): _read_block(layer, names, n_heads) for layer in layers}
    norm: Any = layers[0].get_submodule(names["norm1"])
    return Stack([blocks[id(x)] for x in layers], n_heads, ACTIVATIONS[activation], norm.eps)


def embed(model: Any, ids: Tensor, types: Tensor | None) -> Tensor:
    """Look up and sum the embeddings of a model that `read_stack` knows.

    model (PreTrainedModel): The model.
    ids (Tensor): Piece ids, int64. Shape (B, P).
    types (Tensor | None): Segment ids, None for models without. Shape (B, P).
    RETURNS (Tensor): Input of the first layer. Shape (B, P, H).
    """
    extra = {} if types is None else {"token_type_ids": types}
    hidden = model.embeddings(input_ids=ids, **extra)
    if model.config.model_type == "albert":
        return model.encoder.embedding_hidden_mapping_in(hidden)
    projection = getattr(model, "embeddings_project", None)
    return hidden if projection is None else projection(hidden)


def pool(model: Any, hidden: Tensor) -> Tensor:
    """Run the model's pooler on its last hidden states. Shape (B, P, H) to (B, H)."""
    if model.config.model_type == "albert":
        return model.pooler_activation(model.pooler(hidden[:, 0]))
    return model.pooler(hidden)


def run_block(
    block: Block, stack: Stack, x: Tensor, bias: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run one layer step by step in plain torch, keeping the inputs of its linear maps.

    block (Block): The layer.
    stack (Stack): Its heads, activation and epsilon.
    x (Tensor): Shape (B, P, H).
    bias (Tensor): Added to attention scores; large and negative for padding. Shape (B, 1, 1, P).
    RETURNS (tuple[Tensor, dict[str, Tensor]]): Output, shape (B, P, H), and what went into
        "qkv", "out", "up" and "down".
    """
    shape, width = x.shape, x.shape[2]
    heads = functional.linear(x, *block.qkv).view(*shape[:2], 3, stack.n_heads, -1)
    query, key, value = heads.permute(2, 0, 3, 1, 4)  # (B, N, P, H / N)
    weights = torch.softmax(query @ key.transpose(2, 3) + bias, -1)
    context = (weights @ value).transpose(1, 2).reshape(shape)
    y = functional.linear(context, *block.out) + x
    middle = functional.layer_norm(y, (width,), *block.norm1, stack.eps)
    inner = activate(functional.linear(middle, *block.up), stack.activation)
    y = functional.linear(inner, *block.down) + middle
    inputs = {"qkv": x, "out": context, "up": middle, "down": inner}
    return functional.layer_norm(y, (width,), *block.norm2, stack.eps), inputs


def activate(x: Tensor, activation: str) -> Tensor:
    """Apply the activation of a Stack."""
    if activation == "relu":
        return torch.relu(x)
    return functional.gelu(x, approximate=activation)


def mask_bias(mask: Tensor) -> Tensor:
    """Turn a mask of real pieces (B, P) into what is added to scores (B, 1, 1, P)."""
    return (1.0 - mask[:, None, None].float()) * -1e9


def _list_layers(model: Any) -> list[nn.Module]:
    kind, count = model.config.model_type, int(model.config.num_hidden_layers)
    if kind == "distilbert":
        return list(model.transformer.layer)
    if kind != "albert":
        return list(model.encoder.layer)
    groups = model.encoder.albert_layer_groups
    chosen = (groups[i * len(groups) // count] for i in range(count))
    return [layer for group in chosen for layer in group.albert_layers]


def _read_block(layer: nn.Module, names: dict[str, str], n_heads: int) -> Block:
    parts = {key: layer.get_submodule(name) for key, name in names.items()}
    pairs: dict[str, Pair] = {
        key: (part.weight.detach(), part.bias.detach())  # type: ignore[union-attr, operator]
        for key, part in parts.items()
    }
    scale = (pairs["query"][0].shape[0] // n_heads) ** -0.5
    triple = (
        (pairs["query"][0] * scale, pairs["query"][1] * scale),
        pairs["key"],
        pairs["value"],
    )
    qkv = (torch.cat([w for w, _ in triple]), torch.cat([b for _, b in triple]))
    return Block(qkv, *(pairs[name] for name in ("out", "up", "down", "norm1", "norm2")))
