"""The names and arrays that floors hand to each other.

Letters for shapes: B windows, P pieces, T tokens, D docs, H width, L labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Keys and labels on a Doc.
SEGMENTS = "segments"
ANSWERS = "answers"
CHOSEN = "chosen"
REGRESSION = "regression"
# Attrs of the answers: how probable it is that there is none, and that of the best one.
NULL_PROBABILITY = "null_probability"
BEST_PROBABILITY = "best_probability"
# What could have been given and was not, as "no answer" was better.
WITHHELD = "withheld"
SCORED = "bert_ner_scores"
CANDIDATES = "bert_ner_candidates"
FIXED = "bert_ner_fixed"
BORDERS = "bert_ner_borders"
QUESTION = "question"
CONTEXT = "context"
CHOICE = "choice"

# Gold from which one of several labels is true, where somebody was not sure.
TRUE_FROM = 0.5

Ints = NDArray[np.int64]


@runtime_checkable  # thinc 8.3.0 checks types that name it
class RowStore(Protocol):
    """Rows of hidden states that may lie on disk."""

    shape: tuple[int, int]

    def read(self, start: int, end: int) -> Tensor:
        """Return rows [start, end). Shape (end - start, H)."""


@dataclass(frozen=True)
class Layout:
    """Where everything lies in one packed batch; index arrays alone.

    doc_pieces (Ints): Piece rows of doc d are [doc_pieces[d], doc_pieces[d + 1]).
        Shape (D + 1,).
    doc_tokens (Ints): The same for tokens. Shape (D + 1,).
    doc_windows (Ints): The same for windows; every doc has at least one.
        Shape (D + 1,).
    window_choice (Ints): Which choice of its doc a window reads, in ascending
        order; 0 where there are none. Shape (B,).
    align_starts (Ints): Token t has the pieces align_rows[align_starts[t]:
        align_starts[t + 1]], perhaps none. Shape (T + 1,).
    align_rows (Ints): Piece rows, token by token.
    piece_segment (Ints): Index of each piece's segment in its doc. Shape (P,).
    piece_start (Ints): First character of each piece in doc.text. Shape (P,).
    piece_end (Ints): One past its last character. Shape (P,).
    piece_ids (Ints): Vocabulary ids. Shape (P,).
    """

    doc_pieces: Ints
    doc_tokens: Ints
    doc_windows: Ints
    window_choice: Ints
    align_starts: Ints
    align_rows: Ints
    piece_segment: Ints
    piece_start: Ints
    piece_end: Ints
    piece_ids: Ints

    @property
    def n_docs(self) -> int:
        """Number of docs, D."""
        return len(self.doc_pieces) - 1

    def first_rows(self) -> Ints:
        """Return the row of each token's first piece, -1 for none. Shape (T,)."""
        starts, ends = self.align_starts[:-1], self.align_starts[1:]
        filled = ends > starts
        rows = np.full(len(starts), -1, dtype=np.int64)
        rows[filled] = self.align_rows[starts[filled]]
        return rows

    def select(self, docs: Sequence[int]) -> tuple["Layout", Ints, Ints]:
        """Return the layout of some docs, and the rows and windows they take.

        docs (Sequence[int]): Indices of docs, in the order wanted.
        RETURNS (tuple[Layout, Ints, Ints]): The new layout; its piece rows in
            the old batch; its windows in the old batch.
        """
        index = np.asarray(docs, dtype=np.int64)
        rows = concat_ranges(self.doc_pieces[index], self.doc_pieces[index + 1])
        tokens = concat_ranges(self.doc_tokens[index], self.doc_tokens[index + 1])
        windows = concat_ranges(self.doc_windows[index], self.doc_windows[index + 1])
        doc_pieces = _offsets(np.diff(self.doc_pieces)[index])
        doc_tokens = _offsets(np.diff(self.doc_tokens)[index])
        counts = np.diff(self.align_starts)[tokens]
        links = concat_ranges(self.align_starts[tokens], self.align_starts[tokens + 1])
        shift = np.repeat(doc_pieces[:-1] - self.doc_pieces[index], np.diff(doc_tokens))
        layout = Layout(
            doc_pieces=doc_pieces,
            doc_tokens=doc_tokens,
            doc_windows=_offsets(np.diff(self.doc_windows)[index]),
            window_choice=self.window_choice[windows],
            align_starts=_offsets(counts),
            align_rows=self.align_rows[links] + np.repeat(shift, counts),
            piece_segment=self.piece_segment[rows],
            piece_start=self.piece_start[rows],
            piece_end=self.piece_end[rows],
            piece_ids=self.piece_ids[rows],
        )
        return layout, rows, windows

    @staticmethod
    def concat(layouts: Sequence["Layout"]) -> "Layout":
        """Return one layout for the docs of several, in order."""
        pieces = np.cumsum([0] + [x.doc_pieces[-1] for x in layouts])[:-1]

        def joined(name: str) -> Ints:
            return _offsets(np.concatenate([np.diff(getattr(x, name)) for x in layouts]))

        def stacked(name: str) -> Ints:
            return np.concatenate([getattr(x, name) for x in layouts])

        return Layout(
            doc_pieces=joined("doc_pieces"),
            doc_tokens=joined("doc_tokens"),
            doc_windows=joined("doc_windows"),
            window_choice=stacked("window_choice"),
            align_starts=joined("align_starts"),
            align_rows=np.concatenate([x.align_rows + p for x, p in zip(layouts, pieces)]),
            piece_segment=stacked("piece_segment"),
            piece_start=stacked("piece_start"),
            piece_end=stacked("piece_end"),
            piece_ids=stacked("piece_ids"),
        )


