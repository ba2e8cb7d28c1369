"""Which pieces a corpus needs, and a tokenizer with these alone."""

import copy
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Errors
from ...text.pieces import encode_texts
from ..corpus import TextCorpus
from .analyze import in_batches
from .folder import Source

KINDS = ("WordPiece", "BPE", "Unigram")
_BYTE = re.compile(r"^<0x[0-9A-F]{2}>$")
_SPACE_MARKS = "\u2581\u0120"  # of SentencePiece and of byte-level BPE


class Usage:
    """How often each piece comes in a corpus.

    counts (NDArray): By id. Shape (number of ids,).
    unknown (Counter): Stretches of text that became the unknown piece.
    """

    def __init__(self, source: Source, corpus: TextCorpus):
        size = max(source.pieces.values()) + 1
        self.counts: NDArray[np.int64] = np.zeros(size, dtype=np.int64)
        self.unknown: Counter[str] = Counter()
        for texts in in_batches(corpus):
            pieces = encode_texts(source.outline.tokenizer, texts)
            self.counts += np.bincount(pieces.ids, minlength=size)
            owners = np.repeat(np.arange(len(texts)), pieces.counts)
            for i in np.flatnonzero(pieces.ids == source.unk_id):
                self.unknown[texts[owners[i]][pieces.start[i] : pieces.end[i]]] += 1


def choose_ids(source: Source, usage: Usage, min_count: int) -> list[int]:
    """List the ids to keep, in order.

    Kept are pieces that come often enough; special and other added tokens; pieces that
    config.json names; single characters and bytes that the tokenizer can come to; and what
    the tokenizer needs to come to all these in the same way as before.

    source (Source): The folder.
    usage (Usage): Counts of its pieces.
    min_count (int): How often a piece must come to be kept.
    RETURNS (list[int]): The ids, ascending.
    RAISES (ValueError): B673 for another kind of tokenizer.
    """
    if source.kind not in KINDS:
        raise ValueError(
            Errors.B673.format(kind=source.kind, what="pruning", allowed=", ".join(KINDS))
        )
    pieces = source.pieces
    seen = {number for number in pieces.values() if usage.counts[number] >= min_count}
    kept = seen | {token["id"] for token in source.spec["added_tokens"]} | {source.unk_id}
    config = source.outline.model.config.to_dict()
    kept |= {v for k, v in config.items() if k.endswith("_token_id") and isinstance(v, int)}
    kept |= {number for piece, number in pieces.items() if _is_core(source, piece)}
    # RoBERTa and its kin count positions from the id of the padding piece.
    embeddings = getattr(source.outline.model, "embeddings", None)
    padding = getattr(embeddings, "padding_idx", None)
    kept |= set(range(padding + 1)) if padding is not None else set()
    if source.kind == "WordPiece":
        kept |= _paths_to_unknown(source, usage.unknown)
        kept |= _without_characters(source, usage.counts)
    elif source.kind == "BPE":
        kept = _with_parts(source, kept)
    else:
        # An unknown character costs a fixed sum more than the rarest piece.
        vocab = source.spec["model"]["vocab"]
        kept.add(min(range(len(vocab)), key=lambda number: vocab[number][1]))
    return sorted(kept & set(pieces.values()))


