"""Read lines and clean text, the same for all formats."""

import json
import math
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .rows import RowError, RowNote

BOM = "\ufeff"
# Category Cc but tab, line feed and carriage return, which are white space.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class _NotJson(ValueError):
    """What Python reads as JSON and JSON does not have; the message says why."""


@dataclass(frozen=True)
class CleanText:
    """A text without control characters, and where they were.

    text (str): What is left.
    removed (list[int]): Offsets of the removed characters in the old text, ascending.
    """

    text: str
    removed: list[int]

    def shift(self, offset: int) -> int:
        """Return an offset of the old text as one of the new text."""
        return offset - bisect_left(self.removed, offset)

    def notes(self, path: str, line: int | str) -> list[RowNote]:
        """Return a note that characters were removed, or nothing."""
        if not self.removed:
            return []
        reason = f"{len(self.removed)} control characters removed"
        return [RowNote(path, line, reason, kind="control characters")]


def clean_text(text: str) -> CleanText:
    """Remove control characters (category Cc), which BERT's tokenizer would remove too.

    text (str): Any text. U+FFFD and U+FEFF stay, and so does white space.
    RETURNS (CleanText): The rest, with a map of offsets.
    """
    removed = [match.start() for match in _CONTROL.finditer(text)]
    return CleanText(_CONTROL.sub("", text) if removed else text, removed)


def is_broken(text: str) -> bool:
    """Whether a text holds lone surrogates, which is how undecodable bytes are read too."""
    return _SURROGATE.search(text) is not None


def read_number(value: Any) -> float | None:
    """Return a cell or JSON value as a finite number, None if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or "_" in str(value):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read a UTF-8 file line by line; only a line feed ends a line.

    path (Path): The file; a byte-order mark and carriage returns are taken off.
    YIELDS (tuple[int, str]): 1-based number and line. Bytes that are not UTF-8
        become lone surrogates, see `is_broken`.
    """
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file_:
        for number, line in enumerate(file_, start=1):
            if number == 1:
                line = line.removeprefix(BOM)
            yield number, line.removesuffix("\n").removesuffix("\r")


def read_json(path: Path) -> Any:
    """Read a file that is one JSON value.

    path (Path): The file; a byte-order mark is taken off.
    RETURNS (Any): The value, or a RowError that says what is wrong.
    """
    try:
        # The standard UTF-8 decoder refuses bad bytes; a whole JSON file cannot do without them.
        return load_json(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as err:
        line = err.object[: err.start].count(b"\n") + 1
        return RowError(str(path), line, f"not valid UTF-8 (byte 0x{err.object[err.start]:02x})")
    except json.JSONDecodeError as err:
        return RowError(str(path), err.lineno, f"not JSON: {err.msg} at column {err.colno}")
    except RecursionError:
        return RowError(str(path), 1, "not usable JSON: nested too deeply")
    except ValueError as err:
        return RowError(str(path), 1, f"not usable JSON: {err}")


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]] | RowError]:
    """Read a file of one JSON object per line; blank lines are passed over.

    path (Path): The file.
    YIELDS (tuple[int, dict] | RowError): Line number and object, or what is wrong.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        value = parse_json_line(path, number, line)
        yield value if isinstance(value, RowError) else (number, value)


def parse_json_line(path: Path, number: int, line: str) -> dict[str, Any] | RowError:
    """Read one line of such a file.

    path (Path): The file, for reports.
    number (int): 1-based number of the line.
    line (str): The line, from `read_lines`.
    RETURNS (dict | RowError): The object, or what is wrong.
    """
    if is_broken(line):
        return RowError(str(path), number, "not valid UTF-8")
    try:
        value = load_json(line)
    except json.JSONDecodeError as err:
        return RowError(str(path), number, f"not JSON: {err.msg} at column {err.colno}")
    except RecursionError:
        return RowError(str(path), number, "not usable JSON: nested too deeply")
    except ValueError as err:
        return RowError(str(path), number, f"not usable JSON: {err}")
    if isinstance(value, dict):
        return value
    return RowError(str(path), number, f"not a JSON object but {type(value).__name__}")


def load_json(text: str) -> Any:
    """Read a JSON value.

    text (str): The text.
    RETURNS (Any): The value.
    RAISES (ValueError): If it is no JSON; NaN and Infinity, which Python takes too, are none.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise _NotJson(f"{name} is not a JSON value")