@dataclass
class EncoderBatch:
    """What one run of the encoder gives: a packed array and its layout.

    layout (Layout): Index arrays back to docs, tokens and characters.
    hidden (Tensor | RowStore): One row per piece, the copy nearest the middle
        of its window. Float32, shape (P, H). A RowStore when one batch is too
        large for memory; read it through `rows`.
    cls (Tensor): First position of each window. Shape (B, H).
    pooled (Tensor | None): Output of the pretrained pooler, where the model
        has one. Shape (B, H).
    """

    layout: Layout
    hidden: "Tensor | RowStore"
    cls: Tensor
    pooled: Tensor | None = None
    block: int = field(default=16384, repr=False)

    @property
    def width(self) -> int:
        """Width of the hidden states, H."""
        return int(self.hidden.shape[1])

    def rows(self, index: Ints, apply: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Gather rows of `hidden` and apply a row-wise function to them.

        index (Ints): Rows wanted, roughly in ascending order; negative ones give
            zeros. Shape (N,).
        apply (Callable): A row-wise function, such as a linear layer, (n, H) to
            (n, K). Applied block by block when the rows lie on disk, so that
            all of them never lie in memory together.
        RETURNS (Tensor): Shape (N, K), or (N, H) without a function.
        """
        if isinstance(self.hidden, Tensor):
            # Scores are far narrower than states: where most rows are wanted, score
            # all and gather scores.
            if apply is not None and 2 * len(index) > len(self.hidden) and index.min() >= 0:
                return gather_rows(apply(self.hidden), index)
            taken = gather_rows(self.hidden, index)
            return taken if apply is None else apply(taken)
        parts = []
        for start in range(0, len(index), self.block):
            part = index[start : start + self.block]
            inside = part[part >= 0]
            low, high = (int(inside.min()), int(inside.max()) + 1) if len(inside) else (0, 0)
            taken = gather_rows(self._read(low, high), np.where(part >= 0, part - low, -1))
            parts.append(taken if apply is None else apply(taken))
        if parts:
            return torch.cat(parts)
        empty = self.cls.new_zeros((0, self.width))
        return empty if apply is None else apply(empty)

    def select(self, docs: Sequence[int]) -> "EncoderBatch":
        """Return the batch of some docs, in the order given (no gradient kept)."""
        layout, rows, windows = self.layout.select(docs)
        if isinstance(self.hidden, Tensor):
            hidden: Tensor | RowStore = gather_rows(self.hidden, rows)
        elif np.array_equal(rows, np.arange(self.hidden.shape[0])):
            hidden = self.hidden
        else:
            hidden = torch.cat([self._read(*ends) for ends in ((0, 0), *self._ranges(docs))])
        kept = torch.from_numpy(windows).to(self.cls.device)
        pooled = None if self.pooled is None else self.pooled[kept]
        return EncoderBatch(layout, hidden, self.cls[kept], pooled)

    def _read(self, low: int, high: int) -> Tensor:
        """Return rows [low, high) where the other tensors are, wherever `hidden` waits."""
        rows = (
            self.hidden[low:high]
            if isinstance(self.hidden, Tensor)
            else self.hidden.read(low, high)
        )
        return rows.to(self.cls.device)

    def _ranges(self, docs: Sequence[int]) -> list[tuple[int, int]]:
        ends = self.layout.doc_pieces
        return [(int(ends[i]), int(ends[i + 1])) for i in docs]

    @staticmethod
    def concat(batches: Sequence["EncoderBatch"]) -> "EncoderBatch":
        """Return one batch for the docs of several, in order (rows in memory)."""
        if len(batches) == 1:
            return batches[0]
        hidden = [x._read(0, int(x.hidden.shape[0])) for x in batches]
        pooled = [x.pooled for x in batches if x.pooled is not None]
        return EncoderBatch(
            Layout.concat([x.layout for x in batches]),
            torch.cat(hidden),
            torch.cat([x.cls for x in batches]),
            torch.cat(pooled) if len(pooled) == len(batches) else None,
        )


@dataclass
class EncoderGradient:
    """Gradient of a loss with respect to an EncoderBatch; None stands for zero."""

    hidden: Tensor | None = None
    cls: Tensor | None = None
    pooled: Tensor | None = None

    def parts(self) -> dict[str, Tensor]:
        """Return the gradients that are not zero, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def add(self, other: "EncoderGradient") -> None:
        """Add another gradient of the same batch to this one."""
        for name, new in other.parts().items():
            old = getattr(self, name)
            setattr(self, name, new if old is None else old + new)


def concat_ranges(starts: Ints, ends: Ints) -> Ints:
    """Return the integers of all ranges [start, end), one after the other."""
    counts = np.maximum(ends - starts, 0)
    total = int(counts.sum())
    if not total:
        return np.zeros(0, dtype=np.int64)
    shift = np.repeat(starts - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
    return np.arange(total, dtype=np.int64) + shift


def gather_rows(hidden: Tensor, index: Ints) -> Tensor:
    """Return rows of a matrix, zeros where the index is negative."""
    rows = torch.from_numpy(np.ascontiguousarray(index)).to(hidden.device)
    missing = index < 0
    if not missing.any():
        return hidden.index_select(0, rows)
    if missing.all():
        return hidden.new_zeros((len(index), hidden.shape[1]))
    taken = hidden.index_select(0, rows.clamp(min=0))
    return taken * (rows >= 0).unsqueeze(1).to(taken.dtype)


def _offsets(counts: Ints) -> Ints:
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
