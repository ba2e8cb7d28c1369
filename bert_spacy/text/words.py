"""Where words end, in scripts that put spaces between them."""

import re
import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# A Chinese character.
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")

# Scripts without spaces between words, by code point: Thai and Lao, Burmese,
# Khmer, and everything from the CJK radicals on but Hangul and full-width Latin.
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0xABFF))
_LATE_UNSPACED = 0xD7B0
_FULL_WIDTH = (0xFF10, 0xFF5A)


def whole_words(text: str) -> tuple[Ints, Ints]:
    """Find where an answer begins and ends that is widened to whole words.

    Pieces may split words, so an answer made of pieces could begin in the middle
    of one. Words are runs of letters and digits in scripts with spaces; Chinese
    characters stand for themselves. White space at either side is no part of it.

    text (str): The text.
    RETURNS (tuple[Ints, Ints]): For each character, where an answer begins that
        begins with it, and one past where an answer ends that ends with it; both
        ascend. Shape (len(text),).
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    kinds, which = np.unique(codes, return_inverse=True)
    characters = [chr(code) for code in kinds]
    joins = np.array([_joins(x) for x in characters], dtype=bool)[which]
    solid = ~np.array([x.isspace() for x in characters], dtype=bool)[which]
    at = np.arange(len(text))
    # Whether a character and the next one are of one word.
    inside = joins[:-1] & joins[1:]
    first = _last_true(np.concatenate(([True], ~inside))[: len(text)], at)
    last = _next_true(np.concatenate((~inside, [True]))[: len(text)], at)
    start = _next_true(solid, at)[first]
    end = _last_true(solid, at)[last] + 1
    return start, end


def is_unspaced(word: str) -> bool:
    """Say whether a word has letters of a script that puts no spaces between words."""
    return any(character.isalnum() and not _joins(character) for character in word)


def _last_true(mask: NDArray[np.bool_], at: Ints) -> Ints:
    """Return for each place the last one up to it that is marked, -1 without any."""
    return np.maximum.accumulate(np.where(mask, at, -1))


def _next_true(mask: NDArray[np.bool_], at: Ints) -> Ints:
    """Return for each place the next one from it on that is marked, the length without any."""
    return np.minimum.accumulate(np.where(mask, at, len(at))[::-1])[::-1]


@lru_cache(maxsize=4096)
def _joins(character: str) -> bool:
    code = ord(character)
    is_wide_latin = _FULL_WIDTH[0] <= code <= _FULL_WIDTH[1]
    is_late = code >= _LATE_UNSPACED and not is_wide_latin
    if is_late or any(low <= code <= high for low, high in _UNSPACED):
        return False
    # Vowel signs and accents of their own belong to the letter before them.
    return character.isalnum() or unicodedata.category(character) in ("Mn", "Mc", "Me")
