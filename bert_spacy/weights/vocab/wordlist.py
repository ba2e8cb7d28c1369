"""Read a list of new words, and tell which of them can be added."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...data.convert.rows import RowError
from ...data.convert.text import clean_text, is_broken, read_lines
from ...text.words import is_unspaced
from .folder import Source
from .inside import encode_glued, encode_words

# The limit of BERT's WordPiece, for tokenizers without one of their own.
MAX_CHARACTERS = 100
UNUSED = re.compile(r"^\[unused\d+\]$")


@dataclass(frozen=True)
class NewWord:
    """A word that becomes one piece.

    text (str): As it stands in the list.
    line (int): Its 1-based line.
    piece (str): The new entry of the vocabulary.
    old_ids (list[int]): Its pieces so far.
    is_added (bool): Whether it needs an added token, as it never comes whole to the model
        of the tokenizer.
    is_bound (bool): Whether an added token is matched only between other than letters and
        digits; False in scripts without spaces.
    """

    text: str
    line: int
    piece: str
    old_ids: list[int]
    is_added: bool
    is_bound: bool

    def added_token(self, number: int, kind: str) -> dict[str, Any]:
        """Return the entry of an added token in the JSON of a tokenizer.

        In a WordPiece vocabulary it is matched in normalized text, as other words are.
        Elsewhere it takes the space before it along, which pieces there hold, and
        case counts.
        """
        return {
            "id": number,
            "content": self.piece,
            "single_word": self.is_bound,
            "lstrip": kind != "WordPiece" and self.is_bound,
            "rstrip": False,
            "normalized": kind == "WordPiece",
            "special": False,
        }


@dataclass
class WordList:
    """What a list of words holds.

    words (list[NewWord]): Words to add.
    problems (list[RowError]): Lines that are left out, each with its reason.
    n_lines (int): Lines that are not blank.
    n_blank (int): Blank lines.
    """

    words: list[NewWord] = field(default_factory=list)
    problems: list[RowError] = field(default_factory=list)
    n_lines: int = 0
    n_blank: int = 0


def read_words(path: Path, source: Source) -> WordList:
    """Read one word a line; what cannot be added is told by its line.

    path (Path): The list, UTF-8.
    source (Source): The folder that the words go into.
    RETURNS (WordList): The words and the problems.
    """
    found = WordList()
    seen: dict[str, int] = {}
    for line, text in read_lines(path):
        if not text.strip():
            found.n_blank += 1
            continue
        found.n_lines += 1
        word = _judge(text, line, source, seen)
        if isinstance(word, NewWord):
            found.words.append(word)
            seen[_key(source, word.text)] = line
        else:
            found.problems.append(RowError(str(path), line, word))
    return found


def _judge(text: str, line: int, source: Source, seen: dict[str, int]) -> NewWord | str:
    """Return the word of a line, or why it is left out."""
    if is_broken(text):
        return "not valid UTF-8"
    limit = source.spec["model"].get("max_input_chars_per_word", MAX_CHARACTERS)
    if len(text) > limit:
        return f"{text[:20]!r}... has {len(text)} characters; {limit} are allowed in a word"
    if any(map(str.isspace, text)):
        return f"{text!r} holds white space"
    if clean_text(text).removed:
        return f"{text!r} holds control characters"
    parts = list(_split(source, text))
    if not parts:
        return f"nothing is left of {text!r} in this tokenizer"
    first = seen.get(_key(source, text))
    if first is not None:
        return f"{text!r} is the word of line {first} again"
    glued, _ = encode_glued(source.backend, [text])[0]
    old_ids = glued
    if not is_unspaced(text):
        old_ids, _ = encode_words(source.backend, [text], " ")[0]
    if len(old_ids) == 1 and old_ids[0] != source.unk_id:
        return f"{text!r} is a piece already"
    is_added = source.kind != "WordPiece" or len(parts) > 1
    piece = text if is_added else parts[0]
    return _find_clash(source, piece, glued) or NewWord(
        text, line, piece, old_ids, is_added, not is_unspaced(text)
    )


def _find_clash(source: Source, piece: str, glued: list[int]) -> str:
    """Say why a piece cannot be new; nothing if it can.

    source (Source): The folder.
    piece (str): The piece.
    glued (list[int]): The ids of its word without a space before it.
    RETURNS (str): The reason.
    """
    old = source.pieces.get(piece)
    if piece.startswith(str(source.spec["model"].get("continuing_subword_prefix") or "\0")):
        if old is not None:
            return f"{piece!r} is a piece already, which continues a word"
        return f"{piece!r} begins as the middle of a word does"
    if old is not None and glued == [old]:
        return f"{piece!r} is a piece already, which comes without a space before it"
    if old is not None:
        return f"{piece!r} is an entry already, though the tokenizer never comes to it"
    return ""


def find_cut(source: Source, word: NewWord) -> str:
    """Say what keeps a word from coming out whole.

    source (Source): The folder.
    word (NewWord): The word.
    RETURNS (str): An added token of the folder within the word, or another new word.
    """
    tokens = [token["content"] for token in source.spec["added_tokens"]]
    inner = [token for token in tokens if token in word.text]
    return f"the token {max(inner, key=len)!r}" if inner else "another new word"


def _split(source: Source, text: str) -> Iterator[str]:
    """Yield the parts of a word that the tokenizer looks up, one by one."""
    backend = source.backend
    normal = backend.normalizer.normalize_str(text) if backend.normalizer else text
    if backend.pre_tokenizer is None:
        yield from [normal] if normal else []
        return
    yield from (part for part, _ in backend.pre_tokenizer.pre_tokenize_str(normal))


def _key(source: Source, text: str) -> str:
    return "\0".join(_split(source, text)) if source.kind == "WordPiece" else text


def _spaced(text: str) -> str:
    """Put a word where words stand in a text, behind a space in scripts that have them."""
    return text if is_unspaced(text) else f" {text}"


def comes_whole(source: Source, backend: Any, word: NewWord, number: int) -> bool:
    """Say whether a new tokenizer makes one piece of a word, alone and within a text.

    source (Source): The folder that the word goes into.
    backend (Tokenizer): The new tokenizer.
    word (NewWord): The word.
    number (int): Its id.
    """
    alone = backend.encode(word.text, add_special_tokens=False).ids
    inside = backend.encode(f"({_spaced(word.text)})", add_special_tokens=False).ids
    return alone == [number] and inside.count(number) == 1
