"""Readers of the tasks of pairs, in plain Python: tab-separated files without any quoting."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PairItem:
    """Two texts and their class."""

    text: str
    text_b: str
    label: str


@dataclass(frozen=True)
class ValueItem:
    """Two texts and a number."""

    text: str
    text_b: str
    value: float


def read_columns(path: Path, names: tuple[str, ...]) -> list[list[str]]:
    """Read columns of a file by the names in its header, or by number if it has none.

    path (Path): The file; a byte-order mark is passed over.
    names (tuple[str, ...]): Names, or numbers from 0 for a file without a header.
    RETURNS (list[list[str]]): The cells of each row, white space at their ends taken off.
    """
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    rows = [line.removesuffix("\r").split("\t") for line in lines if line.strip()]
    if names[0].isdigit():
        places = [int(name) for name in names]
    else:
        places = [rows[0].index(name) for name in names]
        rows = rows[1:]
    return [[row[place].strip() for place in places] for row in rows]


def read_mrpc(path: Path) -> list[PairItem]:
    """Read MRPC; the label comes first."""
    names = ("#1 String", "#2 String", "Quality")
    return [PairItem(*row) for row in read_columns(path, names)]


def read_rte(path: Path) -> list[PairItem]:
    """Read RTE."""
    return [PairItem(*row) for row in read_columns(path, ("sentence1", "sentence2", "label"))]


def read_afqmc(path: Path) -> list[PairItem]:
    """Read `text TAB text TAB label` lines without a header."""
    return [PairItem(*row) for row in read_columns(path, ("0", "1", "2"))]


def read_stsb(path: Path) -> list[ValueItem]:
    """Read STS-B; scores from 0 to 5."""
    rows = read_columns(path, ("sentence1", "sentence2", "score"))
    return [ValueItem(a, b, float(value)) for a, b, value in rows]
