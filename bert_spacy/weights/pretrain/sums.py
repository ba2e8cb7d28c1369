"""Checksums of the files that a pretraining reads: whether they are still the same."""

from pathlib import Path

from ...util import checksum
from ..corpus import find_files
from .settings import Settings

# By part, "train", "dev" or "weights": SHA-256 by file.
Sums = dict[str, dict[str, str]]
# Of a model folder, what is read has one of these suffixes.
_SUFFIXES = (".json", ".model", ".safetensors", ".txt")


def read_sums(settings: Settings, folder: Path) -> Sums:
    """Take the checksums of all files that there are.

    settings (Settings): Say where the corpus is.
    folder (Path): Folder of the weights or of the tokenizer.
    RETURNS (Sums): The checksums. A part of the corpus that is gone has no files.
    """
    sums = {
        part: {str(file_): checksum(file_) for path in paths for file_ in find_files(path)}
        for part, paths in settings.corpus.parts.items()
    }
    files = [path for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES]
    return {**sums, "weights": {path.name: checksum(path) for path in files}}


def find_change(then: Sums, now: Sums) -> str | None:
    """Name a file that is new, gone or another.

    then, now (Sums): Checksums. Parts of which nothing is left now are passed over: what was
        read once may be deleted.
    RETURNS (str | None): The file; None if all is the same.
    """
    for part, files in now.items():
        old = then.get(part, {})
        for name in sorted(files.keys() | old.keys()) if files else ():
            if files.get(name) != old.get(name):
                return name
    return None
