"""Cut a corpus to pieces once, into flat files that all processes read in any order."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from tqdm import tqdm

from ...text.pieces import Ints, encode_texts
from ...util import atomic_dir
from ..corpus import TextCorpus

# Texts that are cut together.
BATCH = 256
# A piece is four bytes; its word start is the topmost bit, as no vocabulary is so large.
_START = np.uint32(1 << 31)


@dataclass(frozen=True)
class Pieces:
    """The pieces of all documents, one after the other, on disk.

    codes (NDArray): Ids, with the topmost bit set where a word starts. Shape (P,).
    sentences (Ints): First piece of each sentence, and the end. Shape (S + 1,).
    documents (Ints): First sentence of each document, and the end. Shape (D + 1,).
    """

    codes: NDArray[np.uint32]
    sentences: Ints
    documents: Ints

    @property
    def n_documents(self) -> int:
        """Number of documents."""
        return len(self.documents) - 1

    def read(self, rows: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return the ids of some pieces, and whether words start at them."""
        codes = self.codes[rows]
        return (codes & ~_START).astype(np.int64), (codes & _START) > 0


def open_pieces(folder: Path) -> Pieces:
    """Map the files of one part of a prepared corpus into memory."""
    codes_file = folder / "codes.bin"
    codes: NDArray[np.uint32] = np.zeros(0, dtype=np.uint32)
    if codes_file.stat().st_size:  # nothing cannot be mapped
        codes = np.memmap(codes_file, dtype=np.uint32, mode="r")
    sentences, documents = (
        np.append(0, np.cumsum(np.fromfile(folder / f"{name}.bin", dtype=np.int64)))
        for name in ("sentences", "documents")
    )
    return Pieces(codes, sentences, documents)


