"""Results as JSON lines: read what is there, and add what is new."""

import argparse
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


def make_parser(doc: str | None) -> argparse.ArgumentParser:
    """Make the parser of a command that fills such a file, or prints a table of it.

    doc (str): The docstring of the command; its first line is shown.
    RETURNS (ArgumentParser): With --out, --table and --data; for `parse_with`.
    """
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="File of JSON lines.")
    parser.add_argument("--table", action="store_true", help="Print what the file holds.")
    parser.add_argument("--data", type=Path, help="Folder with one folder per set.")
    return parser


def parse_with(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line, which must name the data unless it asks for the table."""
    args = parser.parse_args()
    if not args.table and args.data is None:
        parser.error("--data is needed, or --table")
    return args
