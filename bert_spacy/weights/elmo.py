"""Make a folder of ours from the options and weights that AllenNLP published for ELMo."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import Errors
from ..nn.elmo import N_CHARACTERS, ElmoConfig, ElmoEncoder
from ..util import atomic_dir, checksum
from .folders import IMPORTED, write_card


def import_elmo(options: Path, weights: Path, output: Path) -> ElmoConfig:
    """Convert a published ELMo into a folder that `bert-spacy.ElmoEncoder.v1` loads.

    options (Path): The options, as JSON.
    weights (Path): The weights, as HDF5.
    output (Path): The folder to write; it must be new or empty.
    RETURNS (ElmoConfig): Its settings. The mix of the layers is new: all alike.
    RAISES (ImportError): B690 without h5py.
    RAISES (ValueError): B691 for options or weights that cannot be, B692 if there is
        something at the output.
    """
    options, weights, output = Path(options), Path(weights), Path(output)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ValueError(Errors.B692.format(path=output))
    config = read_options(options)
    encoder = ElmoEncoder(config)
    state = _read_weights(weights, config)
    state.update({f"mix.{name}": value for name, value in encoder.mix.state_dict().items()})
    encoder.load_state_dict(state)
    with atomic_dir(output) as folder:
        encoder.save(folder)
        facts = [
            *(f"Made from: `{path.name}`, SHA-256 {checksum(path)}" for path in (options, weights)),
            f"Command: `bert-spacy weights import-elmo {options.name} {weights.name} OUT`",
            f"Layers: {config.n_layers} of width {2 * config.projection_width}; their mix is new",
            "Architecture: `bert-spacy.ElmoEncoder.v1`; `AutoModel` of Transformers has no ELMo",
        ]
        write_card(folder, output.name, "An ELMo, as published.", facts, IMPORTED)
    return config


def read_options(path: Path) -> ElmoConfig:
    """Read the settings that AllenNLP publishes.

    path (Path): The file.
    RETURNS (ElmoConfig): The settings.
    RAISES (ValueError): B691 if one is missing or cannot be.
    """
    try:
        options = json.loads(path.read_text(encoding="utf-8-sig"))
        characters, lstm = options["char_cnn"], options["lstm"]
        config = ElmoConfig(
            character_width=characters["embedding"]["dim"],
            max_characters=characters["max_characters_per_token"],
            filters=[(int(width), int(number)) for width, number in characters["filters"]],
            activation=characters["activation"],
            n_highway=characters["n_highway"],
            n_layers=lstm["n_layers"],
            cell_width=lstm["dim"],
            projection_width=lstm["projection_dim"],
            cell_clip=lstm["cell_clip"] or 0,
            projection_clip=lstm["proj_clip"] or 0,
            use_skip_connections=bool(lstm["use_skip_connections"]),
        )
        problem = config.problem()
    except KeyError as err:
        raise ValueError(Errors.B691.format(path=path, reason=f"there is no {err}")) from err
    except (OSError, TypeError, ValueError) as err:
        raise ValueError(Errors.B691.format(path=path, reason=err)) from err
    if problem:
        raise ValueError(Errors.B691.format(path=path, reason=problem))
    return config


def _read_weights(path: Path, config: ElmoConfig) -> dict[str, Tensor]:
    """Read the published tensors under our names and in our shapes; see B691."""
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as err:
        raise ImportError(Errors.B690.format(path=path)) from err
    try:
        with h5py.File(path, "r") as file_:
            tensors = _Tensors(file_, path)
            state = _rename(tensors, config)
            tensors.check_all_read()
            return state
    except OSError as err:
        raise ValueError(Errors.B691.format(path=path, reason=err)) from err


class _Tensors:
    """Reads tensors of a file and checks their shapes."""

    def __init__(self, file_: Any, path: Path):
        self.file = file_
        self.path = path
        self.done: set[str] = set()

    def read(self, name: str, *shape: int) -> Tensor:
        found = self.file.get(name)
        self.done.add(name)
        actual = getattr(found, "shape", None)  # None for what is missing, and for a group
        if actual != shape:
            reason = f"{name} has shape {actual}, and {shape} is needed"
            raise ValueError(Errors.B691.format(path=self.path, reason=reason))
        return torch.from_numpy(np.asarray(found[...], dtype=np.float32))

    def check_all_read(self) -> None:
        """Refuse a file with tensors that the settings do not ask for: it is another model."""
        names: set[str] = set()

        def note(name: str, part: Any) -> None:
            if hasattr(part, "shape"):  # no group
                names.add(name)

        self.file.visititems(note)
        if left := sorted(names - self.done):
            reason = f"the options ask for none of its tensors {', '.join(left[:5])}"
            raise ValueError(Errors.B691.format(path=self.path, reason=reason))


def _rename(tensors: _Tensors, config: ElmoConfig) -> dict[str, Tensor]:
    width = config.character_width
    embedding = tensors.read("char_embed", N_CHARACTERS - 1, width)
    # The file has no row for id 0, which stands for what is masked.
    state = {"characters.weight": torch.cat([torch.zeros(1, width), embedding])}
    for i, (size, number) in enumerate(config.filters):
        weight = tensors.read(f"CNN/W_cnn_{i}", 1, size, width, number)
        state[f"filters.{i}.weight"] = weight[0].permute(2, 1, 0).contiguous()
        state[f"filters.{i}.bias"] = tensors.read(f"CNN/b_cnn_{i}", number)
    total = sum(number for _, number in config.filters)
    for i in range(config.n_highway):
        for kind, shape in (("weight", (total, total)), ("bias", (total,))):
            parts = [
                tensors.read(f"CNN_high_{i}/{kind[0].replace('w', 'W')}_{part}", *shape)
                for part in ("transform", "carry")
            ]
            state[f"highway.{i}.{kind}"] = torch.cat([part.t() for part in parts]).contiguous()
    out, cell = config.projection_width, config.cell_width
    state["projection.weight"] = tensors.read("CNN_proj/W_proj", total, out).t().contiguous()
    state["projection.bias"] = tensors.read("CNN_proj/b_proj", out)
    state = {f"embeddings.{name}": value for name, value in state.items()}
    for i in range(config.n_layers):
        cells = [f"RNN_{d}/RNN/MultiRNNCell/Cell{i}/LSTMCell" for d in (0, 1)]
        both = torch.stack([tensors.read(f"{name}/W_0", 2 * out, 4 * cell) for name in cells])
        bias = torch.stack([tensors.read(f"{name}/B", 4 * cell)[None] for name in cells])
        # TensorFlow adds 1 to the gate that keeps, outside of the weights.
        bias[..., 2 * cell : 3 * cell] += 1
        state[f"layers.{i}.input_weight"] = both[:, :out].contiguous()
        state[f"layers.{i}.output_weight"] = both[:, out:].contiguous()
        state[f"layers.{i}.bias"] = bias
        state[f"layers.{i}.projection"] = torch.stack(
            [tensors.read(f"{name}/W_P_0", cell, out) for name in cells]
        )
    return state
