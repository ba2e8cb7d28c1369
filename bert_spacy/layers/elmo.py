"""ELMo as a thinc layer: Docs in, one packed EncoderBatch with one piece a token out."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from spacy.attrs import IDX, IS_SPACE, LENGTH, ORTH
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model, get_torch_default_device
from torch import Tensor

from ..errors import Errors, Warnings
from ..nn.elmo import ElmoConfig, ElmoEncoder, State, load_elmo
from ..text.characters import spell_words
from ..text.windows import pack_windows
from ..types import SEGMENTS, EncoderBatch, EncoderGradient, Ints, Layout, concat_ranges
from .checks import check_number
from .encoder import SPILL_BYTES, check_budget, predict_groups, update_groups
from .inputs import segment_bounds
from .listener import no_gradient, replace_listener
from .shims import FolderShim

Freeze = Literal["none", "embeddings", "lm", "all"] | int
# Words of all Docs that are read side by side.
WORDS_AT_ONCE = 4096


@registry.architectures("bert-spacy.ElmoEncoder.v1")
def build_elmo_encoder_v1(
    name: str,
    max_batch_pieces: int | None = None,
    freeze: Freeze = "lm",
    dropout: float = 0.5,
    mix_lr_multiplier: float = 100.0,
    stateful: bool = False,
) -> Model[list[Doc], EncoderBatch]:
    """Build an ELMo without weights; `initialize` loads those that it names.

    A Doc is one sequence, however long, between the marks of a sentence. Every token
    that is no white space is a piece of its own. `cls` is what each direction has read at its end.

    name (str): A folder that `python -m bert_spacy weights import-elmo` has written.
        Read in `initialize` alone: a saved pipeline carries its weights.
    max_batch_pieces (int): Most words, and two marks a Doc, that are read side by side: as
        many times the longest Doc as there are Docs. A Doc is never divided. None for 4096.
    freeze (str | int): What does not learn: "none"; "embeddings", the words from
        characters; the number of layers, from the embeddings up; "lm", all but the mix of
        the layers, as ELMo was meant; or "all".
    dropout (float): Dropout of the mixed layers while training.
    mix_lr_multiplier (float): Learning rate of the mix, which hardly moves at that of an
        encoder, as a multiple of the optimiser's.
    stateful (bool): Let the Doc at each place of a batch begin with the state in which the
        Doc at that place of the batch before ended, as AllenNLP does. What a Doc gets
        depends on what came before, so this is not for pipelines.
    RETURNS (Model[list[Doc], EncoderBatch]): The layer. Its batches have no pooled output.
    RAISES (ValueError): B210 for most words under 1; B211 for a dropout or multiplier out of range.
    """
    check_budget(max_batch_pieces)
    check_number("dropout", dropout, 1)
    check_number("mix_lr_multiplier", mix_lr_multiplier)
    return Model(
        "elmo_encoder",
        forward,
        init=init,
        dims={"nO": None},
        shims=[ElmoShim(freeze, dropout, mix_lr_multiplier)],
        attrs={
            "source": name,
            "max_batch_pieces": max_batch_pieces,
            "stateful": stateful,
            "spill_bytes": SPILL_BYTES,
            "replace_listener": replace_listener,
        },
    )


class ElmoShim(FolderShim):
    """Holds an ELMo for a thinc layer, and steps its parameters.

    freeze (str | int): See `build_elmo_encoder_v1`.
    dropout (float): As above.
    mix_lr_multiplier (float): As above.
    """

    def __init__(self, freeze: Freeze, dropout: float, mix_lr_multiplier: float):
        super().__init__()
        self.freeze = freeze
        self.dropout = dropout
        self.mix_lr_multiplier = mix_lr_multiplier
        # Where the last batch ended, in training and in prediction.
        self.states: dict[bool, State] = {}
        self.has_warned = False

    def set_encoder(self, encoder: ElmoEncoder) -> None:
        """Take an encoder and move it to the device of the thinc ops in use."""
        encoder.freeze(self.freeze)
        encoder.dropout.p = self.dropout
        self.encoder = encoder.to(get_torch_default_device())
        self.states = {}

    def learning_rate_scale(self, name: str) -> float:
        """Return the share of the learning rate that a parameter gets."""
        return self.mix_lr_multiplier if name.startswith("mix.") else 1.0

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move the weights to a device; states are forgotten."""
        super().to_device(device_type, device_id)
        self.states = {}

    def to_disk(self, path: Path) -> None:
        """Write config.json and model.safetensors into a folder."""
        if self.encoder is not None:
            self.encoder.save(Path(path))

    def from_disk(self, path: Path) -> "ElmoShim":
        """Read what `to_disk` wrote."""
        self.set_encoder(load_elmo(Path(path)))
        return self

    def copy(self) -> "ElmoShim":
        """Return a shim with a copy of the weights."""
        other = ElmoShim(self.freeze, self.dropout, self.mix_lr_multiplier)
        other.from_bytes(self.to_bytes())
        return other


