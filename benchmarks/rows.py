"""Results as JSON lines: read what is there, and add what is new."""

import json
import sys
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a file; what a kill has cut off is none.

    path (Path): The file; it need not exist.
    RETURNS (list[Row]): The rows in their order.
    """
    rows = []
    for line in path.read_text(encoding="utf8").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"{path}: passed over {line[:60]!r}", file=sys.stderr)
    return rows


def add_row(path: Path, row: Row) -> None:
    """Append a row to a file, on a line of its own whatever stands before, and print it.

    path (Path): The file.
    row (Row): What JSON can hold.
    """
    before = path.read_bytes() if path.is_file() else b""
    with path.open("a", encoding="utf8") as file_:
        file_.write("\n" * (not before.endswith(b"\n") and bool(before)) + json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)
