"""Ratios, their statistics, and the table and JSON of the speed benchmark."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bert_spacy.util import atomic_file

HEADER = ("what", "against", "ratio", "spread", "target")


@dataclass
class Result:
    """One row of the table.

    id (str): Short name, as for --only.
    what (str): Ours.
    against (str): The other side.
    target (float | None): The least ratio to reach, or with `is_share` the largest share.
    is_share (bool): The value is a share of time or of memory and not a ratio of speeds.
    rounds (list[float]): The ratio of each round; above 1 ours is faster.
    ours (list[float]): Units a second of each round; not a result, as machines differ.
    theirs (list[float]): The same of the other side.
    differences (dict[str, float]): How far the answers of both sides differ.
    problems (list[str]): Differences beyond the tolerance, and what else is to be known.
    reason (str): Why there is nothing measured.
    measured (str): Time of the measurement.
    """

    id: str
    what: str
    against: str
    target: float | None = None
    is_share: bool = False
    rounds: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    differences: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    reason: str = ""
    measured: str = ""

    @property
    def ratio(self) -> float | None:
        """Median over the rounds, or None."""
        return median(self.rounds) if self.rounds else None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None without a target or a measurement."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio <= self.target if self.is_share else self.ratio >= self.target


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Divide speeds round by round: the two sides of a round ran next to each other."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def format_value(value: float, is_share: bool) -> str:
    """Write a ratio with three digits, a share in percent."""
    if is_share:
        return f"{100 * value:.1f} %"
    return f"{value:.1f}x" if value >= 10 else f"{value:.2f}x"


def row_cells(result: Result) -> tuple[str, str, str, str, str]:
    """Write one row: what, against, ratio, spread, target."""
    share = result.is_share
    if result.ratio is None:
        ratio, spread = "-", "-"
    else:
        ratio = format_value(result.ratio, share)
        low, high = min(result.rounds), max(result.rounds)
        spread = f"{format_value(low, share)} to {format_value(high, share)}"
    target = "-"
    if result.target is not None:
        sign = "under" if share else "at least"
        target = f"{sign} {format_value(result.target, share)}"
        if result.is_met is not None:
            target += " (met)" if result.is_met else " (missed)"
    return result.what, result.against, ratio, spread, target


def format_table(results: Sequence[Result]) -> str:
    """Write the Markdown table and, under it, a note for each row that needs one."""
    rows = [HEADER, *(row_cells(result) for result in results)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEADER))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in rows
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    notes = [note for result in results for note in _notes(result)]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def _notes(result: Result) -> list[str]:
    name = f"{result.id}: "
    if result.reason:
        return [f"{name}not measured: {result.reason}"]
    return [f"{name}{problem}" for problem in result.problems]


def to_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Give the rows as plain data, with their statistics."""
    return [
        {**asdict(result), "ratio": result.ratio, "is_met": result.is_met} for result in results
    ]


def from_json(rows: Sequence[dict[str, Any]]) -> list[Result]:
    """Read what `to_json` gave."""
    names = set(Result.__dataclass_fields__)
    return [Result(**{key: row[key] for key in names & row.keys()}) for row in rows]


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write JSON under a temporary name first, so that a reader never sees half of it."""
    with atomic_file(path) as file:
        json.dump(data, file, indent=1, ensure_ascii=False)
        file.write("\n")
