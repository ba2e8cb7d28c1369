"""`bert-spacy.Corpus.v1`: one reader for every task."""

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry

from ..errors import Errors
from ..segments import write_segments
from ..types import SEGMENTS
from .docbin import find_docbins, read_docbin
from .pairs import get_segments


@registry.readers("bert-spacy.Corpus.v1")
def create_corpus_v1(
    path: Path | list[Path] | None,
    limit: int = 0,
    shuffle: bool = False,
    gold_tokens: bool = False,
    seed: int = 0,
) -> Callable[[Language], Iterator[Example]]:
    """Create a reader of `.spacy` files.

    path (Path | list[Path] | None): A file, a folder of shards, or a list of both;
        the Docs of several tasks may stand side by side. None stands in configs whose paths
        are given on the command line.
    limit (int): Most Docs to read; 0 for all.
    shuffle (bool): Shuffle the order of shards, and of Docs within each.
    gold_tokens (bool): Predict on the gold tokens, where the text would allow
        to make new ones.
    seed (int): Seed of the shuffling.
    RETURNS (Callable[[Language], Iterator[Example]]): The reader.
    RAISES (ValueError): B419 if there is no path.
    """
    if path is None:
        raise ValueError(Errors.B419)
    paths = path if isinstance(path, list) else [path]
    return Corpus(paths, limit=limit, shuffle=shuffle, gold_tokens=gold_tokens, seed=seed)


class Corpus:
    """Stream Examples from `.spacy` files, one shard in memory at a time.

    Segments are marked on the predicted Doc as on the reference; gold is not.

    paths (list[Path]): Files and folders.
    limit, shuffle, gold_tokens, seed: See `create_corpus_v1`.
    """

    def __init__(
        self,
        paths: list[Path],
        *,
        limit: int = 0,
        shuffle: bool = False,
        gold_tokens: bool = False,
        seed: int = 0,
    ):
        self.paths = paths
        self.limit = limit
        self.shuffle = shuffle
        self.gold_tokens = gold_tokens
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Yield the examples.

        nlp (Language): The pipeline whose tokenizer makes the predicted Docs.
        YIELDS (Example): In file order, or shuffled shard by shard.
        RAISES (ValueError): B413 if there is no `.spacy` file; B414 if one is damaged; B424 if
            no file holds a Doc.
        """
        shards = self.find_shards()
        if self.shuffle:
            self._random.shuffle(shards)
        n = 0
        for shard in shards:
            docs: Iterable[Doc] = read_docbin(shard, nlp.vocab)
            if self.shuffle:
                docs = list(docs)
                self._random.shuffle(docs)
            for reference in docs:
                if self.limit and n >= self.limit:
                    return
                n += 1
                yield make_example(nlp, reference, gold_tokens=self.gold_tokens)
        if n == 0:
            raise ValueError(Errors.B424.format(paths=", ".join(map(str, self.paths))))

    def find_shards(self) -> list[Path]:
        """Return all files, those of a folder in the order of their names.

        RAISES (ValueError): B413 if there is none in a path.
        """
        return [file_ for path in map(Path, self.paths) for file_ in find_docbins(path)]


def make_example(nlp: Language, reference: Doc, *, gold_tokens: bool = False) -> Example:
    """Make an Example of a gold Doc and the Doc to predict on, which has no gold.

    nlp (Language): Its tokenizer is used.
    reference (Doc): The gold Doc. Its segments are marked on the other Doc too.
    gold_tokens (bool): Keep the gold tokens, as is done where their text is not known because
        their spaces are not.
    RETURNS (Example): The Example.
    """
    if gold_tokens or reference.has_unknown_spaces:
        words = [token.text for token in reference]
        spaces = [bool(token.whitespace_) for token in reference]
        predicted = Doc(nlp.vocab, words=words, spaces=spaces)
        if SEGMENTS in reference.spans:
            spans = get_segments(reference)
            write_segments(predicted, [len(s) for s in spans], [s.label_ for s in spans])
        return Example(predicted, reference)
    if SEGMENTS not in reference.spans:
        return Example(nlp.make_doc(reference.text), reference)
    segments = get_segments(reference)
    edges = [s.start_char for s in segments if len(s)][1:] + [len(reference.text)]
    parts: list[Doc] = []
    at = 0
    for segment in segments:
        # White space after a segment belongs to it, as it did when joined.
        n_filled = sum(1 for part in parts if len(part))
        stop = edges[n_filled] if len(segment) else at
        parts.append(nlp.make_doc(reference.text[at:stop]) if stop > at else Doc(nlp.vocab))
        at = stop
    filled = [part for part in parts if len(part)]
    predicted = Doc.from_docs(filled, ensure_whitespace=False) if filled else Doc(nlp.vocab)
    write_segments(predicted, [len(p) for p in parts], [s.label_ for s in segments])
    return Example(predicted, reference)
