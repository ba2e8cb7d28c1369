"""The files of a pipeline and of its components."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import spacy
import srsly
from spacy.language import Language
from thinc.api import Model

from ..errors import Errors
from ..util import atomic_file

_CODE = re.compile(r"\[[BE]\d+\]")


def load_pipeline(name: str | Path) -> Language:
    """Load a pipeline; where spaCy's own readers stumble over a damaged file, say of which.

    name (str | Path): Its folder, or the name of a package.
    RETURNS (Language): The pipeline.
    RAISES (ValueError): B310 with the reason, or a coded error of ours or of spaCy.
    RAISES (ImportError): If the pipeline needs a package that is missing.
    """
    try:
        return spacy.load(name)
    except (ImportError, MemoryError):
        raise
    except Exception as err:  # damaged bytes may raise anything
        reason = " ".join(str(err).split())
        is_coded = _CODE.match(reason)
        if is_coded and isinstance(err, ValueError):  # it says what is wrong, and what to do
            raise
        reason = reason if is_coded else f"{type(err).__name__}: {reason}"
        reason = reason[:300].rstrip(". ")
        raise ValueError(Errors.B310.format(path=name, reason=reason)) from err


def write_part(path: Path, data: bytes) -> None:
    """Write a file of a component; what stood there survives a failed write."""
    with atomic_file(path, "wb") as file_:
        file_.write(data)


def write_cfg(path: Path, cfg: dict[str, Any]) -> None:
    """Write what a component has learnt; what stood there survives a failed write."""
    write_part(path, srsly.json_dumps(cfg, indent=2).encode("utf-8"))


def read_part(path: Path, load: Callable[[bytes], Any]) -> Any:
    """Read a file of a component.

    path (Path): The file.
    load (Callable): Takes its bytes.
    RETURNS (Any): What `load` returns.
    RAISES (ValueError): B303 if the file is missing or damaged.
    """
    try:
        return load(Path(path).read_bytes())
    except Exception as err:  # noqa: BLE001 - damaged bytes may raise anything
        reason = f"{type(err).__name__}: {err}".splitlines()[0][:300]
        raise ValueError(Errors.B303.format(path=path, reason=reason)) from err


def read_cfg(data: bytes) -> dict[str, Any]:
    """Read the bytes of a cfg.

    data (bytes): JSON.
    RETURNS (dict[str, Any]): What it holds.
    RAISES (ValueError, TypeError): If it is no JSON, or no table of names and values.
    """
    return {**srsly.json_loads(data)}


def read_model(model: Model, data: bytes) -> None:
    """Read the weights of a model. Its settings stay what the config has made them.

    model (Model): The model.
    data (bytes): From `model.to_bytes`, which writes settings too.
    RAISES (ValueError): B207 if the weights do not fit.
    """
    given = [(node, dict(node.attrs)) for node in model.walk()]
    model.from_bytes(data)
    for node, attrs in given:
        node.attrs.update(attrs)
