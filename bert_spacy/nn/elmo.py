"""ELMo: words from characters, a language model in both directions, and a mix of its layers."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import Errors
from ..util import is_finite

Ints = NDArray[np.int64]
# What each layer's two directions remember: outputs, (2, B, H / 2), and cells, (2, B, C).
State = list[tuple[Tensor, Tensor]]

MODEL_TYPE = "elmo"
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
# 256 bytes, marks around texts and words, padding; id 0 is for what is masked.
N_CHARACTERS = 262
# Words spelled at once, and positions whose gates are computed at once: bounds of memory.
WORDS_AT_ONCE, POSITIONS_AT_ONCE = 512, 1024


@dataclass(frozen=True)
class ElmoConfig:
    """Sizes and settings of an ELMo.

    character_width (int): Width of the embedding of a character.
    max_characters (int): Most ids in a word.
    filters (list[tuple[int, int]]): Width and number of each kind of filter.
    activation (str): After the filters, "relu" or "tanh".
    n_highway (int): Highway layers.
    n_layers (int): Layers of the language model.
    cell_width (int): Width of the cells of one direction, C.
    projection_width (int): Width of the output of one direction, H / 2.
    cell_clip (float): Largest absolute value in a cell; 0 for no limit.
    projection_clip (float): The same for outputs.
    use_skip_connections (bool): Add to a layer's output its input, from the second on.
    """

    character_width: int
    max_characters: int
    filters: list[tuple[int, int]]
    activation: str
    n_highway: int
    n_layers: int
    cell_width: int
    projection_width: int
    cell_clip: float
    projection_clip: float
    use_skip_connections: bool

    @property
    def widest_filter(self) -> int:
        """Width of the widest filter."""
        return max(width for width, _ in self.filters)

    def problem(self) -> str | None:
        """Say what cannot be among the settings, None if all is well."""
        sizes = {
            "character_width": self.character_width,
            "max_characters": self.max_characters,
            "n_layers": self.n_layers,
            "cell_width": self.cell_width,
            "projection_width": self.projection_width,
            **{f"filters[{i}]": min(pair) for i, pair in enumerate(self.filters)},
        }
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                return f"{name} is {size!r} and must be 1 or more"
        if not self.filters or self.max_characters < max(3, self.widest_filter):
            return (
                f"filters {self.filters} need words of as many characters, and "
                f"max_characters is {self.max_characters}"
            )
        if self.activation not in ("relu", "tanh"):
            return f"activation is {self.activation!r} and must be 'relu' or 'tanh'"
        if not isinstance(self.n_highway, int):
            return f"n_highway is {self.n_highway!r} and must be a whole number"
        for name in ("n_highway", "cell_clip", "projection_clip"):
            value = getattr(self, name)
            if not is_finite(value) or value < 0:
                return f"{name} is {value!r} and must be a finite number, 0 or more"
        return None


class CharacterCnn(nn.Module):
    """Makes the vector of a word from its characters.

    config (ElmoConfig): Sizes.
    """

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.characters = nn.Embedding(N_CHARACTERS, config.character_width)
        self.filters = nn.ModuleList(
            nn.Conv1d(config.character_width, number, width) for width, number in config.filters
        )
        self.activate = torch.relu if config.activation == "relu" else torch.tanh
        total = sum(number for _, number in config.filters)
        # The first half of the output is the new value, the second the share that it takes.
        self.highway = nn.ModuleList(nn.Linear(total, 2 * total) for _ in range(config.n_highway))
        self.projection = nn.Linear(total, config.projection_width)

    def forward(self, spelled: Tensor) -> Tensor:
        """Embed words. Character ids (N, characters) to vectors (N, H / 2)."""
        return torch.cat([self._embed(part) for part in spelled.split(WORDS_AT_ONCE)])

    def _embed(self, spelled: Tensor) -> Tensor:
        letters = self.characters(spelled).transpose(1, 2)
        found = [self.activate(filter_(letters).amax(dim=2)) for filter_ in self.filters]
        vectors = torch.cat(found, dim=1)
        for layer in self.highway:
            new, gate = layer(vectors).chunk(2, dim=1)
            vectors = torch.lerp(vectors, torch.relu(new), torch.sigmoid(gate))
        return self.projection(vectors)


class LstmLayer(nn.Module):
    """An LSTM with projected outputs, in two directions that know nothing of each other.

    Weights of the gates stand in the order: input, new value, forget, output.

    config (ElmoConfig): Sizes and limits.
    """

    def __init__(self, config: ElmoConfig):
        super().__init__()
        cell, out = config.cell_width, config.projection_width
        self.cell_clip = config.cell_clip or math.inf
        self.projection_clip = config.projection_clip or math.inf
        self.input_weight = nn.Parameter(torch.empty(2, out, 4 * cell))
        self.output_weight = nn.Parameter(torch.empty(2, out, 4 * cell))
        self.bias = nn.Parameter(torch.zeros(2, 1, 4 * cell))
        self.projection = nn.Parameter(torch.empty(2, cell, out))
        for weight in (self.input_weight, self.output_weight, self.projection):
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def forward(
        self, inputs: Tensor, sizes: list[int], state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read sequences of falling length, all their first positions first.

        inputs (Tensor): Both directions, each in its order of reading. Shape (2, P, H / 2).
        sizes (list[int]): Sequences that reach each position; falling.
        state (tuple[Tensor, Tensor]): Outputs and cells to begin with.
        RETURNS (tuple[Tensor, tuple]): Outputs, shape (2, P, H / 2), and the state after
            the last position of each sequence.
        """
        out, cell = state
        outputs, ended, at = [], [], 0
        for block in _blocks(sizes):
            part = inputs[:, at : at + sum(block)]
            at += sum(block)
            gates = torch.baddbmm(self.bias, part, self.input_weight)
            for size, given in zip(block, gates.split(block, dim=1)):
                if size < out.shape[1]:
                    ended.append((out[:, size:], cell[:, size:]))
                    out, cell = out[:, :size], cell[:, :size]
                enter, new, keep, leave = torch.baddbmm(given, out, self.output_weight).chunk(4, 2)
                cell = torch.sigmoid(keep) * cell + torch.sigmoid(enter) * torch.tanh(new)
                cell = cell.clamp(-self.cell_clip, self.cell_clip)
                out = torch.bmm(torch.sigmoid(leave) * torch.tanh(cell), self.projection)
                out = out.clamp(-self.projection_clip, self.projection_clip)
                outputs.append(out)
        last = [(out, cell), *reversed(ended)]
        joined = torch.cat([x for x, _ in last], 1), torch.cat([x for _, x in last], 1)
        return torch.cat(outputs, dim=1), joined


