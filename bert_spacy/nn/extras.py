"""The files that `optimize` puts beside an encoder's weights, in the same Hugging Face folder."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import Errors
from .quantize import BlockRanges

WEIGHTS_FILE = "model.safetensors"
RANGES_FILE = "int8.safetensors"
ONNX_FILES = {"fp32": "model.onnx", "int8": "model_int8.onnx"}


@dataclass
class Extras:
    """What `optimize` has made for an encoder.

    ranges (list[BlockRanges] | None): For int8 in torch, one a layer.
    onnx (dict[str, Path]): File of the exported model by precision, "fp32" or "int8".
    weights (int): Which weights these belong to, see `backends.count_changes`.
    """

    ranges: list[BlockRanges] | None = None
    onnx: dict[str, Path] = field(default_factory=dict)
    weights: int | None = None


def load_extras(folder: Path) -> Extras:
    """Find what is in an encoder's folder; models for onnxruntime are read when they are used.

    folder (Path): The folder.
    RETURNS (Extras): What there is, perhaps nothing.
    RAISES (ValueError): B132 if the ranges cannot be read.
    """
    folder = Path(folder)
    onnx = {key: folder / name for key, name in ONNX_FILES.items() if (folder / name).is_file()}
    path = folder / RANGES_FILE
    return Extras(_load_ranges(path) if path.is_file() else None, onnx)


def save_extras(extras: Extras, folder: Path) -> None:
    """Write what there is into an encoder's folder.

    extras (Extras): From `load_extras`, or new.
    folder (Path): The folder.
    """
    for precision, path in extras.onnx.items():
        target = Path(folder) / ONNX_FILES[precision]
        if path.resolve() != target.resolve():
            shutil.copyfile(path, target)
    if extras.ranges is not None:
        tensors = {
            f"{i}.{name}": tensor.contiguous()
            for i, ranges in enumerate(extras.ranges)
            for name, tensor in ranges.to_tensors().items()
        }
        # Layers that share weights share ranges, which safetensors does not allow.
        save_file({k: t.clone() for k, t in tensors.items()}, Path(folder) / RANGES_FILE)


def _load_ranges(path: Path) -> list[BlockRanges]:
    layers: dict[int, dict] = {}
    try:
        for key, tensor in load_file(path).items():
            number, _, name = key.partition(".")
            layers.setdefault(int(number), {})[name] = tensor
        return [BlockRanges.from_tensors(layers[i]) for i in range(len(layers))]
    except (SafetensorError, KeyError, TypeError, ValueError) as err:
        reason = f"{type(err).__name__}: {err}"[:200]
        raise ValueError(Errors.B132.format(path=path, reason=reason)) from err
