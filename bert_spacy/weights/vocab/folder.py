"""Open a model folder to change its vocabulary, and write the changed one."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor

from ...errors import Errors
from ...nn.encoder import TransformerEncoder, load_outline
from ...sources import resolve_name
from ...util import atomic_dir, checksum
from ..folders import WEIGHTS_FILE, find_licence, read_json, write_card

INDEX_FILE = "model.safetensors.index.json"
REPORT_FILE = "vocab_report.json"
# Layers of a head that come before the one with a row for each piece.
_WITHIN = re.compile(r"(?:dense|transform|norm)\.", re.IGNORECASE)
# What a tokenizer needs; older files beside these would tell of another vocabulary.
_KEPT_FILES = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}


@dataclass
class Source:
    """A model folder in memory.

    name (str): What the user called it.
    folder (Path): Where it is.
    outline (TransformerEncoder): Its tokenizer, and its model without values.
    state (dict[str, Tensor]): Its weights, those of heads too.
    config (dict[str, Any]): Its config.json.
    spec (dict[str, Any]): Its tokenizer as the JSON of the tokenizers package.
    """

    name: str
    folder: Path
    outline: TransformerEncoder
    state: dict[str, Tensor]
    config: dict[str, Any]
    spec: dict[str, Any]

    @property
    def kind(self) -> str:
        """Kind of the tokenizer, such as "WordPiece"."""
        return str(self.spec["model"]["type"])

    @property
    def backend(self) -> Tokenizer:
        """The tokenizer itself."""
        return self.outline.tokenizer.backend_tokenizer

    @property
    def unk_id(self) -> int:
        """Id of the unknown piece, -1 if there is none."""
        unk = self.outline.tokenizer.unk_token_id
        return -1 if unk is None else int(unk)

    @cached_property
    def pieces(self) -> dict[str, int]:
        """All pieces with their ids, added tokens too."""
        return dict(self.backend.get_vocab(with_added_tokens=True))

    @cached_property
    def embedding(self) -> str:
        """Name of the word embeddings among the weights."""
        model = self.outline.model
        inner = model.get_input_embeddings()
        bare = next(f"{name}.weight" for name, part in model.named_modules() if part is inner)
        for name in (bare, f"{model.base_model_prefix}.{bare}"):
            if name in self.state:
                return name
        raise ValueError(Errors.B677.format(name=self.name, reason=f"there are no weights {bare}"))

    @property
    def n_rows(self) -> int:
        """Rows of the word embeddings."""
        return len(self.state[self.embedding])

    @property
    def row_names(self) -> list[str]:
        """Names of all weights with a row for each piece, the embedding first.

        Beside the embedding these are weights of heads, such as the decoder and the
        bias of a masked-word head, and are told by their length.
        """
        model = self.outline.model
        own = set(model.state_dict())
        heads = [
            name
            for name, value in sorted(self.state.items())
            if value.dim()
            and len(value) == self.n_rows
            # Square maps within a head may be as long by chance.
            and not _WITHIN.search(name)
            and name.removeprefix(f"{model.base_model_prefix}.") not in own
        ]
        return [self.embedding, *heads]

    @cached_property
    def licence(self) -> str:
        """Licence of the weights as far as the table or the model card tells."""
        return find_licence(self.name, self.folder)


def open_source(name: str) -> Source:
    """Read a model folder.

    name (str): A folder or an alias.
    RETURNS (Source): The folder in memory.
    RAISES (ValueError): B801 to B805 if there is no such folder; B100 without safetensors;
        B101 for its tokenizer; B677 if weights and tokenizer do not fit.
    """
    folder = Path(resolve_name(name))
    if not folder.is_dir():
        raise ValueError(Errors.B804.format(folder=name))
    outline = load_outline(str(folder))
    source = Source(
        name=name,
        folder=folder,
        outline=outline,
        state=_read_state(folder),
        config=json.loads((folder / "config.json").read_text(encoding="utf-8")),
        spec=json.loads(outline.tokenizer.backend_tokenizer.to_str()),
    )
    last = max(source.pieces.values())
    if last >= source.n_rows:
        reason = f"the tokenizer has id {last}, but there are {source.n_rows} embeddings"
        raise ValueError(Errors.B677.format(name=name, reason=reason))
    return source


@contextmanager
def new_folder(
    source: Source, output: Path, spec: dict[str, Any], state: dict[str, Tensor]
) -> Iterator[Path]:
    """Write an ordinary Hugging Face folder under a temporary name, and rename it.

    source (Source): The folder it was made from.
    output (Path): The final folder.
    spec (dict[str, Any]): The new tokenizer.
    state (dict[str, Tensor]): The new weights.
    YIELDS (Path): The temporary folder, complete but for what the caller adds.
    """
    n_rows = len(state[source.embedding])
    ids = {
        source.pieces[piece]: new for piece, new in _ids_of(spec).items() if piece in source.pieces
    }
    config = {**source.config, "vocab_size": n_rows}
    for key, value in source.outline.model.config.to_dict().items():
        if key.endswith("_token_id") and isinstance(value, int) and value in ids:
            config[key] = ids[value]
    with atomic_dir(output) as folder:
        source.outline.tokenizer.save_pretrained(folder)
        for path in folder.iterdir():
            if path.name not in _KEPT_FILES:
                path.unlink()
        _write_json(folder / "tokenizer.json", spec)
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        settings["added_tokens_decoder"] = {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in spec["added_tokens"]
        }
        _write_json(folder / "tokenizer_config.json", settings)
        pieces = sorted(_ids_of(spec).items(), key=lambda item: item[1])
        if source.kind == "WordPiece" and [number for _, number in pieces] == [*range(len(pieces))]:
            lines = "".join(f"{piece}\n" for piece, _ in pieces)
            (folder / "vocab.txt").write_text(lines, encoding="utf-8", newline="\n")
        _write_json(folder / "config.json", config)
        (folder / WEIGHTS_FILE).write_bytes(save(state, metadata={"format": "pt"}))
        yield folder


def write_report(
    folder: Path, source: Source, about: str, facts: list[str], report: dict[str, Any]
) -> None:
    """Write the model card and the report of a new folder.

    folder (Path): The folder.
    source (Source): What it was made from.
    about (str): What was done, in one sentence.
    facts (list[str]): Facts for the card.
    report (dict[str, Any]): What goes into the report, as JSON; the checksum of the weights is
        added. No times: a repeat gives the same file.
    """
    title = f"{source.folder.name}, with another vocabulary"
    facts = [f"Made from: `{source.name}`", *facts]
    write_card(folder, title, about, facts, source.licence)
    report["checksum"] = checksum(folder / WEIGHTS_FILE)
    _write_json(folder / REPORT_FILE, report)


def _ids_of(spec: dict[str, Any]) -> dict[str, int]:
    vocab = spec["model"]["vocab"]
    if isinstance(vocab, list):
        vocab = {piece: number for number, (piece, _) in enumerate(vocab)}
    return {**vocab, **{token["content"]: token["id"] for token in spec["added_tokens"]}}


def _read_state(folder: Path) -> dict[str, Tensor]:
    names = [WEIGHTS_FILE]
    if (folder / INDEX_FILE).is_file():
        files = read_json(folder / INDEX_FILE).get("weight_map")
        if not isinstance(files, dict) or not files:
            reason = f"{INDEX_FILE} has no 'weight_map' that tells which files to read"
            raise ValueError(Errors.B100.format(name=str(folder), reason=reason))
        names = sorted({str(file_) for file_ in files.values()})
    try:
        return {name: value for file_ in names for name, value in load_file(folder / file_).items()}
    except Exception as err:  # noqa: BLE001 - safetensors raises its own kind
        reason = f"{type(err).__name__}: {err}"
        raise ValueError(Errors.B100.format(name=str(folder), reason=reason)) from err


def _write_json(path: Path, data: Any) -> None:
    text = json.dumps(data, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def unknown_rate(n_unknown: int, n_pieces: int) -> float:
    """Return the share of unknown pieces, 0..1."""
    return n_unknown / n_pieces if n_pieces else 0.0


def pick_rows(state: dict[str, Tensor], names: list[str], rows: Tensor) -> dict[str, Tensor]:
    """Return weights with some rows of those that have one for each piece.

    state (dict[str, Tensor]): All weights.
    names (list[str]): Those with a row for each piece.
    rows (Tensor): Row numbers, int64. Shape (N,).
    RETURNS (dict[str, Tensor]): New weights, the others as they were.
    """
    return {
        name: torch.index_select(value, 0, rows) if name in names else value
        for name, value in state.items()
    }
