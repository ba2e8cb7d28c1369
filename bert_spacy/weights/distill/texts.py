"""`bert-spacy.Texts.v1`: plain texts as training data, streamed."""

from collections.abc import Callable, Iterator
from pathlib import Path

from spacy.language import Language
from spacy.training import Example
from spacy.util import registry

from ..vocab.corpus import TextCorpus


@registry.readers("bert-spacy.Texts.v1")
def create_texts_v1(
    path: Path | list[Path], limit: int = 0
) -> Callable[[Language], Iterator[Example]]:
    """Create a reader of texts without gold, one in memory at a time.

    path (Path | list[Path]): `.txt` files (a text a line), `.jsonl` ("text") and `.spacy`, folders
        of them, or a list of these.
    limit (int): Most texts to read; 0 for all.
    RETURNS (Callable[[Language], Iterator[Example]]): The reader.
    RAISES (ValueError): B670 if a path holds no such file.
    """
    corpus = TextCorpus(path if isinstance(path, list) else [path])

    def read(nlp: Language) -> Iterator[Example]:
        for n, text in enumerate(corpus):
            if limit and n >= limit:
                return
            doc = nlp.make_doc(text)
            yield Example(doc, doc.copy())

    return read
