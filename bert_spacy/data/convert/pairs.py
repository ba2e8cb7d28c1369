"""Read pairs of texts with labels or scores, and the files of the GLUE tasks."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import Errors
from .labels import (
    CHINESE_LABEL_NAMES,
    BadLabel,
    LabelMapOptions,
    check_header,
    find_column,
    locate,
    read_label,
    read_label_map,
)
from .rows import PairRow, RowError, TextRow
from .tables import drop_blank_end, read_csv_cells
from .text import clean_text, is_broken, read_json_lines, read_lines, read_number

_A_NAMES = (
    *("text_a", "sentence1", "question1", "premise", "query", "question", "text"),
    *("文本1", "文本一", "文本a", "句子1", "句子一", "句子a", "问题1", "问题一", "前提", "查询"),
)
_B_NAMES = (
    *("text_b", "sentence2", "question2", "hypothesis", "title", "sentence"),
    *("文本2", "文本二", "文本b", "句子2", "句子二", "句子b", "问题2", "问题二", "假设", "标题"),
)
_LABEL_NAMES = (
    *("label", "gold_label", "is_duplicate", "quality", "class", "target"),
    *CHINESE_LABEL_NAMES,
)
# The target of a column of scores without a name, and of STS-B.
SCORE = "score"
# What SNLI and MNLI write where the annotators did not agree, and Hugging Face's data sets for
# that and for tests without labels.
_NO_LABEL, _NO_NUMBER = "-", "-1"

# The scores of STS-B.
_LOWEST, _HIGHEST = 0.0, 5.0


@dataclass(frozen=True)
class GlueFormat:
    """The files of a GLUE task.

    texts (tuple[str, ...]): Columns of the texts; numbers where the file has no header.
    label (str): Column of the label or score, the same.
    labels (tuple[str, ...]): All labels; none where the gold is a score.
    """

    texts: tuple[str, ...]
    label: str
    labels: tuple[str, ...] = ("0", "1")

    def find_fault(self, cell: str) -> str:
        """Return why this cannot be the gold of a row, nothing if it can."""
        if self.labels:
            known = ", ".join(self.labels)
            return "" if cell in self.labels else f"label {cell!r} is none of the task's: {known}"
        score = read_number(cell)
        if score is None:
            return f"the score is {cell!r}, which is no finite number"
        is_fine = _LOWEST <= score <= _HIGHEST
        return "" if is_fine else f"the score {cell} is not from {_LOWEST:g} to {_HIGHEST:g}"


_SENTENCES = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")
_INFERENCE = ("entailment", "neutral", "contradiction")
GLUE = {
    "CoLA": GlueFormat(("3",), "1"),
    "SST-2": GlueFormat(("sentence",), "label"),
    "MRPC": GlueFormat(("#1 String", "#2 String"), "Quality"),
    "STS-B": GlueFormat(_SENTENCES, SCORE, ()),
    "QQP": GlueFormat(("question1", "question2"), "is_duplicate"),
    "MNLI": GlueFormat(_SENTENCES, "gold_label", _INFERENCE),
    "QNLI": GlueFormat(("question", "sentence"), "label", _ENTAILMENT),
    "RTE": GlueFormat(_SENTENCES, "label", _ENTAILMENT),
    "WNLI": GlueFormat(_SENTENCES, "label"),
    "SNLI": GlueFormat(_SENTENCES, "gold_label", _INFERENCE),
}

# Line, and cells by column or by field.
Record = tuple[int, list[Any]]


@dataclass(frozen=True)
class PairOptions(LabelMapOptions):
    """Options of the formats pairs, afqmc and lcqmc.

    text_column (str): First text: name or 0-based number; None to find it.
    text_b_column (str): Second text, the same.
    label_column (str): Label, the same.
    score_column (str): A number in place of a label, the same; its name becomes the target's.
    header (bool): Whether the first row holds names; None to find out.
    """

    text_column: str | None = None
    text_b_column: str | None = None
    label_column: str | None = None
    score_column: str | None = None
    header: bool | None = None


@dataclass(frozen=True)
class GlueOptions(LabelMapOptions):
    """Options of the format glue.

    task (str): A key of `GLUE`, in upper or lower case.
    """

    task: str = ""


def read_pairs(path: Path, options: PairOptions) -> Iterator[PairRow | RowError]:
    """Read pairs from a .csv file, JSON lines, or else a tab-separated file without quotes.

    Columns that are not given are found by their names; three without names in a first row are
    text, text and label. With a score column each pair has a number for its gold, and no label.

    path (Path): The file. Fields of .jsonl and .json are columns by their names.
    options (PairOptions): Columns, header and label map.
    YIELDS (PairRow | RowError): Rows and what is wrong with the others.
    RAISES (ValueError): B404, B405, B406, B428 for a label map or columns that do not fit; B418 for
        a score beside a label or a label map; B425 for names of columns that are not UTF-8.
    """
    score = options.score_column
    if score is not None and (options.label_column, options.label_map) != (None, None):
        label = options.label_column or options.label_map
        raise ValueError(Errors.B418.format(label=label, score=score))
    names, records = _read_records(path, options)
    widths = Counter(len(_cells(record)) for record in records if _cells(record))
    width = len(names) or max(widths, key=lambda size: widths[size], default=0)
    if not width:  # no row that could be read
        yield from _read_rows(path, records, ([], 0), width, options)
        return
    try:
        columns = _find_columns(path, names, width, options)
    except ValueError:
        check_header(names or _cells(records[0]), path)
        raise
    target = "" if score is None else names[columns[2]] if names else SCORE
    yield from _read_rows(path, records, (columns[:2], columns[2]), width, options, target)


def _find_columns(path: Path, names: Sequence[str], width: int, options: PairOptions) -> list[int]:
    """Return the numbers of the columns of both texts and of the label or score."""
    label = options.score_column or options.label_column
    wanted = (options.text_column, options.text_b_column, label)
    columns = []
    for place, (spec, known) in enumerate(zip(wanted, (_A_NAMES, _B_NAMES, _LABEL_NAMES))):
        if spec is None and not names and width != len(wanted):
            shown = f"{width} columns without names"
            raise ValueError(Errors.B406.format(path=path, columns=shown))
        if spec is None:
            folded = [name.casefold() for name in names]
            found = [name for name in known if name in folded]
            if names and not found:
                raise ValueError(Errors.B406.format(path=path, columns=", ".join(names)))
            spec = names[locate(found[0], folded, path)] if found else str(place)
        columns.append(find_column(spec, names or None, width, path))
    return columns


def read_glue(path: Path, options: GlueOptions) -> Iterator[TextRow | PairRow | RowError]:
    """Read a file of a GLUE task or of SNLI, where nothing is ever quoted.

    A label or score that the task does not have makes a bad row, unless there is a label map.

    path (Path): A .tsv file with labels, as published.
    options (GlueOptions): Task and label map.
    YIELDS (TextRow | PairRow | RowError): Rows and what is wrong with the others.
    RAISES (ValueError): B417 for an unknown task; B404, B405, B428 for a label map or columns
        that do not fit; B418 for a label map of scores.
    """
    tasks = {name.casefold(): format_ for name, format_ in GLUE.items()}
    task = tasks.get(options.task.casefold())
    if task is None:
        raise ValueError(Errors.B417.format(task=options.task, allowed=", ".join(GLUE)))
    records: list[Record | RowError] = list(_split_tabs(path))
    drop_blank_end(records)
    names: list[str] = []
    if not records:
        return
    if not task.label.isdigit():
        names = [str(cell).strip() for cell in _cells(records.pop(0))]
    width = len(names) or 4
    columns = [find_column(name, names or None, width, path) for name in (*task.texts, task.label)]
    target = "" if task.labels else SCORE
    if target and options.label_map is not None:
        raise ValueError(Errors.B418.format(label=options.label_map, score=task.label))
    places = (columns[:-1], columns[-1])
    find_fault = task.find_fault if options.label_map is None else None
    yield from _read_rows(path, records, places, width, options, target, find_fault)


def _read_rows(
    path: Path,
    records: Sequence[Record | RowError],
    columns: tuple[list[int], int],
    width: int,
    options: LabelMapOptions,
    target: str = "",
    find_fault: Callable[[str], str] | None = None,
) -> Iterator[Any]:
    """Check every record.

    target (str): What the numbers in the last column are named; empty if they are labels.
    find_fault (Callable): Returns why a label or score cannot be, nothing if it can.
    """
    label_map = None if options.label_map is None else read_label_map(options.label_map)
    for record in records:
        if isinstance(record, RowError):
            yield record
            continue
        number, cells = record
        reason = _find_fault(cells, width, columns, label_map, is_score=bool(target))
        if not reason and find_fault is not None:
            reason = find_fault(str(cells[columns[1]]).strip())
        if reason:
            yield RowError(str(path), number, reason)
            continue
        texts, label = columns
        cleaned = [clean_text(cells[place]) for place in texts]
        for item in cleaned:
            yield from item.notes(str(path), number)
        key = tuple(item.text.strip() for item in cleaned)
        value = read_number(cells[label]) if target else read_label(cells[label], label_map)
        gold: dict[str, Any] = {"targets": {target: value}} if target else {"cats": {value: 1.0}}
        if len(key) == 1:
            yield TextRow(str(path), number, key[0], **gold)
        else:
            yield PairRow(str(path), number, key[0], key[1], **gold)


def _find_fault(
    cells: list[Any],
    width: int,
    columns: tuple[list[int], int],
    label_map: dict[str, str] | None,
    *,
    is_score: bool,
) -> str:
    """Return why a row cannot be used, nothing if it can."""
    if not cells:
        return "blank line"
    if len(cells) != width:
        return f"{len(cells)} columns where {width} are expected"
    texts, label = [cells[place] for place in columns[0]], cells[columns[1]]
    if not all(isinstance(text, str) for text in texts):
        return "a text is missing or no text"
    if any(is_broken(text) for text in (*texts, str(label))):
        return "not valid UTF-8"
    for name, text in zip(("first text", "second text") if len(texts) > 1 else ("text",), texts):
        if not clean_text(text).text.strip():
            return f"the {name} is empty"
    if is_score:
        shown = "missing" if label is None else repr(label)
        fault = f"the score is {shown}, which is no finite number"
        return fault if read_number(label) is None else ""
    if label is None or not str(label).strip():
        return "the label is empty"
    if str(label).strip() == _NO_LABEL:
        return f"the label is {_NO_LABEL!r}: the annotators did not agree"
    if str(label).strip() == _NO_NUMBER and label_map is None:
        return f"the label is {_NO_NUMBER!r}: no gold; a --label-map that has it makes it a class"
    try:
        read_label(label, label_map)
    except BadLabel as err:
        return str(err)
    return ""


def _read_records(path: Path, options: PairOptions) -> tuple[list[str], list[Record | RowError]]:
    """Return the names of the columns, none without a header, and the records."""
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".json"):
        items = list(read_json_lines(path))
        rows = [item[1] for item in items if not isinstance(item, RowError)]
        names = list(dict.fromkeys(name for row in rows for name in row))
        return names, [
            item if isinstance(item, RowError) else (item[0], [item[1].get(n) for n in names])
            for item in items
        ]
    records = list(read_csv_cells(path) if suffix == ".csv" else _split_tabs(path))
    drop_blank_end(records)
    if not records:
        return [], []
    first = [str(cell).strip() for cell in _cells(records[0])]
    has_header = options.header
    if has_header is None:
        known = {*_A_NAMES, *_B_NAMES, *_LABEL_NAMES}
        columns = (options.text_column, options.text_b_column, options.label_column)
        asked = {*columns, options.score_column}
        has_header = sum(cell.casefold() in known or cell in asked for cell in first) >= 2
        if not has_header and first and first[-1].casefold() in _LABEL_NAMES:
            # Names of texts that are not known: no other row has this for a label.
            others = (_cells(record) for record in records[1:])
            has_header = all(str(cells[-1]).strip() != first[-1] for cells in others if cells)
    return (first, records[1:]) if has_header else ([], records)


def _split_tabs(path: Path) -> Iterator[Record]:
    for number, line in read_lines(path):
        yield number, line.split("\t") if line else []


def _cells(record: Record | RowError) -> list[Any]:
    return [] if isinstance(record, RowError) else record[1]
