"""Helpers that more than one floor needs."""

import hashlib
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

from .errors import Errors

# Ends the name of what stood there until the new folder has its place.
_OLD = ".old"
# It cannot be read without setting it, for all threads: done once.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


def is_finite(value: Any) -> bool:
    """Say whether a value is a finite number, of Python or NumPy."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file_:
        while chunk := file_.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def checksum_all(paths: Iterable[Path]) -> str:
    """Return one SHA-256 of what several files hold, in their order; names do not count."""
    return hashlib.sha256("".join(map(checksum, paths)).encode()).hexdigest()


def check_folder(path: Path) -> None:
    """Look whether there can be a folder somewhere.

    path (Path): The folder, which need not exist.
    RAISES (ValueError): B811 if it, or one that it would lie in, is a file.
    """
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise ValueError(Errors.B811.format(path=path, place=place))


def check_file(path: Path, used: Iterable[Path] = ()) -> None:
    """Look whether a file may be written somewhere, new or in the place of another one.

    path (Path): The file. A link to a file may be replaced.
    used (Iterable[Path]): Files that must stay.
    RAISES (ValueError): B810 if a folder stands there, or a device such as /dev/null, in whose
        place renaming would put an ordinary file for all programs; B811 if a parent is a file;
        B623 if it is one in use.
    """
    for other in used:
        if path.resolve() == other.resolve():
            raise ValueError(Errors.B623.format(path=other))
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no ordinary file"
        raise ValueError(Errors.B810.format(path=path, what=what))
    check_folder(path.parent)


@contextmanager
def atomic_file(path: Path, mode: str = "w", encoding: str | None = "utf-8") -> Iterator:
    """Write a file under a temporary name beside it and rename it when complete.

    path (Path): The final path. Missing parent folders are made.
    mode (str): "w" for text, "wb" for bytes.
    YIELDS (IO): The open temporary file. On an exception it is deleted and
        whatever stood at `path` stays as it was.
    RAISES (ValueError): B810 if a folder or a device stands there, B811 if a parent is a file.
    """
    path = Path(path)
    check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else encoding) as file_:
            yield file_
        _open_up(Path(temporary))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name beside it and rename it when complete.

    path (Path): The final path; a folder that stands there is replaced only
        after the new one is complete.
    YIELDS (Path): The temporary folder to fill.
    RAISES (ValueError): B811 if a file stands there, or in the place of a parent.
    """
    path = Path(path)
    check_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    old = temporary.with_name(temporary.name + _OLD)
    try:
        yield temporary
        _open_up(temporary)
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        if old.is_symlink():
            old.unlink()
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise


def _open_up(path: Path) -> None:
    """Give a file, or a folder and what is in it, the modes that anything new has.

    Temporary files, and those of safetensors, are for their owner alone.
    """
    for place in (path, *(path.rglob("*") if path.is_dir() else ())):
        if place.is_symlink():
            continue
        if place.is_dir():  # in a folder that a group shares, it stays the group's
            place.chmod(0o777 & ~_UMASK | place.stat().st_mode & stat.S_ISGID)
        else:
            place.chmod(0o666 & ~_UMASK)


def remove_unfinished(path: Path) -> None:
    """Remove what `atomic_dir` left beside a folder each time that it was killed.

    path (Path): The final path. Whole folders that were about to be replaced stay.
    """
    for temporary in path.parent.glob(f".{path.name}.*"):
        if temporary.suffix != _OLD:
            shutil.rmtree(temporary, ignore_errors=True)
