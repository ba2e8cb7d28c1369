"""Read plain texts from corpora of several formats, one by one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.vocab import Vocab
from tqdm import tqdm

from ..data.convert.rows import RowError
from ..data.convert.text import is_broken, parse_json_line, read_lines
from ..data.docbin import is_hidden, read_docbin
from ..errors import Errors

SUFFIXES = (".txt", ".jsonl", ".spacy")
# Beside these a vocab.txt is that of a model, also one of TensorFlow.
_MODEL_MARKS = ("tokenizer.json", "config.json", "*bert_config*.json")
# Characters that are tokenized together; a longer text is processed in parts.
PART_LENGTH = 100_000

OnProblem = Callable[[RowError], None]


@dataclass
class Counts:
    """What a corpus holds.

    files (int): Files read.
    texts (int): Texts that are not blank.
    characters (int): Their characters.
    empty (int): Blank lines and texts.
    bad (int): Lines that were reported and skipped.
    long (int): Texts processed in parts.
    """

    files: int = 0
    texts: int = 0
    characters: int = 0
    empty: int = 0
    bad: int = 0
    long: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{value} {name}" for name, value in asdict(self).items())


class TextCorpus:
    """Texts of `.txt` (one a line), `.jsonl` ("text") and `.spacy` files.

    paths (Sequence[Path]): Files, and folders: all files with these suffixes in them and in
        folders within, sorted by name, as `find_files` tells. A file that is named twice, or
        by its folder too, is read once.
    on_problem (Callable): Called with each line that is skipped, in the first reading
        alone, and with each text that is processed in parts.
    by_blank_lines (bool): A text of a `.txt` file goes on to the next blank line.
    show_progress (bool): Show on a terminal how many texts have been read.
    RAISES (ValueError): B670 if a path holds no such file.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        on_problem: OnProblem = lambda problem: None,
        *,
        by_blank_lines: bool = False,
        show_progress: bool = False,
    ):
        self.show_progress = show_progress
        self.by_blank_lines = by_blank_lines
        files: dict[Path, Path] = {}
        for path in map(Path, paths):
            if not (found := find_files(path)):
                raise ValueError(Errors.B670.format(path=path, suffixes=", ".join(SUFFIXES)))
            for file_ in found:
                files.setdefault(file_.resolve(), file_)
        self.paths = list(files.values())
        self.on_problem = on_problem
        self.counts = Counts()

    def __iter__(self) -> Iterator[str]:
        """Yield the texts, none blank, none longer than PART_LENGTH.

        RAISES (ValueError): B414 for a damaged `.spacy` file; B671 if there is no text.
        """
        yield from tqdm(
            self._read_parts(),
            desc="Reading",
            unit=" texts",
            disable=None if self.show_progress else True,
        )

    def _read_parts(self) -> Iterator[str]:
        counts, report = Counts(), self.on_problem
        for path in self.paths:
            counts.files += 1
            rows = _read(path)
            if self.by_blank_lines and path.suffix.lower() == ".txt":
                rows = _join_lines(rows)
            for line, text in rows:
                if isinstance(text, RowError):
                    counts.bad += 1
                    report(text)
                elif not text.strip():
                    counts.empty += 1
                else:
                    counts.texts += 1
                    counts.characters += len(text)
                    parts = [part for part in _cut(text) if part.strip()]
                    if len(parts) > 1:
                        counts.long += 1
                        reason = f"{len(text)} characters, processed in {len(parts)} parts"
                        report(RowError(str(path), line, reason))
                    yield from parts
        self.counts = counts
        self.on_problem = lambda problem: None
        if not counts.texts:
            raise ValueError(Errors.B671.format(counts=counts))