def prepare(
    tokenizer: Any,
    parts: dict[str, TextCorpus],
    folder: Path,
    *,
    nlp: Language | None = None,
    share: float = 0.0,
) -> dict[str, Any]:
    """Stream a corpus through the tokenizer into a folder.

    tokenizer (PreTrainedTokenizerFast): The tokenizer.
    parts (dict[str, TextCorpus]): The corpora "train" and perhaps "dev".
    folder (Path): The new folder, complete when it has its name.
    nlp (Language | None): For words and sentences; without it each piece starts a word,
        and a line is a sentence.
    share (float): Share of the documents of "train" to hold out as "dev" where that is
        no corpus of its own: every so many there is one.
    RETURNS (dict[str, Any]): What was read, by part.
    """
    every = 0 if "dev" in parts else held_out_every(share)
    facts: dict[str, Any] = {}
    continuing = _find_continuing(tokenizer, nlp)
    with atomic_dir(folder) as new:
        writers = {name: _Writer(new / name) for name in ("train", "dev")}
        number = 0
        for name, corpus in parts.items():
            for texts in _in_batches(
                tqdm(corpus, desc=f"Reading {name}", unit=" texts", disable=None)
            ):
                for document in _cut(tokenizer, texts, nlp, continuing):
                    held_out = every and number % every == every - 1
                    writers["dev" if held_out else name].write(document)
                    number += 1
            facts[name] = asdict(corpus.counts)
        for name, writer in writers.items():
            writer.close()
            facts.setdefault(name, {}).update(writer.facts)
        (new / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    return facts


def held_out_every(share: float) -> int:
    """Return of how many documents one is held out, for a share of them."""
    return round(1 / share)


@dataclass(frozen=True)
class _Document:
    codes: NDArray[np.uint32]
    sentences: Ints  # pieces of each


class _Writer:
    """Appends documents to the files of one part."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.files: dict[str, IO[bytes]] = {
            name: (folder / f"{name}.bin").open("wb")
            for name in ("codes", "sentences", "documents")
        }
        self.facts = {"documents": 0, "sentences": 0, "pieces": 0, "without_pieces": 0}

    def write(self, document: _Document) -> None:
        n = len(document.sentences)
        if not n:
            self.facts["without_pieces"] += 1
            return
        self.files["codes"].write(document.codes.tobytes())
        self.files["sentences"].write(document.sentences.astype(np.int64).tobytes())
        self.files["documents"].write(np.int64(n).tobytes())
        self.facts["documents"] += 1
        self.facts["sentences"] += n
        self.facts["pieces"] += len(document.codes)

    def close(self) -> None:
        for file_ in self.files.values():
            file_.close()


def _in_batches(texts: Any) -> Iterator[list[str]]:
    remaining = iter(texts)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _cut(
    tokenizer: Any, texts: Sequence[str], nlp: Language | None, continuing: NDArray[np.bool_] | None
) -> Iterator[_Document]:
    """Cut texts to pieces, words and sentences. Each line is cut by itself."""
    lines: list[str] = []
    n_lines = []
    for text in texts:
        new = [line for line in text.split("\n") if line.strip()]
        lines += new
        n_lines.append(len(new))
    pieces = encode_texts(tokenizer, lines)
    n_pieces = len(pieces.ids)
    line_of = np.repeat(np.arange(len(lines)), pieces.counts)
    if nlp is None:
        word_starts = np.ones(n_pieces, dtype=bool)
        sentence_of = line_of
    else:
        word_of, sentence_of = _find_words(nlp, lines, line_of, pieces.start)
        word_starts = np.append(True, word_of[1:] != word_of[:-1])[:n_pieces]
        if continuing is not None:
            word_starts &= ~continuing[pieces.ids]
    codes = pieces.ids.astype(np.uint32) | np.where(word_starts, _START, np.uint32(0))
    first = np.flatnonzero(np.append(True, sentence_of[1:] != sentence_of[:-1])[:n_pieces])
    sizes = np.diff(np.append(first, n_pieces))
    text_of_line = np.repeat(np.arange(len(texts)), n_lines)
    counts = np.bincount(text_of_line[line_of[first]], minlength=len(texts))
    ends = np.cumsum(counts)
    piece_ends = np.append(0, np.cumsum(sizes))
    for end, count in zip(ends.tolist(), counts.tolist()):
        yield _Document(codes[piece_ends[end - count] : piece_ends[end]], sizes[end - count : end])


def _find_continuing(tokenizer: Any, nlp: Language | None) -> NDArray[np.bool_] | None:
    """Say of each piece of the vocabulary whether it goes on with a word, as "##ing" does.

    None unless tokens are characters: each of "iphone13" is one, and "##13" goes with "iphone" all
    the same. Other tokenizers know words better: BERT's is blind to them in Thai, say.
    """
    if nlp is None or getattr(nlp.tokenizer, "segmenter", None) != "char":
        return None
    prefix = getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None)
    vocabulary = tokenizer.get_vocab()
    found = np.zeros(max(vocabulary.values()) + 1, dtype=bool)
    if prefix:
        found[[id_ for piece, id_ in vocabulary.items() if piece.startswith(prefix)]] = True
    return found


def _find_words(
    nlp: Language, lines: Sequence[str], line_of: Ints, starts: Ints
) -> tuple[Ints, Ints]:
    """Return the token and the sentence of each piece, numbered over all lines."""
    lengths = np.array([len(line) for line in lines], dtype=np.int64)
    base = np.cumsum(lengths) - lengths
    offsets, sentence_starts = [], []
    for line_base, doc in zip(base.tolist(), nlp.pipe(lines)):
        array = doc.to_array(["IDX", "SENT_START"]).astype(np.int64).reshape(-1, 2)
        offsets.append(array[:, 0] + line_base)
        flags = array[:, 1] == 1
        flags[:1] = True
        sentence_starts.append(flags)
    token_at = np.concatenate(offsets) if offsets else np.zeros(0, dtype=np.int64)
    flags = np.concatenate(sentence_starts) if sentence_starts else np.zeros(0, dtype=bool)
    # The piece of an accent of its own may start a character after its token does, not before.
    word_of = np.searchsorted(token_at, starts + base[line_of], side="right") - 1
    return word_of, np.cumsum(flags)[word_of]
