"""`bert-spacy.Texts.v1`: plain texts as training data, streamed."""

import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from spacy.language import Language
from spacy.training import Example
from spacy.util import registry

from ...data.convert.rows import RowError
from ...errors import Warnings
from ..corpus import TextCorpus


@registry.readers("bert-spacy.Texts.v1")
def create_texts_v1(
    path: Path | list[Path], limit: int = 0
) -> Callable[[Language], Iterator[Example]]:
    """Create a reader of texts without gold, one in memory at a time.

    Lines that are no text are left out with a warning, BW710.

    path (Path | list[Path]): `.txt` files (a text a line), `.jsonl` ("text") and `.spacy`, folders
        of them, or a list of these.
    limit (int): Most texts to read; 0 for all.
    RETURNS (Callable[[Language], Iterator[Example]]): The reader.
    RAISES (ValueError): B670 if a path holds no such file.
    """
    corpus = TextCorpus(path if isinstance(path, list) else [path], _report)

    def read(nlp: Language) -> Iterator[Example]:
        for text in islice(corpus, limit or None):
            doc = nlp.make_doc(text)
            yield Example(doc, doc.copy())

    return read


def _report(problem: RowError) -> None:
    warnings.warn(Warnings.BW710.format(problem=problem), stacklevel=2)