def make_nlp(lang: str, segmenter: str, pkuseg_model: str | None = None) -> Language:
    """Make a blank pipeline whose tokenizer finds words.

    lang (str): Language code.
    segmenter (str): For "zh": "jieba" or "pkuseg" for words, "char" for characters.
    pkuseg_model (str | None): For "pkuseg": the folder of its model.
    RETURNS (Language): The pipeline.
    RAISES (ImportError): B710 if the segmenter is not installed.
    RAISES (ValueError): B712 if pkuseg has no model there.
    """
    if lang != "zh":
        return spacy.blank(lang)
    try:
        nlp = spacy.blank(lang, config={"nlp": {"tokenizer": {"segmenter": segmenter}}})
        tokenizer: Any = nlp.tokenizer
        if segmenter == "pkuseg":
            _load_pkuseg(tokenizer, pkuseg_model)
    except ImportError as err:
        raise ImportError(
            Errors.B710.format(
                segmenter=segmenter, package={"pkuseg": "spacy-pkuseg"}.get(segmenter, segmenter)
            )
        ) from err
    return nlp


def _load_pkuseg(tokenizer: Any, model: str | None) -> None:
    # By a name, it would download.
    reason = "it is no folder"
    if model is not None and Path(model).is_dir():
        try:
            tokenizer.initialize(pkuseg_model=model)
        except ImportError:
            raise
        except Exception as err:  # noqa: BLE001 - a damaged model shows itself as anything
            reason = f"{type(err).__name__}: {err}"
        else:
            return
    raise ValueError(Errors.B712.format(model=model, reason=reason))


def find_files(path: Path) -> list[Path]:
    """Return the files of a corpus.

    path (Path): A file, or a folder, whose files are those of the folders within too.
    RETURNS (list[Path]): Files with a suffix of texts, sorted; nothing if there is none. In a
        folder, what is hidden, by a name that begins with a dot, is passed over, and the
        vocabulary of a model is no text.
    """
    is_folder = path.is_dir()
    return [
        file_
        for file_ in (sorted(path.rglob("*")) if is_folder else [path])
        if file_.is_file()
        and file_.suffix.lower() in SUFFIXES
        and not (is_folder and (is_hidden(file_.relative_to(path)) or _is_vocabulary(file_)))
    ]


def _is_vocabulary(path: Path) -> bool:
    is_called_so = path.name in ("vocab.txt", "merges.txt")
    return is_called_so and any(any(path.parent.glob(mark)) for mark in _MODEL_MARKS)


def _read(path: Path) -> Iterator[tuple[int, str | RowError]]:
    """Yield the number of each line or Doc and its text, or what is wrong with it."""
    if path.suffix.lower() == ".spacy":
        for number, doc in enumerate(read_docbin(path, Vocab()), start=1):
            yield number, doc.text
        return
    is_json = path.suffix.lower() == ".jsonl"
    for number, line in read_lines(path):
        if is_json and line.strip():
            yield number, _text_of(path, number, parse_json_line(path, number, line))
        elif is_broken(line):
            yield number, RowError(str(path), number, "not valid UTF-8")
        else:
            yield number, line


def _join_lines(rows: Iterable[tuple[int, str | RowError]]) -> Iterator[tuple[int, str | RowError]]:
    """Join lines up to each blank one; what is wrong with a line is handed on."""
    first, lines = 0, list[str]()
    for number, line in rows:
        if isinstance(line, RowError):
            yield number, line
        elif line.strip():
            first = first if lines else number
            lines.append(line)
        elif lines:
            yield first, "\n".join(lines)
            lines = []
    if lines:
        yield first, "\n".join(lines)


def _text_of(path: Path, number: int, row: dict[str, Any] | RowError) -> str | RowError:
    if isinstance(row, RowError):
        return row
    text = row.get("text")
    if not isinstance(text, str):
        return RowError(str(path), number, "no 'text' that is a string")
    if is_broken(text):
        return RowError(str(path), number, "'text' holds lone surrogates")
    return text


def _cut(text: str) -> Iterator[str]:
    """Cut a long text, at white space where there is some in the second half of a part."""
    start = 0
    while len(text) - start > PART_LENGTH:
        end = start + PART_LENGTH
        spaces = (text.rfind(mark, start + PART_LENGTH // 2, end) for mark in " \t\n")
        end = max(end if (best := max(spaces)) < 0 else best + 1, start + 1)
        yield text[start:end]
        start = end
    yield text[start:]
