"""From Docs to the encoder's input: pieces, alignment and windows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc

from ..errors import Errors
from ..segments import read_segments
from ..text.align import align_tokens
from ..text.pieces import Template, encode_texts
from ..text.windows import WindowPlan, plan_windows
from ..types import Ints, Layout, concat_ranges
from .readings import Readings, cut_pairs, fit_pieces, plan_readings

# Tokens of a stream encoded together: bounds the hidden states in memory, and the Docs.
TOKENS_AT_ONCE = 32768


@dataclass(frozen=True)
class EncoderInput:
    """The windows of a batch of Docs, and where their output belongs.

    Places are the pieces of all readings, one reading after the other: of a choice
    item, the pieces of the context have a place in the reading of each choice.

    layout (Layout): Pieces and alignment of all Docs.
    readings (Readings): What is read of each Doc.
    plan (WindowPlan): The windows, as pieces of the body; its docs are readings.
    first_window (Ints): First window of each reading. Shape (R,).
    starts (Ints): Reading r has the places [starts[r], starts[r + 1]). Shape (R + 1,).
    head (Ints): Pieces before the body of each reading. Shape (R,).
    body (Ints): Pieces in the body. Shape (R,).
    rows (Ints): Piece row of each place. Shape (E,).
    texts (Ints): Text of its reading that each place belongs to. Shape (E,).
    is_first (NDArray[bool]): Whether no earlier place has the same piece. Shape (E,).
    lengths (Ints): Pieces of each window, special ones included. Shape (B,).
    body_at (Ints): Position in each window where the body begins. Shape (B,).
    n_cut (Ints): Pieces that `pair_overflow` has cut from each Doc. Shape (D,).
    n_lost (Ints): Pieces of each Doc that no window holds, these and others. Shape (D,).
    """

    layout: Layout
    readings: Readings
    plan: WindowPlan
    first_window: Ints
    starts: Ints
    head: Ints
    body: Ints
    rows: Ints
    texts: Ints
    is_first: NDArray[np.bool_]
    lengths: Ints
    body_at: Ints
    n_cut: Ints
    n_lost: Ints


def prepare_docs(
    docs: Sequence[Doc],
    tokenizer: Any,
    template: Template,
    window: int,
    stride: int,
    pair_overflow: str = "window",
) -> EncoderInput:
    """Tokenize Docs once each and plan their windows.

    docs (Sequence[Doc]): The Docs; `doc.spans["segments"]` marks several texts.
    tokenizer (PreTrainedTokenizerFast): A Hugging Face fast tokenizer.
    template (Template): Its special pieces.
    window (int): Most pieces in a window, special ones included.
    stride (int): Pieces from the start of one window to that of the next.
    pair_overflow (str): "window", or "longest_first" to cut pairs that are too long.
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
    all_counts = _add_up(pieces.counts, last + 1 - n_segments)
    n_cut = np.zeros(len(docs), dtype=np.int64)
    if pair_overflow == "longest_first":
        pieces, n_cut = cut_pairs(docs, pieces, n_segments, template, window)
    readings = plan_readings(docs, n_segments, pieces.counts)
    pieces = fit_pieces(docs, pieces, readings, template, window)
    counts, base = pieces.counts, np.repeat(segment_base, pieces.counts)
    piece_start, piece_end = pieces.start + base, pieces.end + base
    doc_counts = _add_up(counts, last + 1 - n_segments)
    doc_pieces = np.concatenate(([0], np.cumsum(doc_counts))).astype(np.int64)
    doc_tokens = np.cumsum([0] + [len(doc) for doc in docs]).astype(np.int64)
    sizes = np.array([len(text) for text in whole], dtype=np.int64)
    starts, rows = _align(docs, sizes, doc_pieces, doc_tokens, piece_start, piece_end)
    segment_number = np.arange(len(counts)) - np.repeat(last + 1 - n_segments, n_segments)
    # Pieces of each segment of each reading, of the whole, the body and what is before it.
    parts = counts[readings.segment]
    total, body = readings.add_up(parts), readings.add_up(parts * readings.is_body())
    head = readings.add_up(parts * (readings.text < readings.body[readings.reading]))
    specials = template.count(readings.n_texts)
    plan = plan_windows(total - body, body, specials, window, stride)
    n_windows = np.bincount(plan.reading, minlength=len(readings.doc))
    layout = Layout(
        doc_pieces=doc_pieces,
        doc_tokens=doc_tokens,
        doc_windows=np.searchsorted(readings.doc[plan.reading], np.arange(len(docs) + 1)),
        window_choice=readings.choice[plan.reading],
        align_starts=starts,
        align_rows=rows,
        piece_segment=np.repeat(segment_number, counts),
        piece_start=piece_start,
        piece_end=piece_end,
        piece_ids=pieces.ids,
    )
    segment_rows = (np.cumsum(counts) - counts)[readings.segment]
    body_at = len(template.prefix) + head + len(template.infix) * readings.body
    return EncoderInput(
        layout=layout,
        readings=readings,
        plan=plan,
        first_window=np.cumsum(n_windows) - n_windows,
        starts=np.concatenate(([0], np.cumsum(total))).astype(np.int64),
        head=head,
        body=body,
        rows=concat_ranges(segment_rows, segment_rows + parts),
        texts=np.repeat(readings.text, parts),
        is_first=np.repeat(readings.is_first, parts),
        lengths=(specials + total - body)[plan.reading] + plan.end - plan.start,
        body_at=body_at[plan.reading],
        n_cut=n_cut,
        n_lost=all_counts - doc_counts,
    )


