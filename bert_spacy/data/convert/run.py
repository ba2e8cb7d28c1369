"""Convert foreign files to `.spacy`: read rows, collect labels, make Docs, write."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab
from tqdm import tqdm

from ...errors import Errors
from ...segments import count_choices
from ...targets import get_targets
from ...types import ANSWERS, CHOSEN, TRUE_FROM
from ..docbin import check_output, read_docbin, write_docbin
from .duplicates import note_contradictions, read_texts
from .formats import find_files, get_format
from .labels import Options
from .rows import Row, RowError, RowNote, TextRow

_SHOW_PROGRESS_FROM = 5000


@dataclass
class Summary:
    """What a conversion did.

    n_rows (int): Rows read, good and bad; for conll a row is a Doc's sentences.
    n_docs (int): Docs written.
    bad (set): Places (file, line) with a `RowError`.
    notes (Counter): What notes are about, counted by kind, such as "repaired", "nested" or
        "contradiction".
    labels (Counter): Gold labels over all Docs.
    files (list[Path]): Files written.
    """

    n_rows: int = 0
    n_docs: int = 0
    bad: set[tuple[str, int | str]] = field(default_factory=set)
    notes: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    files: list[Path] = field(default_factory=list)


def read_rows(
    name: str, paths: Sequence[Path], options: Options | None = None
) -> Iterator[Row | RowError]:
    """Read the rows of files and folders.

    name (str): The format.
    paths (Sequence[Path]): Files and folders.
    options (Options): The format's options; None for its defaults.
    YIELDS (Row | RowError): Rows and problems, in the order of the files.
    RAISES (ValueError): B404 to B410 for files or options that do not fit.
    """
    format_ = get_format(name)
    for path in find_files(name, paths):
        yield from format_.read(path, options or format_.options())


def make_docs(
    nlp: Language, rows: Iterable[Row], labels: Sequence[str]
) -> Iterator[Doc | RowError]:
    """Turn rows into Docs with complete gold.

    nlp (Language): Its tokenizer is used.
    rows (Iterable[Row]): The rows.
    labels (Sequence[str]): All labels for `doc.cats`.
    YIELDS (Doc | RowError): For each row its problems, then its Doc; none for a text that is
        longer than `nlp.max_length`.
    """
    for row in rows:
        # White space around a text counts for the tokenizer, though not for comparisons.
        texts = (row.text,) if isinstance(row, TextRow) else read_texts(row)
        longest = max(map(len, texts))
        if longest > nlp.max_length:
            reason = f"text of {longest} characters, but nlp.max_length is {nlp.max_length}"
            yield RowError(row.path, row.line, reason)
            continue
        doc, problems = row.make_doc(nlp, labels)
        yield from problems
        yield doc


def convert(
    nlp: Language,
    name: str,
    paths: Sequence[Path],
    output: Path,
    options: Options | None = None,
    *,
    shard_size: int | None = None,
    labels_from: Path | None = None,
    is_strict: bool = False,
    on_problem: Callable[[RowError], None] = lambda problem: None,
) -> Summary:
    """Convert files to one `.spacy` file or a folder of shards.

    nlp (Language): Its tokenizer is used; `spacy.blank` is enough.
    name (str): The format, a key of `FORMATS`.
    paths (Sequence[Path]): Files and folders to read.
    output (Path): The file to write, or with `shard_size` the folder.
    options (Options): The format's options; None for its defaults.
    shard_size (int): Docs per file; None for one file.
    labels_from (Path): A `.spacy` file or a folder of them, whose categories are known too: a Doc
        with categories has a value for each, 0.0 for those that its row does not name.
    is_strict (bool): Whether to stop at the first bad row.
    on_problem (Callable): Called with each problem as it is found.
    RETURNS (Summary): Counts.
    RAISES (ValueError): B404 to B412 for files or options that do not fit, or if
        there is nothing to write; B415 for a bad row if `is_strict`; B430 for
        `labels_from` without categories.
    """
    check_output(output, shard_size)
    known = options.label_names() if options is not None else []
    if labels_from is not None:
        known += _read_labels(labels_from)
    summary = Summary()

    def sort_out(items: Iterable) -> Iterator:
        """Pass rows and Docs on; count and report problems."""
        for item in items:
            if not isinstance(item, RowError):
                yield item
                continue
            on_problem(item)
            if isinstance(item, RowNote):
                summary.notes[item.kind] += item.count
                continue
            summary.bad.add((item.path, item.line))
            if is_strict:
                raise ValueError(Errors.B415.format(problem=item))

    rows = list(sort_out(note_contradictions(read_rows(name, paths, options), nlp.lang)))
    places = {(row.path, row.line) for row in rows}
    summary.n_rows = len(rows) + len(summary.bad - places)
    labels = sorted({label for row in rows for label in row.cats or ()}.union(known))
    progress = tqdm(rows, unit="row", disable=True if len(rows) < _SHOW_PROGRESS_FROM else None)
    docs = _count(sort_out(make_docs(nlp, progress, labels)), summary)
    summary.files = write_docbin(docs, output, shard_size)
    return summary


def _read_labels(path: Path) -> list[str]:
    """Return the categories of the Docs of a `.spacy` file or a folder of them."""
    labels = {label: None for doc in read_docbin(path, Vocab()) for label in doc.cats}
    if not labels:
        raise ValueError(Errors.B430.format(path=path))
    return list(labels)


def _count(docs: Iterable[Doc], summary: Summary) -> Iterator[Doc]:
    """Count Docs and their gold labels on the way."""
    for doc in docs:
        summary.n_docs += 1
        summary.labels.update(label for label, value in doc.cats.items() if value >= TRUE_FROM)
        summary.labels.update(ent.label_ for ent in doc.ents)
        summary.labels.update(get_targets(doc).keys())
        if ANSWERS in doc.spans:
            answers = doc.spans[ANSWERS].attrs["answers"]
            summary.labels["answer" if answers else "no answer"] += 1
        if CHOSEN in doc.spans:
            summary.labels[f"one of {count_choices(doc)} choices"] += 1
        yield doc
