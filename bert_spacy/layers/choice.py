"""The model of multiple choice: one score per choice."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from torch import Tensor

from ..nn.heads import ClassifierHead
from ..types import EncoderBatch, Ints, Layout
from .head import build_head
from .textcat import Windows, combine_windows, pooled_windows

Pooling = Literal["auto", "pooler", "cls"]


@dataclass(frozen=True)
class ChoiceScores:
    """Scores of the choices of all Docs.

    scores (Tensor): Before the softmax. Shape (C,).
    offsets (Ints): Choices of Doc d are [offsets[d], offsets[d + 1]). A Doc that
        is no choice item has one, which means nothing. Shape (D + 1,).
    """

    scores: Tensor
    offsets: Ints

    def table(self, docs: Ints) -> Tensor:
        """Return the scores of some Docs, one row each, filled up with -inf. Shape (N, C)."""
        counts = torch.from_numpy(np.diff(self.offsets)[docs])
        column = torch.arange(int(counts.max()) if len(counts) else 0)
        index = torch.from_numpy(self.offsets[:-1][docs])[:, None] + column
        mask = (column < counts[:, None]).to(self.scores.device)
        taken = self.scores[index.clamp(max=len(self.scores) - 1).to(self.scores.device)]
        return taken.masked_fill(~mask, -torch.inf)


@registry.architectures("bert-spacy.ChoiceHead.v1")
def build_choice_head_v1(
    encoder: Model[list[Doc], EncoderBatch],
    pooling: Pooling = "auto",
    windows: Windows = "mean",
    lr_multiplier: float = 1.0,
) -> Model[list[Doc], ChoiceScores]:
    """Build the model of multiple choice.

    encoder (Model[list[Doc], EncoderBatch]): A listener, or an encoder of its own.
    pooling (str): "pooler" for the pretrained pooler over [CLS], "cls" for its
        hidden state, "auto" for the pooler where the model has one and [CLS] otherwise.
    windows (str): How the vectors of several windows of one choice are combined: "mean",
        "max", or "attention" for a mean with learned weights, which begins as the plain one.
    lr_multiplier (float): Learning rate of this head as a multiple of the
        optimiser's.
    RETURNS (Model[list[Doc], ChoiceScores]): The model.
    RAISES (ValueError): B211 for a multiplier out of range.
    """
    return build_head(
        "bert_choice",
        encoder,
        partial(ClassifierHead, attends=windows == "attention"),
        compute,
        {"": lr_multiplier},
        {"pooling": pooling, "windows": windows},
    )


def compute(model: Model, batch: EncoderBatch) -> ChoiceScores:
    """Combine the windows of each choice and score it.

    RAISES (ValueError): B219 for "pooler" if the encoder has none.
    """
    module: ClassifierHead = model.shims[0].module
    pooling: Pooling = model.attrs["pooling"]
    if pooling == "cls" or (pooling == "auto" and batch.pooled is None):
        vectors = batch.cls
    else:
        vectors = pooled_windows(model, batch)
    n_windows, offsets = _count_windows(batch.layout)
    combined = combine_windows(model, vectors, n_windows)
    return ChoiceScores(module(combined).float().squeeze(1), offsets)


def _count_windows(layout: Layout) -> tuple[Ints, Ints]:
    """Return the windows of each choice, shape (C,), and the offsets of the Docs' choices."""
    doc = np.repeat(np.arange(layout.n_docs), np.diff(layout.doc_windows))
    is_new = (np.diff(doc, prepend=-1) != 0) | (np.diff(layout.window_choice, prepend=-1) != 0)
    starts = np.flatnonzero(is_new)
    n_choices = np.bincount(doc[starts], minlength=layout.n_docs)
    return np.diff(starts, append=len(doc)), np.concatenate(([0], np.cumsum(n_choices)))
