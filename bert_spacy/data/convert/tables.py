"""Read classification data from tab-separated and comma-separated files."""

import csv
import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import Errors
from .labels import (
    CHINESE_LABEL_NAMES,
    LabelMapOptions,
    check_header,
    find_column,
    locate,
    read_label_map,
)
from .rows import RowError, TextRow
from .text import BOM, clean_text, is_broken, read_lines

_TEXT_NAMES = (
    *("text", "text_a", "sentence", "review", "content", "title", "comment"),
    *("内容", "文本", "标题", "正文", "评论", "句子", "文本内容"),
    *("评论内容", "新闻标题", "新闻内容"),
)
_LABEL_NAMES = ("label", "labels", "cat", "category", "class", "target", *CHINESE_LABEL_NAMES)
_HEADER_NAMES = frozenset(_TEXT_NAMES + _LABEL_NAMES)
# Longest value, in characters: as far as a quote that nothing closes can reach.
CSV_FIELD_LIMIT = 2**24
_NAME = re.compile(r"#?\w[\w #.-]{0,29}")
# Longest name, in characters, that is not all ASCII: so many Chinese ones are a sentence.
_LONGEST_WIDE_NAME = 12

Cells = tuple[int, list[str]]


@dataclass(frozen=True)
class TableOptions(LabelMapOptions):
    """Options of the formats tsv and csv.

    text_column (str): Name or 0-based number; None to find it.
    label_column (str): Name or 0-based number; None to find it.
    header (bool): Whether the first row holds names; None to find out.
    """

    text_column: str | None = None
    label_column: str | None = None
    header: bool | None = None


def read_tsv(path: Path, options: TableOptions) -> Iterator[TextRow | RowError]:
    """Read texts and labels from a tab-separated file, where nothing is ever quoted.

    path (Path): The file.
    options (TableOptions): Columns, header and label map.
    YIELDS (TextRow | RowError): Rows and what is wrong with the others.
    RAISES (ValueError): B404, B405, B406, B428 for a label map or columns that do not fit, B425
        for names of columns that are not UTF-8.
    """
    rows = [(number, line.split("\t") if line else []) for number, line in read_lines(path)]
    yield from _read_rows(path, rows, options)


def read_csv(path: Path, options: TableOptions) -> Iterator[TextRow | RowError]:
    """Read texts and labels from a comma-separated file with quotes.

    path (Path): The file. A quoted value may hold line ends; such a row is named
        by its first line.
    options (TableOptions): Columns, header and label map.
    YIELDS (TextRow | RowError): Rows and what is wrong with the others.
    RAISES (ValueError): B404, B405, B406, B428 for a label map or columns that do not fit, B425
        for names of columns that are not UTF-8.
    """
    rows: list[Cells] = []
    for item in read_csv_cells(path):
        if isinstance(item, RowError):
            yield item
        else:
            rows.append(item)
    yield from _read_rows(path, rows, options)


def read_csv_cells(path: Path) -> Iterator[Cells | RowError]:
    """Read the cells of a comma-separated file.

    A row that is no CSV ends with its first line: what a quote that nothing closes has
    swallowed is read again.

    path (Path): The file.
    YIELDS (Cells | RowError): First line of each row with its cells; rows that are no CSV.
    """
    # It holds for the whole process.
    csv.field_size_limit(max(csv.field_size_limit(), CSV_FIELD_LIMIT))
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file_:
        lines = _Lines(enumerate(file_, start=1))
        reader = csv.reader(lines, strict=True)
        while True:
            lines.taken.clear()
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as err:
                yield RowError(str(path), lines.taken[0][0], f"not CSV: {err}")
                lines.give_back()
                reader = csv.reader(lines, strict=True)
            else:
                yield lines.taken[0][0], cells


def drop_blank_end(rows: list[Cells] | list[Cells | RowError]) -> None:
    """Remove the blank lines at the end of a table, which mean nothing, but for the only row.

    rows (list[Cells | RowError]): From `read_csv_cells`, or the cells of another table.
    """
    while len(rows) > 1 and not isinstance(rows[-1], RowError) and not rows[-1][1]:
        rows.pop()


class _Lines:
    """Lines of a file that can be read again, without its byte-order mark.

    numbered (Iterator[tuple[int, str]]): Number of each line, from 1, and the line.
    """

    def __init__(self, numbered: Iterator[tuple[int, str]]):
        self.taken: list[tuple[int, str]] = []
        self._waiting: deque[tuple[int, str]] = deque()
        self._numbered = numbered

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        number, line = self._waiting.popleft() if self._waiting else next(self._numbered)
        self.taken.append((number, line))
        return line.removeprefix(BOM) if number == 1 else line

    def give_back(self) -> None:
        """Let all lines be read again that were taken after the first."""
        self._waiting.extendleft(reversed(self.taken[1:]))


