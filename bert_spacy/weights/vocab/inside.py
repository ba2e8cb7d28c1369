"""Pieces of words as they come within a text, behind white space or without it."""

from collections.abc import Sequence

from tokenizers import Encoding, Tokenizer

from ...text.words import is_unspaced

# Pieces that hold nothing but the space before a word.
_LONE_SPACES = ("\u2581", "\u0120")


def encode_words(
    backend: Tokenizer, words: Sequence[str], lead: str = ""
) -> list[tuple[list[int], list[str]]]:
    """Tokenize words as at the start of a text, or behind white space.

    In scripts without spaces a word is no longer with a space before it, so that a piece of
    the space alone does not count.

    backend (Tokenizer): The tokenizer.
    words (Sequence[str]): The words.
    lead (str): White space before each; without it, the word begins a text.
    RETURNS (list[tuple[list[int], list[str]]]): The ids and the pieces of each word.
    """
    found = backend.encode_batch([lead + word for word in words], add_special_tokens=False)
    return [
        _without_space(e) if is_unspaced(w) else (e.ids, e.tokens) for w, e in zip(words, found)
    ]


def encode_glued(backend: Tokenizer, words: Sequence[str]) -> list[tuple[list[int], list[str]]]:
    """Tokenize words as within a text, right behind another word or mark.

    backend (Tokenizer): The tokenizer.
    words (Sequence[str]): The words.
    RETURNS (list[tuple[list[int], list[str]]]): The ids and the pieces of each word.
    """
    # A neighbour of another kind, from which pre-tokenizers tell the word apart.
    texts = [("(" if word[0].isalnum() else "a") + word for word in words]
    found = []
    for word, encoding in zip(words, backend.encode_batch(texts, add_special_tokens=False)):
        n_before = sum(end <= 1 for _, end in encoding.offsets)
        starts = [start for start, _ in encoding.offsets[n_before:]]
        if starts and starts[0] == 1:
            found.append((encoding.ids[n_before:], encoding.tokens[n_before:]))
        else:  # Both share a piece, so that they cannot be told apart.
            found.append(_without_space(backend.encode(word, add_special_tokens=False)))
    return found


def _without_space(encoding: Encoding) -> tuple[list[int], list[str]]:
    first = int(len(encoding.tokens) > 1 and encoding.tokens[0] in _LONE_SPACES)
    return encoding.ids[first:], encoding.tokens[first:]