class ElmoEncoder(nn.Module):
    """A language model over words in both directions, its layers mixed.

    config (ElmoConfig): Sizes.
    """

    # Pieces are the words themselves, and there is no pretrained pooler.
    tokenizer = None
    has_pooler = False
    has_weights = True

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.config = config
        self.embeddings = CharacterCnn(config)
        self.layers = nn.ModuleList(LstmLayer(config) for _ in range(config.n_layers))
        self.mix = ScalarMix(config.n_layers + 1)
        self.dropout = nn.Dropout(0.5)
        self.n_steps = 0

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mix.gamma.device

    @property
    def width(self) -> int:
        """Width of the hidden states, H."""
        return 2 * self.config.projection_width

    def forward(
        self, vectors: Tensor, lengths: Ints, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Read sequences and mix the layers; see `read`. Shape (P, H), and the new state."""
        layers, state = self.read(vectors, lengths, state)
        return self.dropout(self.mix(layers)), state

    def read(
        self, vectors: Tensor, lengths: Ints, state: State | None = None
    ) -> tuple[list[Tensor], State]:
        """Run the language model.

        vectors (Tensor): Words from `embeddings`, sequence after sequence, the marks of
            beginning and end included. Shape (P, H / 2).
        lengths (Ints): Words in each sequence, 1 or more, falling. Shape (B,).
        state (State): What to begin with, None for nothing.
        RETURNS (tuple[list[Tensor], State]): The words twice and each layer's output,
            shape (P, H) each; the state at the end of each sequence.
        """
        forth, back, sizes = _order(lengths)
        state = self.begin(len(lengths)) if state is None else state
        places = [torch.from_numpy(x).to(self.device) for x in (forth, back)]
        packed = torch.stack([vectors[torch.argsort(place)] for place in places])
        layers, new_state = [torch.cat([vectors, vectors], dim=1)], []
        for i, layer in enumerate(self.layers):
            output, end = layer(packed, sizes, state[i])
            new_state.append(end)
            packed = output + packed if i and self.config.use_skip_connections else output
            layers.append(torch.cat([packed[j, place] for j, place in enumerate(places)], dim=1))
        return layers, new_state

    def begin(self, n: int) -> State:
        """Return the state of so many sequences of which nothing was read."""
        sizes = (self.config.projection_width, self.config.cell_width)
        out, cell = (torch.zeros(2, n, size, device=self.device) for size in sizes)
        return [(out, cell)] * self.config.n_layers

    def freeze(self, what: str | int) -> None:
        """Stop gradients of a part of the model.

        what (str | int): "none"; "embeddings", the words from characters; a number of
            layers, counted from the embeddings up and with them; "lm", all but the mix;
            or "all".
        RAISES (ValueError): B126 for another value, or more layers than there are.
        """
        n_layers = self.config.n_layers
        known = ("none", "embeddings", "lm", "all")
        is_number = isinstance(what, int) and 0 <= what <= n_layers
        if what not in known and not is_number:
            raise ValueError(Errors.B126.format(value=what, n_layers=n_layers))
        n_frozen = what if isinstance(what, int) else n_layers if what in ("lm", "all") else 0
        self.embeddings.requires_grad_(what == "none")
        for i, layer in enumerate(self.layers):
            layer.requires_grad_(i >= n_frozen)
        self.mix.requires_grad_(what != "all")

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors into a folder."""
        config = {"model_type": MODEL_TYPE, **asdict(self.config)}
        text = json.dumps(config, indent=2) + "\n"
        (Path(folder) / CONFIG_FILE).write_text(text, encoding="utf-8")
        state = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        save_file(state, Path(folder) / WEIGHTS_FILE)


class ScalarMix(nn.Module):
    """The weighted mean of layers, times a factor; all of it is learnt.

    n (int): Number of layers.
    """

    def __init__(self, n: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(n))
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, layers: list[Tensor]) -> Tensor:
        """Mix layers of equal shape."""
        shares = (self.gamma * torch.softmax(self.weights, dim=0)).unbind()
        total = shares[0] * layers[0]
        for share, layer in zip(shares[1:], layers[1:]):
            total = torch.addcmul(total, share, layer)
        return total


