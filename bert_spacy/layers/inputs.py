"""From Docs to the encoder's input: pieces, alignment and windows."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc

from ..errors import Errors, Warnings
from ..segments import read_segments
from ..text.align import align_tokens
from ..text.pieces import Pieces, Template, encode_texts, shorten
from ..text.windows import WindowPlan, plan_windows
from ..types import Ints, Layout, concat_ranges


@dataclass(frozen=True)
class EncoderInput:
    """The windows of a batch of Docs, and where their output belongs.

    layout (Layout): Pieces and alignment of all Docs.
    plan (WindowPlan): The windows, as pieces of the last segment.
    head (Ints): Pieces before the last segment of each Doc. Shape (D,).
    n_segments (Ints): Segments of each Doc. Shape (D,).
    lengths (Ints): Pieces of each window, special ones included. Shape (B,).
    body_at (Ints): Position in each window where the last segment begins. Shape (B,).
    """

    layout: Layout
    plan: WindowPlan
    head: Ints
    n_segments: Ints
    lengths: Ints
    body_at: Ints


def prepare_docs(
    docs: Sequence[Doc], tokenizer: Any, template: Template, window: int, stride: int
) -> EncoderInput:
    """Tokenize Docs once each and plan their windows.

    docs (Sequence[Doc]): The Docs; `doc.spans["segments"]` marks several texts.
    tokenizer (PreTrainedTokenizerFast): A Hugging Face fast tokenizer.
    template (Template): Its special pieces.
    window (int): Most pieces in a window, special ones included.
    stride (int): Pieces from the start of one window to that of the next.
    RETURNS (EncoderInput): Everything the forward pass needs.
    RAISES (ValueError): B202 if the segments of a Doc do not cover it.
    """
    whole = [doc.text for doc in docs]  # spaCy joins the tokens anew each time
    bounds = [segment_bounds(doc, text) for doc, text in zip(docs, whole)]
    texts = [text[a:b] for text, pairs in zip(whole, bounds) for a, b in pairs]
    n_segments = np.array([len(pairs) for pairs in bounds], dtype=np.int64)
    last = np.cumsum(n_segments) - 1
    segment_base = np.array([a for pairs in bounds for a, _ in pairs], dtype=np.int64)
    pieces = encode_texts(tokenizer, texts)
    pieces = _fit_heads(docs, pieces, n_segments, template, window)
    counts, base = pieces.counts, np.repeat(segment_base, pieces.counts)
    piece_start, piece_end = pieces.start + base, pieces.end + base
    doc_counts = np.add.reduceat(counts, last + 1 - n_segments) if len(docs) else counts
    doc_pieces = np.concatenate(([0], np.cumsum(doc_counts))).astype(np.int64)
    doc_tokens = np.cumsum([0] + [len(doc) for doc in docs]).astype(np.int64)
    sizes = np.array([len(text) for text in whole], dtype=np.int64)
    starts, rows = _align(docs, sizes, doc_pieces, doc_tokens, piece_start, piece_end)
    body = counts[last]
    head = doc_counts - body
    plan = plan_windows(head, body, template.count(n_segments), window, stride)
    segment_number = np.arange(len(counts)) - np.repeat(last + 1 - n_segments, n_segments)
    layout = Layout(
        doc_pieces=doc_pieces,
        doc_tokens=doc_tokens,
        doc_windows=np.concatenate(
            ([0], np.cumsum(np.bincount(plan.doc, minlength=len(docs))))
        ).astype(np.int64),
        align_starts=starts,
        align_rows=rows,
        piece_segment=np.repeat(segment_number, counts),
        piece_start=piece_start,
        piece_end=piece_end,
        piece_ids=pieces.ids,
    )
    body_at = len(template.prefix) + head + len(template.infix) * (n_segments - 1)
    lengths = (template.count(n_segments) + head)[plan.doc] + plan.end - plan.start
    return EncoderInput(layout, plan, head, n_segments, lengths, body_at[plan.doc])


def pad_group(
    given: EncoderInput, group: Ints, template: Template, pad_id: int
) -> tuple[Ints, Ints, Ints]:
    """Build the padded model input of some windows.

    given (EncoderInput): All windows.
    group (Ints): Numbers of the windows wanted. Shape (B,).
    template (Template): Special pieces.
    pad_id (int): Piece id for padding.
    RETURNS (tuple[Ints, Ints, Ints]): Piece ids, mask and type ids, each (B, P).
    """
    plan, layout = given.plan, given.layout
    lengths, body_at, doc = given.lengths[group], given.body_at[group], plan.doc[group]
    width = int(lengths.max())
    table = np.full((len(group), width), pad_id, dtype=np.int64)
    table[:, : len(template.prefix)] = template.prefix
    ids = table.reshape(-1)
    base = np.arange(len(group)) * width
    several = given.n_segments[doc] > 1
    if several.any():
        rows, at = _head_positions(given, np.flatnonzero(several), group, width, template)
        free = np.zeros(len(ids), dtype=bool)
        free[concat_ranges(base + len(template.prefix), base + body_at)] = True
        free[at] = False
        ids[at] = layout.piece_ids[rows]
        # What earlier segments leave before the last one is for the pieces between.
        ids[free] = np.tile(template.infix, int((given.n_segments[doc] - 1).sum()))
    first = layout.doc_pieces[doc] + given.head[doc]
    rows = concat_ranges(first + plan.start[group], first + plan.end[group])
    end = base + lengths - len(template.suffix)
    ids[concat_ranges(base + body_at, end)] = layout.piece_ids[rows]
    ids[end[:, None] + np.arange(len(template.suffix))] = template.suffix
    position = np.arange(width)
    mask = position < lengths[:, None]
    late = (position >= body_at[:, None]) & several[:, None]
    types = np.where(mask, np.where(late, template.types[1], template.types[0]), 0)
    return table, mask.astype(np.int64), types


def owned_positions(
    given: EncoderInput, group: Ints, width: int, template: Template
) -> tuple[Ints, Ints]:
    """Say which output positions of some windows count, and for which piece rows.

    given (EncoderInput): All windows.
    group (Ints): Numbers of the windows. Shape (B,).
    width (int): Padded length of the group, P.
    template (Template): Special pieces.
    RETURNS (tuple[Ints, Ints]): Positions in the flattened (B * P) output, and
        the rows of the packed array that they give.
    """
    plan, layout = given.plan, given.layout
    doc = plan.doc[group]
    first = layout.doc_pieces[doc]
    body = first + given.head[doc]
    rows = concat_ranges(body + plan.own_start[group], body + plan.own_end[group])
    offset = np.arange(len(group)) * width + given.body_at[group] - plan.start[group]
    at = concat_ranges(offset + plan.own_start[group], offset + plan.own_end[group])
    # Earlier segments stand in every window; the first window speaks for them.
    heads = np.flatnonzero((given.head[doc] > 0) & (group == layout.doc_windows[doc]))
    if len(heads):
        head_rows, head_at = _head_positions(given, heads, group, width, template)
        rows = np.concatenate((rows, head_rows))
        at = np.concatenate((at, head_at))
    return at, rows


def _head_positions(
    given: EncoderInput, chosen: Ints, group: Ints, width: int, template: Template
) -> tuple[Ints, Ints]:
    # Piece rows of the earlier segments of some windows of a group, and where
    # they stand in its flattened (B * P) input.
    doc = given.plan.doc[group[chosen]]
    first, counts = given.layout.doc_pieces[doc], given.head[doc]
    rows = concat_ranges(first, first + counts)
    shift = np.repeat(chosen * width + len(template.prefix) - first, counts)
    return rows, rows + shift + len(template.infix) * given.layout.piece_segment[rows]


def segment_bounds(doc: Doc, text: str) -> list[tuple[int, int]]:
    """Return the first character of each segment, and one past its last; see B202."""
    spans = read_segments(doc)
    if not spans:
        return [(0, len(text))]
    edges = [(span.start, span.end) for span in spans]
    if (
        edges[0][0] != 0
        or edges[-1][1] != len(doc)
        or any(a[1] != b[0] for a, b in zip(edges, edges[1:]))
    ):
        raise ValueError(Errors.B202.format(bounds=edges, n_tokens=len(doc), text=text[:80]))
    at, bounds = 0, []
    for span in spans:
        if len(span):
            at = span.end_char
            bounds.append((span.start_char, at))
        else:
            bounds.append((at, at))
    return bounds


def _fit_heads(
    docs: Sequence[Doc], pieces: Pieces, n_segments: Ints, template: Template, window: int
) -> Pieces:
    """Shorten earlier segments that would fill a window, and say so."""
    if not (n_segments > 1).any():
        return pieces
    counts = pieces.counts.copy()
    ends = np.cumsum(n_segments)
    cut = []
    for doc in np.flatnonzero(n_segments > 1):
        free = window - int(template.count(n_segments[doc]))
        room = max(1, min(free // 4, int(counts[ends[doc] - 1])))
        heads = slice(ends[doc] - n_segments[doc], ends[doc] - 1)
        if counts[heads].sum() > free - room:
            cut.append((doc, int(counts[heads].sum()), room))
            counts[heads] = shorten([int(n) for n in counts[heads]], max(free - room, 0))
    if not cut:
        return pieces
    doc, size, room = cut[0]
    warnings.warn(
        Warnings.BW001.format(
            n=len(cut), total=len(docs), window=window, room=room, pieces=size,
            text=docs[int(doc)].text[:60],
        ),
        stacklevel=2,
    )  # fmt: skip
    starts = np.concatenate(([0], np.cumsum(pieces.counts)))[:-1]
    kept = concat_ranges(starts, starts + counts)
    return replace(
        pieces,
        ids=pieces.ids[kept],
        start=pieces.start[kept],
        end=pieces.end[kept],
        counts=counts,
    )


def _align(
    docs: Sequence[Doc],
    sizes: Ints,
    doc_pieces: Ints,
    doc_tokens: Ints,
    piece_start: Ints,
    piece_end: Ints,
) -> tuple[Ints, Ints]:
    # One running text: each Doc's characters follow those of the Docs before.
    base = np.cumsum(sizes + 1) - (sizes + 1)
    arrays = [doc.to_array([IDX, LENGTH]).reshape(-1, 2) for doc in docs]
    tokens = np.concatenate(arrays).astype(np.int64) if arrays else np.zeros((0, 2), dtype=np.int64)
    start = tokens[:, 0] + np.repeat(base, np.diff(doc_tokens))
    shift = np.repeat(base, np.diff(doc_pieces))
    return align_tokens(start, start + tokens[:, 1], piece_start + shift, piece_end + shift)
