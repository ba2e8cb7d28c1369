"""Between our packed batches and spacy-transformers' data for each Doc."""

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc
from spacy_transformers.data_classes import TransformerData, WordpieceBatch
from thinc.api import get_torch_default_device, torch2xp, xp2torch
from thinc.types import Ragged
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from ..segments import read_segments
from ..types import EncoderBatch, EncoderGradient, Layout


def data_from_batch(
    docs: Sequence[Doc], batch: EncoderBatch, tokenizer: Any
) -> list[TransformerData]:
    """Split a packed batch into one TransformerData per Doc.

    docs (Sequence[Doc]): The Docs.
    batch (EncoderBatch): Output of our encoder.
    tokenizer (PreTrainedTokenizerFast | None): Names the pieces; None where they are named by
        their own text.
    RETURNS (list[TransformerData]): Each with hidden states of shape
        (1, pieces, H); a Doc without pieces has one row of zeros.
    """
    layout, split = batch.layout, []
    for doc in range(layout.n_docs):
        low, high = (int(x) for x in layout.doc_pieces[doc : doc + 2])
        first, last = (int(x) for x in layout.doc_tokens[doc : doc + 2])
        hidden = (
            batch.rows(np.arange(low, high)) if high > low else batch.cls.new_zeros(1, batch.width)
        )
        links = layout.align_starts[first : last + 1]
        rows = (layout.align_rows[links[0] : links[-1]] - low).astype("i")
        ids = layout.piece_ids[low:high] if high > low else np.zeros(1, dtype=np.int64)
        if high == low:
            pieces = [""]
        elif tokenizer is None:
            text, bounds = (
                docs[doc].text,
                (layout.piece_start[low:high], layout.piece_end[low:high]),
            )
            pieces = [text[a:b] for a, b in zip(*bounds)]
        else:
            pieces = tokenizer.convert_ids_to_tokens(ids.tolist())
        split.append(
            TransformerData(
                wordpieces=WordpieceBatch(
                    strings=[pieces],
                    input_ids=ids.reshape(1, -1),
                    attention_mask=np.ones((1, len(ids)), dtype="f"),
                    lengths=[len(ids)],
                    token_type_ids=None,
                ),
                model_output=BaseModelOutput(
                    last_hidden_state=torch2xp(hidden).reshape(1, -1, batch.width)
                ),
                align=Ragged(rows, np.diff(links).astype("i")),
            )
        )
    return split


def gradient_from_data(
    batch: EncoderBatch, gradients: Sequence[TransformerData]
) -> EncoderGradient:
    """Pack the gradients that a stock listener sends back.

    batch (EncoderBatch): The batch that `data_from_batch` split.
    gradients (Sequence[TransformerData]): One per Doc, in order.
    RETURNS (EncoderGradient): With the gradient of the hidden states.
    """
    counts = np.diff(batch.layout.doc_pieces)
    width = batch.width
    parts = [
        xp2torch(data.model_output.last_hidden_state).reshape(-1, width)[:count]
        for data, count in zip(gradients, counts)
    ]
    return EncoderGradient(hidden=torch.cat(parts).to(batch.cls.device))