def _add_up(counts: Ints, first: Ints) -> Ints:
    """Add up counts of segments for each Doc, by the number of its first segment."""
    return np.add.reduceat(counts, first) if len(first) else counts


def round_width(width: int, limit: int) -> int:
    """Round a padded width up, by less than a sixteenth, to one that other groups have too.

    width (int): Pieces of the longest window.
    limit (int): The result is not above this, unless the width is.
    RETURNS (int): The new width.
    """
    step = 1 << max(0, (width // 16).bit_length() - 1)
    return max(width, min(-(-width // step) * step, limit))


def pad_group(
    given: EncoderInput, group: Ints, template: Template, pad_id: int, limit: int = 0
) -> tuple[Ints, Ints, Ints]:
    """Build the padded model input of some windows.

    given (EncoderInput): All windows.
    group (Ints): Numbers of the windows wanted. Shape (B,).
    template (Template): Special pieces.
    pad_id (int): Piece id for padding.
    limit (int): Round the width up to this at most, see `round_width`; 0 for the least padding.
    RETURNS (tuple[Ints, Ints, Ints]): Piece ids, mask and type ids, each (B, P).
    """
    plan, readings = given.plan, given.readings
    lengths, body_at, reading = given.lengths[group], given.body_at[group], plan.reading[group]
    width = round_width(int(lengths.max()), limit)
    table = np.full((len(group), width), pad_id, dtype=np.int64)
    table[:, : len(template.prefix)] = template.prefix
    ids = table.reshape(-1)
    base = np.arange(len(group)) * width
    end = base + lengths - len(template.suffix)
    first = given.starts[reading] + given.head[reading]
    places = concat_ranges(first + plan.start[group], first + plan.end[group])
    size = plan.end[group] - plan.start[group]
    at = concat_ranges(base + body_at, base + body_at + size)
    n_texts = readings.n_texts[reading]
    several = np.flatnonzero(n_texts > 1)
    if len(several):
        other_places, other_at = _place_others(given, several, group, width, template)
        places, at = np.concatenate((places, other_places)), np.concatenate((at, other_at))
        free = np.zeros(len(ids), dtype=bool)
        free[concat_ranges(base[several] + len(template.prefix), end[several])] = True
        free[at] = False
        # What the texts leave is for the pieces between them.
        ids[free] = np.tile(template.infix, int((n_texts - 1).sum()))
    ids[at] = given.layout.piece_ids[given.rows[places]]
    ids[end[:, None] + np.arange(len(template.suffix))] = template.suffix
    position = np.arange(width)
    mask = position < lengths[:, None]
    has_tail = readings.body[reading] < n_texts - 1
    last_at = np.where(has_tail, body_at + size + len(template.infix), body_at)
    late = (position >= last_at[:, None]) & (n_texts > 1)[:, None]
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
    plan = given.plan
    reading = plan.reading[group]
    body = given.starts[reading] + given.head[reading]
    places = concat_ranges(body + plan.own_start[group], body + plan.own_end[group])
    offset = np.arange(len(group)) * width + given.body_at[group] - plan.start[group]
    at = concat_ranges(offset + plan.own_start[group], offset + plan.own_end[group])
    several = given.readings.n_texts[reading] > 1
    if several.any():
        # Other texts stand in every window; the first window speaks for them, and of
        # several readings with the same piece the first.
        chosen = np.flatnonzero(several & (group == given.first_window[reading]))
        other_places, other_at = _place_others(given, chosen, group, width, template)
        places, at = np.concatenate((places, other_places)), np.concatenate((at, other_at))
        counted = given.is_first[places]
        places, at = places[counted], at[counted]
    return at, given.rows[places]


def _place_others(
    given: EncoderInput, chosen: Ints, group: Ints, width: int, template: Template
) -> tuple[Ints, Ints]:
    # Places of the texts beside the body of some windows of a group, and where
    # they stand in its flattened (B * P) input.
    plan = given.plan
    reading = plan.reading[group[chosen]]
    start, head = given.starts[reading], given.head[reading]
    places = concat_ranges(start, start + head)
    shift = np.repeat(chosen * width + len(template.prefix) - start, head)
    at = places + shift + len(template.infix) * given.texts[places]
    after, end = start + head + given.body[reading], given.starts[reading + 1]
    tail = concat_ranges(after, end)
    size = plan.end[group[chosen]] - plan.start[group[chosen]]
    tail_at = chosen * width + given.body_at[group[chosen]] + size + len(template.infix)
    tail_shift = np.repeat(tail_at - after, end - after)
    return np.concatenate((places, tail)), np.concatenate((at, tail + tail_shift))


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


def cut_stream(stream: Iterable[Doc], n_docs: int) -> Iterator[list[Doc]]:
    """Cut a stream of Docs into parts of bounded size, reading no further than each part needs.

    stream (Iterable[Doc]): The Docs.
    n_docs (int): Most Docs in a part. Nor does it have more tokens than `TOKENS_AT_ONCE`; a
        longer Doc is a part of its own.
    YIELDS (list[Doc]): The parts, in order.
    """
    part: list[Doc] = []
    size = 0
    for doc in stream:
        # A long token may have many pieces; a Chinese one is often one character.
        characters = doc[-1].idx + len(doc[-1]) if len(doc) else 0
        length = max(len(doc), characters // 4)
        if part and size + length > TOKENS_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(doc)
        size += length
        if len(part) >= n_docs or size >= TOKENS_AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part
