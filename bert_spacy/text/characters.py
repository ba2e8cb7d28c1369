"""Words as rows of character ids, in the numbering of ELMo."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# Id 0 marks what is masked; bytes follow from 1 on, and these after them.
BEGIN_TEXT, END_TEXT, BEGIN_WORD, END_WORD, PADDING = range(257, 262)


def spell_words(words: Sequence[str], most: int, spare: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Spell words byte by byte, with the marks around each.

    words (Sequence[str]): The words.
    most (int): Most ids in a word, its two marks included; further bytes are left
        out, perhaps in the middle of a character, as ELMo was trained.
    spare (int): Columns of padding that the longest word keeps after it, where `most`
        allows. The widest filter needs as many to see padding alone.
    RETURNS (tuple[Ints, NDArray]): Character ids, shape (N + 2, C): the words, then
        the mark that begins a text and the one that ends it. And whether each
        word was cut, shape (N,).
    """
    room = most - 2
    # A character has one byte at least: no more of them can matter.
    spelled = [word[: room + 1].encode("utf-8", "ignore") for word in words]
    is_cut = np.array([len(word) > room for word in spelled], dtype=bool)
    spelled = [word[:room] for word in spelled] + [b"", b""]
    lengths = np.array([len(word) for word in spelled], dtype=np.int64)
    table = np.full((len(spelled), most), PADDING, dtype=np.int64)
    column = np.arange(most)
    table[(column >= 1) & (column <= lengths[:, None])] = (
        np.frombuffer(b"".join(spelled), dtype=np.uint8).astype(np.int64) + 1
    )
    lengths[-2:] = 1
    table[-2:, 1] = BEGIN_TEXT, END_TEXT
    table[:, 0] = BEGIN_WORD
    table[np.arange(len(table)), lengths + 1] = END_WORD
    return table[:, : int(lengths.max()) + 2 + spare], is_cut