def init(model: Model, X: Any = None, Y: Any = None) -> None:
    """Load the weights that the config names, unless there are some already."""
    shim = model.shims[0]
    if shim.encoder is None:
        shim.set_encoder(load_elmo(Path(model.attrs["source"]).expanduser()))
    model.set_dim("nO", shim.encoder.width, force=True)


def forward(
    model: Model, docs: Sequence[Doc], is_train: bool
) -> tuple[EncoderBatch, Callable[[EncoderGradient], list[Doc]]]:
    """Run the encoder over Docs, in groups of similar length.

    RETURNS: The batch, detached, and a callback that takes its gradient.
    RAISES (ValueError): B200 if there are no weights; B202 for segments that do not cover a Doc.
    """
    shim = model.shims[0]
    encoder = shim.encoder
    if encoder is None:
        raise ValueError(Errors.B200.format(name=model.attrs["source"]))
    given = prepare_words(docs, encoder.config)
    if given.cut and not shim.has_warned:
        shim.has_warned = True
        about = {"n": len(given.cut), "limit": encoder.config.max_characters - 2}
        warnings.warn(Warnings.BW216.format(word=given.cut[0][:60], **about), stacklevel=2)
    state = None
    if model.attrs["stateful"]:
        state = _continue(shim.states.get(is_train), encoder.begin(len(docs)))
    runner = _Runner(encoder, given, state)
    budget = model.attrs["max_batch_pieces"] or WORDS_AT_ONCE
    # There is no padding that a group of its own could save.
    groups = pack_windows(given.lengths, budget, float("inf"))
    if is_train:
        output = update_groups(runner, groups, False)
    else:
        output = predict_groups(runner, groups, model.attrs["spill_bytes"]), no_gradient
    if state is not None:
        shim.states[is_train] = state
    return output


@dataclass(frozen=True)
class ElmoInput:
    """The words of a batch of Docs.

    layout (Layout): One piece for each token that is no white space.
    spelled (Ints): Character ids of the different words, then of the two marks of a
        text. Shape (N + 2, C).
    words (Ints): Number of the word of each piece. Shape (P,).
    lengths (Ints): Pieces of each Doc and its two marks. Shape (D,).
    cut (list[str]): Different words that are too long.
    """

    layout: Layout
    spelled: Ints
    words: Ints
    lengths: Ints
    cut: list[str]


