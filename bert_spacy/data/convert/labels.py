"""Column choice, labels and label maps, shared by several formats."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import Errors
from .text import is_broken, read_lines

# Names of a label's column in Chinese headers.
CHINESE_LABEL_NAMES = ("标签", "类别", "分类", "类目", "类型", "情感", "情感倾向")


class BadLabel(ValueError):
    """A label that cannot be used; the message says why."""


class Options:
    """Base of the options of a format."""

    def label_names(self) -> list[str]:
        """Return category labels that are known before any row is read."""
        return []


@dataclass(frozen=True)
class LabelMapOptions(Options):
    """Options of formats whose labels can be mapped.

    label_map (Path): A file of names, one per line and meant by their 0-based
        index, or of lines `number TAB name`. None to take labels as they are.
    """

    label_map: Path | None = None

    def label_names(self) -> list[str]:
        """Return the names in the label map."""
        return [] if self.label_map is None else list(read_label_map(self.label_map).values())


def read_label_map(path: Path) -> dict[str, str]:
    """Read a label map; names stand for themselves too.

    path (Path): The file, see `LabelMapOptions`.
    RETURNS (dict[str, str]): Label name by the value that stands in the data.
    RAISES (ValueError): B404 if the file is empty or not UTF-8, mixes the two ways to
        write it, or has a value or name twice.
    """
    lines = [(n, line.strip()) for n, line in read_lines(path) if line.strip()]
    for number, line in lines:
        if is_broken(line):
            problem = f"line {number} is not valid UTF-8"
            raise ValueError(Errors.B404.format(path=path, problem=problem))
    cells = [line.split("\t") for _, line in lines]
    widths = {len(row) for row in cells}
    if widths == {1}:
        pairs = [(str(index), row[0]) for index, row in enumerate(cells)]
    elif widths == {2}:
        pairs = [(row[0].strip(), row[1].strip()) for row in cells]
    else:
        raise ValueError(Errors.B404.format(path=path, problem="lines are not all of one kind"))
    keys, names = [key for key, _ in pairs], [name for _, name in pairs]
    if len(set(keys)) < len(keys) or len(set(names)) < len(names):
        raise ValueError(Errors.B404.format(path=path, problem="a number or name stands twice"))
    # A name wins over an index: the map "0", "1" means the names, not the places.
    return {**dict(pairs), **{name: name for name in names}}


def read_label(label: Any, label_map: Mapping[str, str] | None) -> str:
    """Return a JSON value or a cell as the name of a label.

    label (Any): A text, a number, or true and false, which are named so.
    label_map (Mapping[str, str]): See `read_label_map`; None to take labels as they are.
    RETURNS (str): The name.
    RAISES (BadLabel): For another value, an empty one, and one that is not in the map.
    """
    if isinstance(label, bool):
        label = str(label).lower()
    if not isinstance(label, str | int | float):
        raise BadLabel(f"label {label!r} is neither text nor a number")
    if isinstance(label, float) and not math.isfinite(label):
        raise BadLabel(f"label {label!r} is no finite number")
    name = str(label).strip()
    if not name or is_broken(name):
        raise BadLabel(f"label {label!r} is empty or cannot be used")
    if label_map is not None and name not in label_map:
        raise BadLabel(f"label {name!r} is not in the label map")
    return label_map[name] if label_map is not None else name


def check_header(cells: Sequence[Any], path: Path) -> None:
    """Refuse a first row whose names cannot be read.

    cells (Sequence[Any]): The first row.
    path (Path): The file, for the message.
    RAISES (ValueError): B425 if it is not valid UTF-8.
    """
    if any(is_broken(str(cell)) for cell in cells):
        raise ValueError(Errors.B425.format(path=path))


def find_column(spec: str | int, names: Sequence[str] | None, width: int, path: Path) -> int:
    """Find a column by its number or its name in the header.

    spec (str | int): 0-based number, negative to count from the end, or name.
    names (Sequence[str]): The header; None if there is none.
    width (int): Number of columns.
    path (Path): The file, for the message.
    RETURNS (int): 0-based number.
    RAISES (ValueError): B405 if there is no such column; B428 if there are several.
    """
    if names is not None and spec in names:
        return locate(str(spec), names, path)
    if re.fullmatch(r"-?\d+", str(spec)) and -width <= int(spec) < width:
        return int(spec) % width
    known = ", ".join(names) if names is not None else "no header"
    raise ValueError(Errors.B405.format(path=path, column=spec, last=width - 1, names=known))


def locate(name: str, names: Sequence[str], path: Path) -> int:
    """Find the one column of a name that stands in the header.

    name (str): The name.
    names (Sequence[str]): The header.
    path (Path): The file, for the message.
    RETURNS (int): 0-based number.
    RAISES (ValueError): B428 if there are several.
    """
    count = list(names).count(name)
    if count > 1:
        raise ValueError(Errors.B428.format(path=path, name=name, count=count))
    return list(names).index(name)
