"""What all tools that write model folders share: checks, cards, licences and checksums."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..sources import SOURCES, TOKENIZER_FILES
from ..util import checksum

CARD_FILE, WEIGHTS_FILE = "README.md", "model.safetensors"
# The licence of weights that were published without stating it.
IMPORTED = "that of the original weights, whose files do not state it; ask who published them"
# One of these tells that a folder may be a model or a pipeline, in which nothing else is to lie.
_MARKS = ("config.json", "tokenizer_report.json", "config.cfg")
# All that our tools write into the folder of a model or a tokenizer, as patterns.
_MODEL_FILES = (
    *("config.json", "generation_config.json", "model*.safetensors*", "int8.safetensors"),
    *(*TOKENIZER_FILES, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("merges.txt", "model*.onnx", CARD_FILE, "perplexity.svg", "accuracy.svg", "pretrain.cfg"),
    *("pretrain_report.json", "tokenizer_report.json", "vocab_report.json"),
    *("distill.json", "distill.cfg"),
)
# The same for pipelines, beside their components.
_PIPELINE_FILES = (
    *("config.cfg", "meta.json", "vocab", "tokenizer", CARD_FILE),
    *("calibrate.json", "optimize.json", "distill.json", "distill.cfg"),
)
_LICENCE = re.compile(r"^(?:- )?licen[cs]e\b[^:\n]*:[^\S\n]*(\S.*)$", re.IGNORECASE | re.MULTILINE)


def find_licence(name: str, folder: Path) -> str:
    """Tell the licence of weights as far as the table or their model card does.

    name (str): What the user called them, perhaps an alias.
    folder (Path): Their folder.
    RETURNS (str): The licence, or that it is not known.
    """
    if name in SOURCES:
        return SOURCES[name].licence
    card = folder / CARD_FILE
    # Cards come from anywhere, in any encoding.
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    found = _LICENCE.search(text)
    return found.group(1).strip() if found else "not known; ask where the weights came from"


def write_card(
    folder: Path, title: str, about: str, facts: Iterable[str], licence: str, rest: str = ""
) -> None:
    """Write the model card of a folder that is complete but for it.

    folder (Path): The folder.
    title (str): The heading.
    about (str): What the folder holds, in one sentence.
    facts (Iterable[str]): What it came from and how, a fact a line.
    licence (str): The licence of the weights it came from, as `find_licence` tells it.
    rest (str): What follows the list, as Markdown.
    """
    lines = [
        *facts,
        f"Licence as stated: {licence}",
        f"SHA-256 of {WEIGHTS_FILE}: {checksum(folder / WEIGHTS_FILE)}",
    ]
    card = f"# {title}\n\n{about}\n\n" + "".join(f"- {line}\n" for line in lines)
    card += f"\n{rest}" if rest else ""
    (folder / CARD_FILE).write_text(card, encoding="utf-8", newline="\n")


def check_output(output: Path, *sources: Path) -> None:
    """Check that a new model folder may be written somewhere.

    output (Path): The new folder. A folder of a model or a tokenizer may be replaced if it
        holds nothing else.
    sources (Path): The folders and files that are read.
    RAISES (ValueError): B676 if something would be lost, or it lies in a folder that is read.
    """
    if reason := _find_loss(output, sources, _model_parts):
        raise ValueError(Errors.B676.format(path=output, reason=reason))


def check_pipeline_output(output: Path, *sources: Path) -> None:
    """Check that a new pipeline may be written somewhere.

    output (Path): Its folder. That of an older pipeline may be replaced if nothing else lies
        beside its components. What lies in their folders is not looked at: any component
        may keep anything there.
    sources (Path): What is read: the pipeline, if it is a folder, and data.
    RAISES (ValueError): B633 if something would be lost, or it lies in a folder that is read.
    """
    if reason := _find_loss(output, sources, _pipeline_parts):
        raise ValueError(Errors.B633.format(path=output, reason=reason))


def holds(folder: Path, path: Path) -> bool:
    """Whether a path is a folder itself or lies anywhere in it."""
    return path.resolve().is_relative_to(folder.resolve())


def lies_in_model(path: Path, folder: Path) -> bool:
    """Whether a path lies in the folder of a model or a pipeline, and would become part of it.

    path (Path): The path.
    folder (Path): A folder, or anything else, in which nothing lies.
    """
    return any((folder / mark).is_file() for mark in _MARKS) and holds(folder, path)


def _find_loss(
    output: Path, sources: Sequence[Path], list_parts: Callable[[Path], Sequence[str]]
) -> str:
    """Say why writing a folder would lose something; nothing if it would not.

    output (Path): The folder.
    sources (Sequence[Path]): What is read.
    list_parts (Callable): Tells what may lie in an older one, as patterns of names; nothing if
        it is none.
    RETURNS (str): The reason.
    """
    if output.exists() and not output.is_dir():
        return "it is a file"
    if output.resolve() in [source.resolve() for source in sources]:
        return "it is the folder that is read"
    if any(holds(output, source) for source in sources):
        return "it holds what is read"
    if any(lies_in_model(output, source) for source in sources):
        return "it lies in the folder that is read, which would hold both from then on"
    if output.is_dir():
        parts = list_parts(output)
        for path in sorted(output.iterdir()):
            if not any(fnmatchcase(path.name, part) for part in parts):
                return f"it holds other files, such as {path.name}, which would be lost"
    return ""


def _model_parts(folder: Path) -> Sequence[str]:
    is_model = "model_type" in read_json(folder / "config.json")
    return _MODEL_FILES if is_model or (folder / "tokenizer.json").is_file() else ()


def _pipeline_parts(folder: Path) -> Sequence[str]:
    meta, config = read_json(folder / "meta.json"), folder / "config.cfg"
    if "lang" not in meta or not config.is_file():
        return ()
    if "[nlp]" not in config.read_text(encoding="utf-8", errors="replace").splitlines():
        return ()
    names = [*meta.get("components", ()), *meta.get("pipeline", ())]
    # spaCy's sentencizer is a file.
    return (*_PIPELINE_FILES, *names, *(f"{name}.json" for name in names))


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds; nothing if it holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
