"""Write and read `.spacy` files: whole or not at all, in shards if wanted."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from ..errors import Errors
from ..util import atomic_dir, atomic_file, remove_unfinished

SUFFIX = ".spacy"
SHARD_NAME = "part-{number:05d}.spacy"
# Beside the words, spaces, categories and span groups that DocBin always keeps.
ATTRS = ("ENT_IOB", "ENT_TYPE", "SENT_START")


def write_docbin(docs: Iterable[Doc], path: Path, shard_size: int | None = None) -> list[Path]:
    """Write Docs to a `.spacy` file, or to a folder of them.

    docs (Iterable[Doc]): The Docs; they are consumed one by one.
    path (Path): The file, which must end in .spacy; with `shard_size` the folder.
        What stands there is replaced once everything is written; if there is no
        Doc, or `docs` raises, it stays as it is.
    shard_size (int): Docs per file; None for one file.
    RETURNS (list[Path]): The files written.
    RAISES (ValueError): B411 for a path that cannot be written so; B412 if there
        is no Doc.
    """
    path = Path(path)
    check_output(path, shard_size)
    remaining = iter(docs)
    first = next(remaining, None)
    if first is None:
        raise ValueError(Errors.B412.format(path=path))
    remaining = chain([first], remaining)
    if shard_size is None:
        _write_file(remaining, path)
        return [path]
    names: list[str] = []
    remove_unfinished(path)
    with atomic_dir(path) as folder:
        while shard := list(islice(remaining, shard_size)):
            names.append(SHARD_NAME.format(number=len(names)))
            _write_file(shard, folder / names[-1])
    return [path / name for name in names]


def check_output(path: Path, shard_size: int | None) -> None:
    """Raise if `write_docbin` could not write there.

    path (Path): The file or folder to write.
    shard_size (int): Docs per file, or None.
    RAISES (ValueError): B411 says why.
    """
    problem = ""
    if shard_size is None:
        if path.suffix != SUFFIX:
            problem = f"a file of Docs must end in {SUFFIX}"
        elif path.is_dir():
            problem = "it is a folder; give a shard size or another name"
    elif shard_size < 1:
        problem = f"the shard size {shard_size} is not 1 or more"
    elif path.exists() and not path.is_dir():
        problem = "shards need a folder, but it is a file"
    elif path.is_dir() and any(not p.match("part-*.spacy") for p in path.iterdir()):
        problem = "the folder holds other files, which would be lost"
    if problem:
        raise ValueError(Errors.B411.format(path=path, problem=problem))


def find_docbins(path: Path) -> list[Path]:
    """Return a file, or all `.spacy` files in a folder, by name.

    path (Path): The file or folder. In a folder, what is hidden, by a name that begins with a
        dot, is passed over.
    RETURNS (list[Path]): The files.
    RAISES (ValueError): B413 if there is none.
    """
    files = [path]
    if path.is_dir():
        found = sorted(path.rglob(f"*{SUFFIX}"))
        # A folder of shards may be called so too.
        files = [x for x in found if x.is_file() and not is_hidden(x.relative_to(path))]
    if not files or not files[0].is_file():
        raise ValueError(Errors.B413.format(path=path))
    return files


def is_hidden(path: Path) -> bool:
    """Tell whether a name in a path begins with a dot: what a kill has left, or another program."""
    return any(part.startswith(".") for part in path.parts)


def read_docbin(path: Path, vocab: Vocab) -> Iterator[Doc]:
    """Read the Docs of a `.spacy` file, or of all such files in a folder, by name.

    path (Path): The file or folder.
    vocab (Vocab): The vocab for the Docs.
    YIELDS (Doc): The Docs, made one by one.
    RAISES (ValueError): B413 if there is no such file; B414 if one is truncated,
        corrupted or something else.
    """
    for file_ in find_docbins(Path(path)):
        data = file_.read_bytes()
        try:
            # Broken content shows itself in either call, as one of these. Docs are made one by
            # one: all of them take many times the memory of the file.
            for doc in DocBin().from_bytes(data).get_docs(vocab):
                _check_spans(doc)
                yield doc
        except (ValueError, TypeError, LookupError, AttributeError) as err:
            raise ValueError(Errors.B414.format(path=file_, size=len(data), err=err)) from err


def _check_spans(doc: Doc) -> None:
    """Ask for each Span of the groups: spaCy finds a damaged one when it is asked for alone."""
    for group in doc.spans.values():
        for span in group:
            _ = span.label_, span.text


def _write_file(docs: Iterable[Doc], path: Path) -> None:
    """Write one file."""
    doc_bin = DocBin(attrs=ATTRS, store_user_data=False)
    for doc in docs:
        doc_bin.add(doc)
    data = doc_bin.to_bytes()
    with atomic_file(path, mode="wb") as file_:
        file_.write(data)
