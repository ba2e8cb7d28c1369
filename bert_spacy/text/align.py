"""Token-to-piece alignment by character offsets, vectorised over a batch."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def align_tokens(
    token_start: Ints, token_end: Ints, piece_start: Ints, piece_end: Ints
) -> tuple[Ints, Ints]:
    """Find the pieces that overlap each token.

    Offsets are characters of one running text: callers who align many texts at
    once shift each by its own base. A token may have many pieces or none (white
    space), and several tokens may share a piece.

    token_start (Ints): First character of each token, ascending. Shape (T,).
    token_end (Ints): One past its last character. Shape (T,).
    piece_start (Ints): First character of each piece, ascending. Shape (P,).
    piece_end (Ints): One past its last character, ascending. Shape (P,).
    RETURNS (tuple[Ints, Ints]): `starts`, shape (T + 1,), and `rows`, such that
        token t has the pieces rows[starts[t]:starts[t + 1]].
    """
    low = np.searchsorted(piece_end, token_start, side="right")
    high = np.searchsorted(piece_start, token_end, side="left")
    counts = np.where(token_end > token_start, np.maximum(high - low, 0), 0)
    starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    shift = np.repeat(low - starts[:-1], counts)
    return starts, (np.arange(starts[-1], dtype=np.int64) + shift)
