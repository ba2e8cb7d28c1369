"""Where words end, in scripts that put spaces between them."""

# Scripts without spaces between words, by code point: Thai and Lao, Burmese,
# Khmer, and everything from the CJK radicals on but Hangul.
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0xABFF))
_LATE_UNSPACED = 0xD7B0


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen a span that begins or ends inside a word to the whole word.

    Pieces may split words, so an answer made of pieces could begin in the middle
    of one. Words are runs of letters and digits in scripts with spaces; Chinese
    characters stand for themselves.

    text (str): The text.
    start (int): First character of the span.
    end (int): One past its last character.
    RETURNS (tuple[int, int]): Start and end, perhaps moved outwards.
    """
    while 0 < start < end and _joins(text[start - 1]) and _joins(text[start]):
        start -= 1
    while start < end < len(text) and _joins(text[end - 1]) and _joins(text[end]):
        end += 1
    return start, end


def is_unspaced(word: str) -> bool:
    """Say whether a word has letters of a script that puts no spaces between words."""
    return any(character.isalnum() and not _joins(character) for character in word)


def _joins(character: str) -> bool:
    code = ord(character)
    if code >= _LATE_UNSPACED or any(low <= code <= high for low, high in _UNSPACED):
        return False
    return character.isalnum()