def batch_from_data(
    docs: Sequence[Doc], data: Sequence[TransformerData], width: int
) -> EncoderBatch:
    """Pack the output of a stock `transformer` component: one row per token.

    docs (Sequence[Doc]): The Docs.
    data (Sequence[TransformerData]): The output of each.
    width (int): Width of the hidden states, H.
    RETURNS (EncoderBatch): Its pieces are the first pieces of tokens, with the
        tokens' characters; there is no pooled output.
    """
    hidden, cls, token_rows, bounds, segments, windows = [], [], [], [], [], []
    for doc, item in zip(docs, data):
        offsets = doc.to_array([IDX, LENGTH]).astype(np.int64).reshape(-1, 2)
        first = _first_pieces(item)
        kept = np.flatnonzero(first >= 0)
        states = _states(item)
        token_rows.append(np.where(first >= 0, np.cumsum(first >= 0) - 1, -1))
        bounds.append(offsets[kept])
        segments.append(_segment_of_tokens(doc)[kept])
        if states is None:
            windows.append(0)
            continue
        hidden.append(states.reshape(-1, states.shape[2])[torch.from_numpy(first[kept])])
        cls.append(states[:, 0])
        windows.append(len(states))
    device = get_torch_default_device()
    for at, count in enumerate(windows):
        if not count:
            hidden.insert(at, torch.zeros((0, width), device=device))
            cls.insert(at, torch.zeros((1, width), device=device))
            windows[at] = 1
    counts = np.array([len(b) for b in bounds], dtype=np.int64)
    pieces = np.concatenate(bounds) if bounds else np.zeros((0, 2), dtype=np.int64)
    has_row = np.concatenate([r >= 0 for r in token_rows]).astype(np.int64)
    layout = Layout(
        doc_pieces=np.concatenate(([0], np.cumsum(counts))),
        doc_tokens=np.cumsum([0] + [len(doc) for doc in docs]).astype(np.int64),
        doc_windows=np.concatenate(([0], np.cumsum(windows))).astype(np.int64),
        window_choice=np.zeros(sum(windows), dtype=np.int64),
        align_starts=np.concatenate(([0], np.cumsum(has_row))),
        align_rows=np.arange(int(has_row.sum())),
        piece_segment=np.concatenate(segments),
        piece_start=pieces[:, 0],
        piece_end=pieces.sum(axis=1),
        piece_ids=np.zeros(len(pieces), dtype=np.int64),
    )
    return EncoderBatch(layout, torch.cat(hidden), torch.cat(cls))


def gradient_to_data(
    docs: Sequence[Doc], data: Sequence[TransformerData], gradient: EncoderGradient
) -> list[TransformerData]:
    """Split our gradient into one TransformerData per Doc, for a stock encoder.

    docs (Sequence[Doc]): The Docs.
    data (Sequence[TransformerData]): The output that `batch_from_data` packed.
    gradient (EncoderGradient): Gradient of the packed batch.
    RETURNS (list[TransformerData]): Gradients shaped as the outputs; Docs
        without output are left out, as a stock listener leaves them out.
    """
    row, window, split = 0, 0, []
    for item in data:
        states = _states(item)
        if states is None:
            window += 1
            continue
        first = _first_pieces(item)
        grad = torch.zeros_like(states)
        kept = torch.from_numpy(first[first >= 0]).to(grad.device)
        if gradient.hidden is not None:
            flat = grad.view(-1, grad.shape[2])
            flat.index_add_(0, kept, gradient.hidden[row : row + len(kept)].to(grad))
        if gradient.cls is not None:
            grad[:, 0] += gradient.cls[window : window + len(states)].to(grad)
        row += len(kept)
        window += len(states)
        output = BaseModelOutput(last_hidden_state=torch2xp(grad))
        split.append(TransformerData(item.wordpieces, output, item.align))
    return split


class ReadDocs(weakref.WeakSet):
    """The Docs that a stock listener has read; copies of it have read none."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadDocs, ()


def note_reads(listener: Any) -> None:
    """Have a stock listener note in `read_docs` which Docs it has predicted from.

    listener (TransformerListener): The listener.
    """
    if not hasattr(listener, "read_docs"):
        listener.read_docs, listener.read = ReadDocs(), listener._func
        listener._func = _read_and_note


def _read_and_note(listener: Any, docs: Sequence[Doc], is_train: bool) -> Any:
    if not is_train:
        listener.read_docs.update(docs)
    return listener.read(listener, docs, is_train)


def _segment_of_tokens(doc: Doc) -> np.ndarray:
    number = np.zeros(len(doc), dtype=np.int64)
    for i, span in enumerate(read_segments(doc)):
        number[span.start : span.end] = i
    return number


def _states(item: TransformerData) -> Tensor | None:
    state = item.model_output.get("last_hidden_state")
    if state is None or not state.size:
        return None
    return xp2torch(state).detach()


def _first_pieces(item: TransformerData) -> np.ndarray:
    lengths = np.asarray(item.align.lengths, dtype=np.int64)
    rows = np.asarray(item.align.dataXd, dtype=np.int64).reshape(-1)
    starts = np.cumsum(lengths) - lengths
    first = np.full(len(lengths), -1, dtype=np.int64)
    first[lengths > 0] = rows[starts[lengths > 0]]
    return first