def prepare_words(docs: Sequence[Doc], config: ElmoConfig) -> ElmoInput:
    """Spell each different word of some Docs once.

    docs (Sequence[Doc]): The Docs.
    config (ElmoConfig): Says how long words may be.
    RETURNS (ElmoInput): Everything the forward pass needs.
    RAISES (ValueError): B202 if the segments of a Doc do not cover it.
    """
    fields = [ORTH, IS_SPACE, IDX, LENGTH]
    none = np.zeros((0, 4), dtype=np.uint64)
    tokens = np.concatenate([none, *(doc.to_array(fields).reshape(-1, 4) for doc in docs)])
    doc_tokens = np.cumsum([0] + [len(doc) for doc in docs])
    doc_of = np.repeat(np.arange(len(docs)), np.diff(doc_tokens))
    kept = np.flatnonzero(tokens[:, 1] == 0)
    has_piece = np.zeros(len(tokens), dtype=np.int64)
    has_piece[kept] = 1
    keys, first, words = np.unique(tokens[kept, 0], return_index=True, return_inverse=True)
    names = [docs[doc].vocab.strings[int(key)] for key, doc in zip(keys, doc_of[kept[first]])]
    spelled, is_cut = spell_words(names, config.max_characters, config.widest_filter)
    counts = np.bincount(doc_of[kept], minlength=len(docs))
    start = tokens[kept, 2].astype(np.int64)
    doc_pieces = np.concatenate(([0], np.cumsum(counts)))
    layout = Layout(
        doc_pieces=doc_pieces,
        doc_tokens=doc_tokens,
        doc_windows=np.arange(len(docs) + 1),
        window_choice=np.zeros(len(docs), dtype=np.int64),
        align_starts=np.concatenate(([0], np.cumsum(has_piece))),
        align_rows=np.arange(len(kept)),
        piece_segment=_number_segments(docs, doc_pieces, start),
        piece_start=start,
        piece_end=start + tokens[kept, 3].astype(np.int64),
        piece_ids=np.zeros(len(kept), dtype=np.int64),
    )
    cut = [names[i] for i in np.flatnonzero(is_cut)]
    return ElmoInput(layout, spelled, words.reshape(-1), counts + 2, cut)


def _number_segments(docs: Sequence[Doc], doc_pieces: Ints, start: Ints) -> Ints:
    number = np.zeros(len(start), dtype=np.int64)
    for i, doc in enumerate(docs):
        if SEGMENTS in doc.spans:
            ends = [end for _, end in segment_bounds(doc, doc.text)]
            at = slice(doc_pieces[i], doc_pieces[i + 1])
            number[at] = np.searchsorted(ends, start[at], side="right")
    return number


class _Runner:
    """Reads groups of Docs side by side and says where the output belongs.

    encoder (ElmoEncoder): The encoder.
    given (ElmoInput): All Docs.
    state (State): What each Doc begins with, and after the run what it ended with;
        None to begin with nothing.
    """

    def __init__(self, encoder: ElmoEncoder, given: ElmoInput, state: State | None):
        self.encoder = encoder
        self.given = given
        self.state = state
        self.device = encoder.device
        self.vectors: Tensor | None = None

    def run(self, group: Ints) -> tuple[Tensor, Ints, Tensor, Tensor | None]:
        """Return hidden rows, where they belong, what each direction ended with, and None."""
        given, encoder = self.given, self.encoder
        if self.vectors is None:
            self.vectors = encoder.embeddings(torch.from_numpy(given.spelled).to(self.device))
        lengths = given.lengths[group]
        last = np.cumsum(lengths) - 1
        first = last - lengths + 1
        rows = concat_ranges(given.layout.doc_pieces[group], given.layout.doc_pieces[group + 1])
        inner = concat_ranges(first + 1, last)
        words = np.empty(int(lengths.sum()), dtype=np.int64)
        words[inner] = given.words[rows]
        words[first], words[last] = len(given.spelled) - 2, len(given.spelled) - 1
        vectors = self.vectors[self._move(words)]
        if self.state is None:
            mixed, _ = encoder(vectors, lengths)
        else:
            chosen = self._move(group)
            begin = [(out[:, chosen], cell[:, chosen]) for out, cell in self.state]
            mixed, end = encoder(vectors, lengths, begin)
            for olds, news in zip(self.state, end):
                for old, new in zip(olds, news):
                    old[:, chosen] = new.detach()
        half = encoder.config.projection_width
        forth, back = mixed[self._move(last), :half], mixed[self._move(first), half:]
        return mixed[self._move(inner)], rows, torch.cat([forth, back], dim=1), None

    def _move(self, index: Ints) -> Tensor:
        return torch.from_numpy(index).to(self.device)


def _continue(before: State | None, state: State) -> State:
    """Copy what the last batch ended with into the state of a new one; rows beyond it stay."""
    joined = []
    for i, pair in enumerate(state):
        olds = before[i] if before is not None else tuple(x[:, :0] for x in pair)
        joined.append(tuple(torch.cat([x, y[:, x.shape[1] :]], 1) for x, y in zip(olds, pair)))
    return joined  # type: ignore[return-value]
