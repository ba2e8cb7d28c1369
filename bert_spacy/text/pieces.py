"""From texts to pieces with character offsets, and from windows to model input."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Template:
    """Special pieces around the texts of a window, and their type ids.

    prefix (Ints): Before the first text, such as [CLS].
    infix (Ints): Between two texts.
    suffix (Ints): After the last text.
    types (tuple[int, int]): Type id of the earlier texts and of the last of
        several; special pieces take that of the text they close.
    cls_index (int): Position of the piece that stands for the window, counted
        from the end if negative.
    """

    prefix: Ints
    infix: Ints
    suffix: Ints
    types: tuple[int, int]
    cls_index: int

    def count(self, n_texts: Ints) -> Ints:
        """Return how many special pieces a window with so many texts needs."""
        return len(self.prefix) + len(self.infix) * (n_texts - 1) + len(self.suffix)


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

    A text that comes several times, such as the context of many questions, is
    tokenized once.

    tokenizer (PreTrainedTokenizerFast): A Hugging Face fast tokenizer.
    texts (Sequence[str]): The texts.
    RETURNS (Pieces): Their pieces, with offsets that ascend within each text.
    """
    number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    pieces = _encode_each(tokenizer.backend_tokenizer, list(number))
    if len(number) == len(texts):
        return pieces
    chosen = np.array([number[text] for text in texts])
    counts = pieces.counts[chosen]
    first = (np.cumsum(pieces.counts) - pieces.counts)[chosen]
    rows = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    return Pieces(pieces.ids[rows], pieces.start[rows], pieces.end[rows], counts)


def _encode_each(backend: Any, texts: list[str]) -> Pieces:
    # A call of the tokenizer by anyone leaves its truncation and padding set.
    backend.no_truncation()
    backend.no_padding()
    encodings = backend.encode_batch(texts, add_special_tokens=False) if texts else []
    counts = np.array([len(e) for e in encodings], dtype=np.int64)
    # One flat iterator: an array for each text would cost more than all numbers in it.
    total = int(counts.sum())
    ids = np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int64, total)
    ends = chain.from_iterable(chain.from_iterable(e.offsets for e in encodings))
    offsets = np.fromiter(ends, np.int64, 2 * total).reshape(-1, 2)
    # A piece made from nothing may point backwards; the order must ascend. With
    # all texts on one line, no text changes the next.
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    base = np.repeat(np.cumsum(lengths) - lengths, counts)
    start = np.maximum.accumulate(offsets[:, 0] + base) - base
    end = np.maximum.accumulate(offsets[:, 1] + base) - base
    return Pieces(ids, start, end, counts)


def shorten_pairs(counts: Ints, most: Ints) -> Ints:
    """Shorten pairs piece by piece, always the longer text, and of equal ones the second.

    counts (Ints): Pieces of both texts of each pair. Shape (N, 2).
    most (Ints): Pieces allowed in each pair. Shape (N,).
    RETURNS (Ints): Pieces to keep of both texts; all of a pair that fits. Shape (N, 2).

    SOURCE: `_truncate_seq_pair` in run_classifier.py of google-research/bert.
    """
    first = np.minimum(counts[:, 0], np.maximum(most - most // 2, most - counts[:, 1]))
    return np.stack((first, np.minimum(counts[:, 1], most - first)), axis=1)


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
