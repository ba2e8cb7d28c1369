"""The classifier's model: one vector per Doc, one score per class."""

from functools import partial
from typing import Literal

import numpy as np
import torch
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from torch import Tensor

from ..errors import Errors
from ..nn.heads import ClassifierHead, attend
from ..types import EncoderBatch, Ints
from .head import build_head

Pooling = Literal["auto", "pooler", "cls", "mean"]
Windows = Literal["mean", "max", "attention"]


@registry.architectures("bert-spacy.TextCatHead.v1")
def build_textcat_head_v1(
    encoder: Model[list[Doc], EncoderBatch],
    pooling: Pooling = "auto",
    windows: Windows = "mean",
    lr_multiplier: float = 1.0,
    dropout_samples: int = 1,
) -> Model[list[Doc], Tensor]:
    """Build the model of a text classifier.

    encoder (Model[list[Doc], EncoderBatch]): A listener, or an encoder of its own.
    pooling (str): "pooler" for the pretrained pooler over [CLS], "cls" for its
        hidden state, "mean" for the mean of all pieces, "auto" for the pooler
        where the model has one and the mean otherwise.
    windows (str): How the vectors of several windows are combined: "mean", "max", or
        "attention" for a mean with learned weights, which begins as the plain one. The mean of
        all pieces needs no combining.
    lr_multiplier (float): Learning rate of this head as a multiple of the
        optimiser's.
    dropout_samples (int): While training, how often dropout is drawn for each Doc; the loss is
        the mean over all (Inoue, 2019).
    RETURNS (Model[list[Doc], Tensor]): Scores before the softmax, shape (D, L); while training
        those of each drawing, one after the other, shape (dropout_samples * D, L).
    RAISES (ValueError): B144 for less than one drawing; B211 for a multiplier out of range.
    """
    if dropout_samples < 1:
        raise ValueError(Errors.B144.format(value=dropout_samples))
    return build_head(
        "bert_textcat",
        encoder,
        partial(ClassifierHead, attends=windows == "attention"),
        compute,
        {"": lr_multiplier},
        {"pooling": pooling, "windows": windows, "dropout_samples": dropout_samples},
    )


def compute(model: Model, batch: EncoderBatch) -> Tensor:
    """Pool each Doc and score its classes. Shape (D, L), or as many for each drawing."""
    module, samples = model.shims[0].module, model.attrs["dropout_samples"]
    vectors = pool_docs(model, batch)
    return module(vectors.repeat(samples, 1) if module.training and samples > 1 else vectors)


def pool_docs(model: Model, batch: EncoderBatch) -> Tensor:
    """Return one vector per Doc; see `build_textcat_head_v1`. Shape (D, H).

    RAISES (ValueError): B219 for "pooler" if the encoder has none.
    """
    pooling: Pooling = model.attrs["pooling"]
    if pooling == "mean" or (pooling == "auto" and batch.pooled is None):
        return _mean_of_pieces(batch)
    vectors = batch.cls if pooling == "cls" else pooled_windows(model, batch)
    return combine_windows(model, vectors, np.diff(batch.layout.doc_windows))


def pooled_windows(model: Model, batch: EncoderBatch) -> Tensor:
    """Return the vectors of the pretrained pooler.

    model (Model): The model of the head.
    batch (EncoderBatch): The output.
    RETURNS (Tensor): One per window. Shape (B, H).
    RAISES (ValueError): B219 if the encoder has no pooler.
    """
    if batch.pooled is None:
        raise ValueError(Errors.B219.format(name=model.name))
    return batch.pooled


def combine_windows(model: Model, vectors: Tensor, counts: Ints) -> Tensor:
    """Combine the vectors of windows that belong together.

    model (Model): The model of the head, which says how.
    vectors (Tensor): One per window. Shape (B, H).
    counts (Ints): How many each group has, one or more. Shape (N,).
    RETURNS (Tensor): Shape (N, H).
    """
    if (counts == 1).all():
        return vectors
    lengths = torch.from_numpy(counts).to(vectors.device)
    if model.attrs["windows"] == "attention":
        return attend(vectors, lengths, model.shims[0].module.query)
    return torch.segment_reduce(vectors, model.attrs["windows"], lengths=lengths, unsafe=True)


def _mean_of_pieces(batch: EncoderBatch) -> Tensor:
    counts = np.diff(batch.layout.doc_pieces)
    doc_of_row = np.repeat(np.arange(len(counts)), counts)
    total = batch.cls.new_zeros((len(counts), batch.width))
    n_rows = int(batch.layout.doc_pieces[-1])
    step = n_rows if isinstance(batch.hidden, Tensor) else batch.block
    for start in range(0, n_rows, max(step, 1)):
        rows = np.arange(start, min(start + step, n_rows))
        at = torch.from_numpy(doc_of_row[rows]).to(total.device)
        total = total.index_add(0, at, batch.rows(rows))
    size = torch.from_numpy(np.maximum(counts, 1)).to(total)
    return total / size.unsqueeze(1)
