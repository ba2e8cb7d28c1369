"""The model of extractive question answering: start and end scores."""

from dataclasses import dataclass

import numpy as np
import torch
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from torch import Tensor

from ..nn.heads import SpanHead
from ..segments import read_segments
from ..types import CONTEXT, QUESTION, EncoderBatch, Ints
from .head import build_head


@dataclass(frozen=True)
class SpanScores:
    """Start and end scores of the pieces of all contexts.

    scores (Tensor): Start and end score per piece. Shape (N, 2).
    offsets (Ints): Pieces of Doc d are [offsets[d], offsets[d + 1]). Shape (D + 1,).
    null (Tensor): Start and end score of "no answer", from the window that
        thinks it least likely. Shape (D, 2).
    piece_start (Ints): First character of each piece in doc.text. Shape (N,).
    piece_end (Ints): One past its last character. Shape (N,).
    piece_token (Ints): First token of each piece, counted over the batch. Shape (N,).
    """

    scores: Tensor
    offsets: Ints
    null: Tensor
    piece_start: Ints
    piece_end: Ints
    piece_token: Ints


@registry.architectures("bert-spacy.SpanQA.v1")
def build_span_qa_v1(
    encoder: Model[list[Doc], EncoderBatch], lr_multiplier: float = 1.0
) -> Model[list[Doc], SpanScores]:
    """Build the model of extractive question answering.

    All windows of a question are scored together: one softmax runs over every
    piece of its context (Clark & Gardner, 2018, section 3.2).

    encoder (Model[list[Doc], EncoderBatch]): A listener, or an encoder of its own.
    lr_multiplier (float): Learning rate of this head as a multiple of the
        optimiser's.
    RETURNS (Model[list[Doc], SpanScores]): The model. A Doc without a question
        has no pieces in its output.
    RAISES (ValueError): B211 for a multiplier out of range.
    """
    return build_head("bert_qa", encoder, SpanHead, compute, {"": lr_multiplier}, {})


def compute(model: Model, batch: EncoderBatch) -> SpanScores:
    """Score the pieces of each context, and the windows as "no answer"."""
    module: SpanHead = model.shims[0].module
    layout = batch.layout
    counts = np.diff(layout.doc_pieces)
    doc_of = np.repeat(np.arange(layout.n_docs), counts)
    # A question is segment 0 and its context segment 1; other Docs are filtered
    # by the component, which knows their labels.
    rows = np.flatnonzero(layout.piece_segment == 1)
    offsets = np.concatenate(([0], np.cumsum(np.bincount(doc_of[rows], minlength=layout.n_docs))))
    null = module(batch.cls)
    return SpanScores(
        scores=batch.rows(rows, module).float(),
        offsets=offsets.astype(np.int64),
        null=_weakest_null(null.float(), layout.doc_windows),
        piece_start=layout.piece_start[rows],
        piece_end=layout.piece_end[rows],
        piece_token=_token_of_piece(batch)[rows],
    )


def has_question(doc: Doc) -> bool:
    """Say whether a Doc holds a question and its context."""
    return [span.label_ for span in read_segments(doc)] == [QUESTION, CONTEXT]


def _weakest_null(null: Tensor, doc_windows: Ints) -> Tensor:
    counts = np.diff(doc_windows)
    if (counts == 1).all():
        return null
    total = null.sum(dim=1)
    chosen = [
        int(low) + int(torch.argmin(total[low:high]))
        for low, high in zip(doc_windows[:-1], doc_windows[1:])
    ]
    return null[torch.tensor(chosen, device=null.device)]


def _token_of_piece(batch: EncoderBatch) -> Ints:
    layout = batch.layout
    token = np.repeat(np.arange(len(layout.align_starts) - 1), np.diff(layout.align_starts))
    found = np.full(int(layout.doc_pieces[-1]), -1, dtype=np.int64)
    found[layout.align_rows[::-1]] = token[::-1]
    return found
