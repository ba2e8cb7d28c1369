"""From texts to pieces with character offsets, and from windows to model input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Template:
    """Special pieces around the segments of a window, and their type ids.

    prefix (Ints): Before the first segment, such as [CLS].
    infix (Ints): Between two segments.
    suffix (Ints): After the last segment.
    types (tuple[int, int]): Type id of the earlier segments and of the last of
        several; special pieces take that of the segment they close.
    cls_index (int): Position of the piece that stands for the window, counted
        from the end if negative.
    """

    prefix: Ints
    infix: Ints
    suffix: Ints
    types: tuple[int, int]
    cls_index: int

    def count(self, n_segments: Ints) -> Ints:
        """Return how many special pieces a window with so many segments needs."""
        return len(self.prefix) + len(self.infix) * (n_segments - 1) + len(self.suffix)


def read_template(tokenizer: Any) -> Template:
    """Learn the special pieces of a tokenizer from what it makes of a pair.

    tokenizer (PreTrainedTokenizerFast): A Hugging Face fast tokenizer.
    RETURNS (Template): Its special pieces.
    """
    encoding = tokenizer("a", "a").encodings[0]
    segment = np.array([-1 if s is None else s for s in encoding.sequence_ids])
    ids, types = np.array(encoding.ids, dtype=np.int64), np.array(encoding.type_ids)
    first, second = np.flatnonzero(segment == 0), np.flatnonzero(segment == 1)
    prefix = ids[: first[0]]
    return Template(
        prefix=prefix,
        infix=ids[first[-1] + 1 : second[0]],
        suffix=ids[second[-1] + 1 :],
        types=(int(types[first[0]]), int(types[second[0]])),
        cls_index=0 if len(prefix) else -1,
    )


@dataclass(frozen=True)
class Pieces:
    """Pieces of many texts, one after the other.

    ids (Ints): Vocabulary ids. Shape (P,).
    start (Ints): First character of each piece in its text. Shape (P,).
    end (Ints): One past its last character. Shape (P,).
    counts (Ints): Pieces per text.
    """

    ids: Ints
    start: Ints
    end: Ints
    counts: Ints


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> Pieces:
    """Tokenize texts with no special pieces, no padding and no truncation.

    tokenizer (PreTrainedTokenizerFast): A Hugging Face fast tokenizer.
    texts (Sequence[str]): The texts.
    RETURNS (Pieces): Their pieces, with offsets that ascend within each text.
    """
    backend = tokenizer.backend_tokenizer
    encodings = backend.encode_batch(list(texts), add_special_tokens=False) if len(texts) else []
    counts = np.array([len(e) for e in encodings], dtype=np.int64)
    ids = np.concatenate([np.array(e.ids, dtype=np.int64) for e in encodings] or [_EMPTY])
    pairs = [np.array(e.offsets, dtype=np.int64).reshape(-1, 2) for e in encodings]
    # A piece made from nothing may point backwards; the order must ascend.
    start = np.concatenate([np.maximum.accumulate(p[:, 0]) for p in pairs if len(p)] or [_EMPTY])
    end = np.concatenate([np.maximum.accumulate(p[:, 1]) for p in pairs if len(p)] or [_EMPTY])
    return Pieces(ids, start, end, counts)


_EMPTY = np.zeros(0, dtype=np.int64)


def shorten(lengths: Sequence[int], most: int) -> list[int]:
    """Shorten the longest of several segments until together they fit.

    lengths (Sequence[int]): Pieces per segment.
    most (int): Pieces allowed in all.
    RETURNS (list[int]): Pieces to keep per segment.
    """
    kept = list(lengths)
    while sum(kept) > most:
        longest = max(range(len(kept)), key=kept.__getitem__)
        others = [n for i, n in enumerate(kept) if i != longest]
        goal = max([most - sum(others), max(others, default=0), 0])
        kept[longest] = max(min(kept[longest] - 1, goal), 0)
    return kept