def load_elmo(folder: Path) -> ElmoEncoder:
    """Load a folder that `ElmoEncoder.save` wrote.

    folder (Path): The folder.
    RETURNS (ElmoEncoder): In evaluation mode, float32.
    RAISES (ValueError): B125 if a file is missing or damaged.
    """
    path = Path(folder)
    try:
        settings = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
        config, problem = _read_config(settings)
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as err:
        raise ValueError(Errors.B125.format(folder=path, reason=_describe(err))) from err
    if problem:
        raise ValueError(Errors.B125.format(folder=path, reason=problem))
    encoder = ElmoEncoder(config)
    try:
        encoder.load_state_dict(load_file(path / WEIGHTS_FILE))
    except (OSError, RuntimeError, SafetensorError) as err:
        raise ValueError(Errors.B125.format(folder=path, reason=_describe(err))) from err
    return encoder.eval()


def _read_config(settings: dict[str, Any]) -> tuple[ElmoConfig, str | None]:
    kind = settings.pop("model_type", None)
    settings["filters"] = [(int(width), int(number)) for width, number in settings["filters"]]
    config = ElmoConfig(**settings)
    return config, config.problem() if kind == MODEL_TYPE else f"its model_type is {kind!r}"


def _describe(err: BaseException) -> str:
    return " ".join(f"{type(err).__name__}: {err}".split())[:300]


def _order(lengths: Ints) -> tuple[Ints, Ints, list[int]]:
    """Say where each word of some sequences stands when they are read side by side.

    lengths (Ints): Words in each sequence, falling. Shape (B,).
    RETURNS (tuple[Ints, Ints, list[int]]): Places when read forth and when read back,
        shape (P,) each, and the sequences that reach each position.
    """
    row = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    sizes = np.bincount(position)
    base = np.cumsum(sizes) - sizes
    return base[position] + row, base[lengths[row] - 1 - position] + row, sizes.tolist()


def _blocks(sizes: list[int]) -> list[list[int]]:
    # Runs of positions that together hold few enough words, at least one position each.
    blocks: list[list[int]] = []
    total = POSITIONS_AT_ONCE
    for size in sizes:
        if total + size > POSITIONS_AT_ONCE:
            blocks.append([])
            total = 0
        blocks[-1].append(size)
        total += size
    return blocks
