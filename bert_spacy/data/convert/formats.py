"""The table of formats: to add one, write a reader and add a line."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import Errors
from .choices import read_arc, read_c3, read_swag
from .conll import ConllOptions, read_conll
from .jsonl import JsonlOptions, read_cluener, read_jsonl
from .labels import Options
from .pairs import GlueOptions, PairOptions, read_glue, read_pairs
from .rows import Row, RowError
from .squad import SquadOptions, read_squad
from .tables import TableOptions, read_csv, read_tsv


@dataclass(frozen=True)
class Format:
    """One foreign format.

    read (Callable): Takes a path and options, yields rows and problems.
    options (type): The options' dataclass; its fields are all that can be set.
    suffixes (tuple[str, ...]): Files to take when a folder is given.
    """

    read: Callable[[Path, Any], Iterator[Row | RowError]]
    options: type[Options]
    suffixes: tuple[str, ...]


_PAIRS = Format(read_pairs, PairOptions, (".tsv", ".txt", ".csv", ".jsonl", ".json"))
FORMATS = {
    "tsv": Format(read_tsv, TableOptions, (".tsv", ".txt")),
    "csv": Format(read_csv, TableOptions, (".csv",)),
    "jsonl": Format(read_jsonl, JsonlOptions, (".jsonl", ".json")),
    "conll": Format(
        read_conll,
        ConllOptions,
        (".conll", ".conllu", ".conllup", ".col", ".iob", ".bio", ".bioes", ".bmes", ".ner"),
    ),
    "cluener": Format(read_cluener, Options, (".json", ".jsonl")),
    "glue": Format(read_glue, GlueOptions, (".tsv",)),
    "pairs": _PAIRS,
    "afqmc": _PAIRS,
    "lcqmc": _PAIRS,
    "squad": Format(read_squad, SquadOptions, (".json", ".jsonl")),
    "swag": Format(read_swag, Options, (".csv",)),
    "c3": Format(read_c3, Options, (".json",)),
    "arc": Format(read_arc, Options, (".jsonl",)),
}


def get_format(name: str) -> Format:
    """Return a format by name.

    name (str): A key of `FORMATS`.
    RETURNS (Format): The format.
    RAISES (ValueError): B409 for another name.
    """
    if name not in FORMATS:
        raise ValueError(Errors.B409.format(name=name, allowed=", ".join(FORMATS)))
    return FORMATS[name]


def find_files(name: str, paths: Sequence[Path]) -> list[Path]:
    """List the files to read: files as given, and those in folders.

    name (str): The format, whose suffixes choose files in a folder.
    paths (Sequence[Path]): Files and folders.
    RETURNS (list[Path]): The files, those of one folder sorted by name.
    RAISES (ValueError): B409 for an unknown format; B410 if a path is missing or
        a folder has no such file.
    """
    suffixes = get_format(name).suffixes
    files: list[Path] = []
    for path in paths:
        found = [path] if path.is_file() else []
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.is_file())
            found = [
                p for p in inside if p.suffix.lower() in suffixes and not p.name.startswith(".")
            ]
        if not found:
            raise ValueError(Errors.B410.format(path=path, suffixes=" ".join(suffixes)))
        files += found
    return files
