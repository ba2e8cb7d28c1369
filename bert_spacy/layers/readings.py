"""What the encoder reads of each Doc: all its texts together, or a context with one choice each."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc

from ..errors import Warnings
from ..segments import count_choices, is_pair
from ..text.pieces import Pieces, Template, shorten, shorten_pairs
from ..types import Ints, concat_ranges


@dataclass(frozen=True)
class Readings:
    """The readings of a batch of Docs, each a row of segments; S rows' segments in all.

    A reading consists of texts, with special pieces between them. One of them, the
    body, is cut into windows where it is long; the others stand in each window.

    doc (Ints): The doc of each reading, ascending. Shape (R,).
    choice (Ints): Which choice of its doc it reads, 0 where there are none. Shape (R,).
    n_texts (Ints): Its texts. Shape (R,).
    body (Ints): Which of them is the body. Shape (R,).
    reading (Ints): The reading of each segment. Shape (S,).
    segment (Ints): The segment, counted over all docs. Shape (S,).
    text (Ints): The text of its reading that it belongs to. Shape (S,).
    is_first (NDArray[bool]): Whether no earlier reading holds the segment. Shape (S,).
    """

    doc: Ints
    choice: Ints
    n_texts: Ints
    body: Ints
    reading: Ints
    segment: Ints
    text: Ints
    is_first: NDArray[np.bool_]

    def add_up(self, values: NDArray) -> Ints:
        """Add up the values of the segments of each reading. Shape (S,) to (R,)."""
        total = np.bincount(self.reading, weights=values, minlength=len(self.doc))
        return total.astype(np.int64)

    def is_body(self) -> NDArray[np.bool_]:
        """Say which segments are in the body of their reading. Shape (S,)."""
        return self.text == self.body[self.reading]


def plan_readings(docs: Sequence[Doc], n_segments: Ints, counts: Ints) -> Readings:
    """Plan what the encoder reads of each Doc.

    Of a choice item it reads the context, as body, and after it the question
    together with each choice in turn; without a context the question takes its
    place. Of any other Doc it reads all segments once. The body is the last one; of a
    pair that is no question with its context, the longer one.

    docs (Sequence[Doc]): The Docs.
    n_segments (Ints): Segments of each. Shape (D,).
    counts (Ints): Pieces of each segment of all docs.
    RETURNS (Readings): The readings.
    """
    # Doc, choice, texts, body; and reading, segment, text, whether it is the first time.
    readings: list[tuple[int, int, int, int]] = []
    parts: list[tuple[int, int, int, bool]] = []
    first = 0
    for i, (doc, n) in enumerate(zip(docs, n_segments.tolist())):
        n_choices = count_choices(doc)
        if not n_choices:
            parts += [(len(readings), first + k, k, True) for k in range(n)]
            body = n - 1
            if n == 2 and counts[first] > counts[first + 1]:
                body = int(not is_pair(doc))
            readings.append((i, 0, n, body))
        question = 1 if counts[first] else 0
        for k in range(n_choices):
            texts = ((first, 0, k == 0), (first + 1, question, k == 0), (first + 2 + k, 1, True))
            parts += [(len(readings), *text) for text in texts]
            readings.append((i, k, 2, 0))
        first += n
    doc_, choice, n_texts, body = np.array(readings, dtype=np.int64).reshape(-1, 4).T
    reading, segment, text, is_first = np.array(parts, dtype=np.int64).reshape(-1, 4).T
    return Readings(doc_, choice, n_texts, body, reading, segment, text, is_first.astype(bool))


def cut_pairs(
    docs: Sequence[Doc], pieces: Pieces, n_segments: Ints, template: Template, window: int
) -> tuple[Pieces, Ints]:
    """Cut each pair that is too long for one window, piece by piece from its longer text's end.

    docs (Sequence[Doc]): The Docs; questions with their contexts, and choice items, stay whole.
    pieces (Pieces): Pieces of all segments.
    n_segments (Ints): Segments of each Doc. Shape (D,).
    template (Template): Special pieces.
    window (int): Most pieces in a window, special ones included.
    RETURNS (tuple[Pieces, Ints]): The pieces that are left, and how many were cut from each
        Doc. Shape (D,).
    """
    two = np.flatnonzero(n_segments == 2)
    sides = (np.cumsum(n_segments) - n_segments)[two, None] + np.arange(2)
    most = np.maximum(window - template.count(n_segments[two]), 0)
    long = np.flatnonzero(pieces.counts[sides].sum(axis=1) > most)
    chosen = [i for i in long if is_pair(docs[two[i]])]
    n_cut = np.zeros(len(docs), dtype=np.int64)
    if not chosen:
        return pieces, n_cut
    counts, sides = pieces.counts.copy(), sides[chosen]
    counts[sides] = shorten_pairs(counts[sides], most[chosen])
    n_cut[two[chosen]] = (pieces.counts - counts)[sides].sum(axis=1)
    return _keep(pieces, counts), n_cut


def fit_pieces(
    docs: Sequence[Doc], pieces: Pieces, readings: Readings, template: Template, window: int
) -> Pieces:
    """Shorten texts that stand in each window and would fill it, and say so.

    docs (Sequence[Doc]): The Docs, for the warning.
    pieces (Pieces): Pieces of all segments.
    readings (Readings): What is read of them.
    template (Template): Special pieces.
    window (int): Most pieces in a window, special ones included.
    RETURNS (Pieces): The pieces that are left; BW001 is warned of where some are not.
    """
    is_body, sizes = readings.is_body(), pieces.counts[readings.segment]
    fixed, body = readings.add_up(sizes * ~is_body), readings.add_up(sizes * is_body)
    free = window - template.count(readings.n_texts)
    room = np.maximum(1, np.minimum(free // 4, body))
    long = np.flatnonzero((fixed > free - room) & (readings.n_texts > 1))
    if not len(long):
        return pieces
    counts = pieces.counts.copy()
    for i in long:
        parts = readings.segment[(readings.reading == i) & ~is_body]
        kept = shorten(pieces.counts[parts].tolist(), max(int(free[i] - room[i]), 0))
        counts[parts] = np.minimum(counts[parts], kept)
    first = long[0]
    warnings.warn(
        Warnings.BW001.format(
            n=len(np.unique(readings.doc[long])), total=len(docs), window=window,
            room=room[first], pieces=fixed[first], text=docs[readings.doc[first]].text[:60],
        ),
        stacklevel=2,
    )  # fmt: skip
    return _keep(pieces, counts)


def _keep(pieces: Pieces, counts: Ints) -> Pieces:
    """Keep so many pieces of each segment, from its start."""
    starts = np.cumsum(pieces.counts) - pieces.counts
    kept_rows = concat_ranges(starts, starts + counts)
    return replace(
        pieces,
        ids=pieces.ids[kept_rows],
        start=pieces.start[kept_rows],
        end=pieces.end[kept_rows],
        counts=counts,
    )
