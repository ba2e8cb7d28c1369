"""What all tools that write model folders share: checks, licences and checksums."""

import hashlib
import re
from pathlib import Path

from ..errors import Errors
from ..sources import SOURCES

# One of these tells a folder that a tool wrote, and may write again.
_MARKS = ("config.json", "tokenizer_report.json")
_LICENCE = re.compile(r"^(?:- )?licen[cs]e(?: as stated)?:\s*(.+)$", re.IGNORECASE | re.MULTILINE)


def find_licence(name: str, folder: Path) -> str:
    """Tell the licence of weights as far as the table or their model card does.

    name (str): What the user called them, perhaps an alias.
    folder (Path): Their folder.
    RETURNS (str): The licence, or that it is not known.
    """
    if name in SOURCES:
        return SOURCES[name].licence
    card = folder / "README.md"
    found = _LICENCE.search(card.read_text(encoding="utf-8")) if card.is_file() else None
    return found.group(1).strip() if found else "not known; ask where the weights came from"


def check_output(output: Path, source: Path | None = None) -> None:
    """Check that a new model folder may be written somewhere.

    output (Path): The new folder. A folder of a model or a tokenizer may be replaced.
    source (Path | None): The folder or checkpoint that is read.
    RAISES (ValueError): B676 if something else would be lost.
    """
    reason = ""
    if output.exists() and not output.is_dir():
        reason = "it is a file"
    elif source is not None and output.resolve() == source.resolve():
        reason = "it is the folder that is read"
    elif source is not None and output.resolve() in source.resolve().parents:
        reason = "it holds what is read"
    elif output.is_dir() and _is_foreign(output):
        reason = "it holds other files, which would be lost"
    if reason:
        raise ValueError(Errors.B676.format(path=output, reason=reason))


def _is_foreign(folder: Path) -> bool:
    """Whether a folder holds files, and none that tells a model or a tokenizer."""
    return any(folder.iterdir()) and not any((folder / mark).is_file() for mark in _MARKS)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file_:
        while chunk := file_.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