def _read_rows(
    path: Path, rows: list[Cells], options: TableOptions
) -> Iterator[TextRow | RowError]:
    """Turn cells into rows: choose the columns, then check every row."""
    drop_blank_end(rows)
    if not rows or not rows[-1][1]:
        return
    label_map = None if options.label_map is None else read_label_map(options.label_map)
    has_header = _has_header(rows, options)
    names = [cell.strip() for cell in rows[0][1]] if has_header else None
    body = rows[1:] if has_header else rows
    widths = Counter(len(cells) for _, cells in body if cells)
    width = len(names) if names is not None else widths.most_common(1)[0][0]
    try:
        columns = _choose_columns(path, body, names, width, options)
    except ValueError:
        check_header(rows[0][1], path)
        raise
    for number, cells in body:
        yield from _read_cells(str(path), number, cells, width, columns, label_map)


def _read_cells(
    path: str,
    number: int,
    cells: list[str],
    width: int,
    columns: tuple[int, int],
    label_map: dict[str, str] | None,
) -> Iterator[TextRow | RowError]:
    """Check the cells of one row."""
    if not cells:
        yield RowError(path, number, "blank line")
        return
    if any(is_broken(cell) for cell in cells):
        yield RowError(path, number, "not valid UTF-8")
        return
    if len(cells) != width:
        yield RowError(path, number, f"{len(cells)} columns where {width} are expected")
        return
    cleaned = clean_text(cells[columns[0]])
    text, label = cleaned.text.strip(), clean_text(cells[columns[1]]).text.strip()
    if not text:
        yield RowError(path, number, "the text is empty")
    elif not label:
        yield RowError(path, number, "the label is empty")
    elif label_map is not None and label not in label_map:
        yield RowError(path, number, f"label {label!r} is not in the label map")
    else:
        yield from cleaned.notes(path, number)
        yield TextRow(path, number, text, {label_map[label] if label_map else label: 1.0})


def _has_header(rows: list[Cells], options: TableOptions) -> bool:
    """Whether the first row holds column names; in doubt it does not."""
    if options.header is not None:
        return options.header
    first = [cell.strip() for cell in rows[0][1]]
    for column in (options.text_column, options.label_column):
        if column is not None and column in first and not re.fullmatch(r"-?\d+", column):
            return True
    # pandas gives its index, the first column, no name.
    if len(set(first)) < len(first) or not all(map(_is_name, first if first[0] else first[1:])):
        return False
    for place, cell in enumerate(first):
        if cell.casefold() in _HEADER_NAMES:
            return all(cells[place : place + 1] != [rows[0][1][place]] for _, cells in rows[1:])
    return False


def _is_name(cell: str) -> bool:
    is_short = cell.isascii() or len(cell) <= _LONGEST_WIDE_NAME
    return is_short and _NAME.fullmatch(cell) is not None


def _choose_columns(
    path: Path, rows: list[Cells], names: list[str] | None, width: int, options: TableOptions
) -> tuple[int, int]:
    """Return the numbers of the text and the label column."""
    chosen: list[int | None] = [None, None]
    wanted = ((options.text_column, _TEXT_NAMES), (options.label_column, _LABEL_NAMES))
    folded = [name.casefold() for name in names or []]
    for place, (spec, known) in enumerate(wanted):
        if spec is not None:
            chosen[place] = find_column(spec, names, width, path)
        else:
            found = [name for name in known if name in folded]
            chosen[place] = locate(found[0], folded, path) if len(found) == 1 else None
    if width == 2:
        chosen = _choose_of_two(rows, chosen)
    text, label = chosen
    if text is None or label is None or text == label:
        shown = ", ".join(names) if names is not None else f"{width} columns without names"
        raise ValueError(Errors.B406.format(path=path, columns=shown))
    return text, label


def _choose_of_two(rows: list[Cells], chosen: list[int | None]) -> list[int | None]:
    """Fill in what is not known of two columns: labels repeat more and are shorter."""
    text, label = chosen
    if text is not None and label is not None:
        return chosen
    if text is not None:
        return [text, 1 - text]
    if label is not None:
        return [1 - label, label]
    cells = [row for _, row in rows if len(row) == 2]
    keys = [
        (len({row[place] for row in cells}), sum(len(row[place]) for row in cells))
        for place in (0, 1)
    ]
    return [0, 1] if keys[1] < keys[0] else [1, 0]
