"""What the models of all heads have in common."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from spacy.tokens import Doc
from spacy_transformers.layers.listener import TransformerListener
from thinc.api import Model
from torch import Tensor, nn

from ..errors import Errors
from ..types import EncoderBatch, EncoderGradient
from .checks import check_number
from .listener import BertListener
from .shims import HeadShim

# Takes the loss, or None if there is nothing to learn from a batch.
LossBackprop = Callable[[Tensor | None], list[Doc]]


def build_head(
    name: str,
    encoder: Model[list[Doc], EncoderBatch],
    build: Callable[..., nn.Module],
    compute: Callable[[Model, EncoderBatch], Any],
    multipliers: dict[str, float],
    attrs: dict[str, Any],
) -> Model[list[Doc], Any]:
    """Build the model of a head: an encoder layer or listener, and a torch module.

    Its output is a structure of torch tensors; its backprop takes the scalar
    loss, or None, and sends the gradient of the encoder's output upstream.

    name (str): Name of the model.
    encoder (Model[list[Doc], EncoderBatch]): Usually a listener.
    build (Callable): Makes the torch module, see `HeadShim`.
    compute (Callable): Takes this model and a batch, returns the head's output.
    multipliers (dict[str, float]): Learning-rate multiplier by prefix of the
        parameter name; the first that fits counts.
    attrs (dict): Settings that `compute` reads.
    RETURNS (Model[list[Doc], Any]): The model.
    RAISES (ValueError): B211 for a multiplier below 0 or not finite; B218 for a stock listener.
    """
    listeners = [node for node in encoder.walk() if isinstance(node, TransformerListener)]
    if not all(isinstance(node, BertListener) for node in listeners):
        raise ValueError(Errors.B218.format(name=name))
    for prefix, by in multipliers.items():
        check_number(f"{prefix.replace('.', '_')}lr_multiplier", by)
    return Model(
        name,
        forward,
        layers=[encoder],
        refs={"encoder": encoder},
        shims=[HeadShim(build, multipliers)],
        attrs={**attrs, "compute": compute},
    )


def forward(
    model: Model[list[Doc], Any], docs: Sequence[Doc], is_train: bool
) -> tuple[Any, LossBackprop]:
    """Run the encoder layer and the head.

    RAISES (ValueError): B208 without weights; B212 if the output is for tokens (the attr
        "by_token") and a component has merged or split some since the encoder has read them.
    """
    module = model.shims[0].module
    if module is None:
        raise ValueError(Errors.B208.format(name=model.name))
    encoder = model.get_ref("encoder")
    batch, send = encoder(docs, is_train)
    if model.attrs.get("by_token"):
        _check_tokens(docs, batch, getattr(encoder, "reader", model.name))
    if not is_train:
        module.eval()
        with torch.no_grad():
            return model.attrs["compute"](model, batch), _nothing_to_learn
    output, collect = run_head(model, batch)

    def backprop(loss: Tensor | None) -> list[Doc]:
        return send(collect(loss))

    return output, backprop


def run_head(
    model: Model[list[Doc], Any], batch: EncoderBatch
) -> tuple[Any, Callable[[Tensor | None], EncoderGradient]]:
    """Run the head alone on an output of the encoder, to learn from it.

    model (Model): A model from `build_head`.
    batch (EncoderBatch): The output.
    RETURNS: The head's output, and a callback that takes the loss and returns the gradient
        of the batch.
    """
    model.shims[0].module.train()
    leaves = EncoderBatch(
        batch.layout,
        _leaf(batch.hidden) if isinstance(batch.hidden, Tensor) else batch.hidden,
        _leaf(batch.cls),
        None if batch.pooled is None else _leaf(batch.pooled),
    )
    output = model.attrs["compute"](model, leaves)

    def collect(loss: Tensor | None) -> EncoderGradient:
        if loss is not None:
            loss.backward()
        hidden = leaves.hidden.grad if isinstance(leaves.hidden, Tensor) else None
        pooled = None if leaves.pooled is None else leaves.pooled.grad
        return EncoderGradient(hidden, leaves.cls.grad, pooled)

    return output, collect


def make_module(model: Model[list[Doc], Any], **settings: Any) -> None:
    """Make the head's torch module, its width taken from the encoder.

    model (Model): A model from `build_head`.
    settings: Arguments of the module, without its width.
    RAISES (ValueError): B204 if no encoder is linked yet.
    """
    encoder = model.get_ref("encoder")
    if encoder.has_dim("nO") is None and encoder.shims:
        encoder.initialize()
    if encoder.has_dim("nO") is not True:
        raise ValueError(Errors.B204.format(name=model.name))
    model.shims[0].make(width=encoder.get_dim("nO"), **settings)


def _check_tokens(docs: Sequence[Doc], batch: EncoderBatch, name: str) -> None:
    given = np.diff(batch.layout.doc_tokens)
    for doc, n in zip(docs, given.tolist()):
        if len(doc) != n:
            values = {"n": n, "now": len(doc), "text": doc.text[:80]}
            raise ValueError(Errors.B212.format(name=name, **values))


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _nothing_to_learn(loss: Tensor | None) -> list[Doc]:
    return []