def make_spec(source: Source, kept: list[int]) -> dict[str, Any]:
    """Return the tokenizer with some pieces alone, numbered from 0 in the same order.

    source (Source): The folder.
    kept (list[int]): The old ids, ascending.
    RETURNS (dict[str, Any]): The new tokenizer.
    """
    new_ids = {old: new for new, old in enumerate(kept)}
    spec = copy.deepcopy(source.spec)
    model = spec["model"]
    if source.kind == "Unigram":
        model["vocab"] = [row for i, row in enumerate(model["vocab"]) if i in new_ids]
        if model.get("unk_id") is not None:
            model["unk_id"] = new_ids[model["unk_id"]]
    else:
        vocab = sorted(model["vocab"].items(), key=lambda item: item[1])
        model["vocab"] = {piece: new_ids[n] for piece, n in vocab if n in new_ids}
    if source.kind == "BPE":
        model["merges"] = [
            merge
            for merge in model["merges"]
            if {*_parts(merge), _merged(source, merge)} <= model["vocab"].keys()
        ]
    for token in spec["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    _renumber(spec.get("post_processor"), new_ids)
    return spec


def _is_core(source: Source, piece: str) -> bool:
    """Say whether a piece is one character or byte that may come in some text."""
    if _BYTE.match(piece):
        return True
    inner = piece.removeprefix(_prefix(source))
    if source.kind == "BPE":
        inner = inner.removesuffix(source.spec["model"].get("end_of_word_suffix") or "")
    if source.kind != "WordPiece" or inner == piece:
        return len(inner) == 1 or (len(inner) == 2 and inner[0] in _SPACE_MARKS)
    # A character that always stands alone, as Chinese ones do, never continues a word.
    return len(inner) == 1 and len(_split(source, f"a{inner}")) == 1


def _split(source: Source, text: str) -> list[str]:
    """Return the words that WordPiece gets of a text."""
    backend = source.backend
    text = backend.normalizer.normalize_str(text) if backend.normalizer is not None else text
    if backend.pre_tokenizer is None:
        return [text]
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]


def _paths_to_unknown(source: Source, stretches: Iterable[str]) -> set[int]:
    """Return the pieces that lead to where WordPiece gives a word up.

    Without them it might take a shorter piece, go on, and no longer find the word unknown.
    """
    model = source.spec["model"]
    vocab, prefix = model["vocab"], model["continuing_subword_prefix"]
    found: set[int] = set()
    for word in {word for stretch in stretches for word in _split(source, stretch)}:
        if len(word) > model["max_input_chars_per_word"]:
            continue
        start = 0
        while start < len(word):
            lead = prefix if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if lead + word[start:end] in vocab), None)
            if end is None:
                break
            found.add(vocab[lead + word[start:end]])
            start = end
    return found


def _without_characters(source: Source, counts: NDArray[np.int64]) -> set[int]:
    """Return pieces of the corpus with a character that has no piece of its own.

    However rare, their words would be unknown without them.
    """
    model = source.spec["model"]
    vocab, prefix = model["vocab"], model["continuing_subword_prefix"]
    found = set()
    for piece, number in vocab.items():
        if not counts[number]:
            continue
        is_start = not piece.startswith(prefix)
        inner = piece.removeprefix(prefix)
        names = [inner[:1] if is_start else prefix + inner[:1], *(prefix + x for x in inner[1:])]
        if any(name not in vocab for name in names):
            found.add(number)
    return found


def _with_parts(source: Source, kept: set[int]) -> set[int]:
    """Add the pieces that kept ones are merged from, and those that these are."""
    vocab = source.spec["model"]["vocab"]
    makers: dict[str, list[tuple[str, str]]] = {}
    for merge in source.spec["model"]["merges"]:
        makers.setdefault(_merged(source, merge), []).append(_parts(merge))
    names = {number: piece for piece, number in vocab.items()}
    todo = [names[number] for number in kept if number in names]
    found = set(kept)
    while todo:
        for part in (part for pair in makers.get(todo.pop(), []) for part in pair):
            if vocab[part] not in found:
                found.add(vocab[part])
                todo.append(part)
    return found


def _parts(merge: str | list[str]) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _merged(source: Source, merge: str | list[str]) -> str:
    """Return the piece that a merge makes, in whose middle no prefix stands."""
    left, right = _parts(merge)
    return left + right.removeprefix(_prefix(source))


def _prefix(source: Source) -> str:
    """Return what marks pieces in the middle of words, perhaps nothing."""
    return source.spec["model"].get("continuing_subword_prefix") or ""


def _renumber(part: Any, new_ids: dict[int, int]) -> None:
    """Put new ids into the part of a tokenizer that lays special pieces around texts."""
    if isinstance(part, list):
        for item in part:
            _renumber(item, new_ids)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "ids":
                part[key] = [new_ids[number] for number in value]
            elif key in ("sep", "cls") and isinstance(value, list):
                part[key] = [value[0], new_ids[value[1]]]
            else:
                _renumber(value, new_ids)
