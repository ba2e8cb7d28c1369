"""The shared encoder as a thinc layer: Docs in, one packed EncoderBatch out."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from torch import Tensor

from ..errors import Errors, Warnings
from ..nn.backends import BACKENDS, PRECISIONS, Backend, Precision, Run
from ..nn.encoder import TransformerEncoder, autocast, load_encoder
from ..sources import resolve_name
from ..text.pieces import Template
from ..text.windows import pack_windows
from ..types import EncoderBatch, EncoderGradient, Ints
from .checks import check_number
from .encoder_shim import EncoderShim, Freeze
from .inputs import EncoderInput, owned_positions, pad_group, prepare_docs
from .listener import no_gradient, replace_listener
from .memory import keep_freed_memory
from .spill import RowFile

# Above this, the hidden states of one batch wait on disk.
SPILL_BYTES = 256 * 2**20
# Pieces, padding included, in one forward pass while training.
TRAINING_PIECES = 2048
PAIR_OVERFLOWS = ("window", "longest_first")


@registry.architectures("bert-spacy.BertEncoder.v1")
def build_bert_encoder_v1(
    name: str,
    window: int | None = None,
    stride: int | None = None,
    max_batch_pieces: int | None = None,
    mixed_precision: bool = False,
    backend: Backend = "auto",
    precision: Precision = "auto",
    freeze: Freeze = "none",
    dropout: float | None = None,
    layerwise_decay: float = 1.0,
    gradient_checkpointing: bool = False,
    unfreeze_every: int = 0,
    pair_overflow: str = "window",
) -> Model[list[Doc], EncoderBatch]:
    """Build an encoder without weights; `initialize` loads those that it names.

    name (str): An alias (`python -m bert_spacy weights list`), a local Hugging
        Face folder, or a hub name. Read in `initialize` alone: a saved pipeline
        carries its weights.
    window (int): Most pieces in one window, special ones included. None for
        the model's limit, at most 512.
    stride (int): Pieces from the start of one window to that of the next; the
        overlap is window - stride. None for three quarters of the window.
    max_batch_pieces (int): Most pieces, padding included, in one forward pass; None for
        what is fastest on the backend. A window larger than that runs alone.
    mixed_precision (bool): Train in bfloat16 autocast.
    backend (str): What predicts: "torch", "onnx" (onnxruntime, on a model that
        `python -m bert_spacy optimize` has exported), or "auto": onnx where there is
        such a model, else torch.
    precision (str): Of prediction: "fp32", "bf16", "int8" (needs what `optimize`
        measures), or "auto": fp32.
    freeze (str | int): "none", "embeddings", "all", or the number of layers,
        from the embeddings up, that do not learn.
    dropout (float): Dropout in the encoder while training; None for that of
        the checkpoint.
    layerwise_decay (float): Learning rate of each layer as a share of that of
        the layer above it, 0..1.
    gradient_checkpointing (bool): While training, keep the input of each layer
        alone and compute the rest anew in the backward pass: less
        memory for long windows, at the price of a second forward pass.
    unfreeze_every (int): Steps after which one more layer begins to learn, from the top
        down and the embeddings last; before that, the heads learn alone. Nothing is computed
        backward below. What `freeze` names never learns. 0 for all layers from the start.
    pair_overflow (str): What becomes of a pair that is too long for one window: "window",
        windows over its longer text; or "longest_first", one window, for which pieces are cut
        from the end of the text that is longer at the time, with warning BW002. A question with
        its context, and choices, are read in windows either way.
    RETURNS (Model[list[Doc], EncoderBatch]): The layer.
    RAISES (ValueError): B206 for a stride outside of the window; B210 for most pieces under 1;
        B130 for an unknown backend or precision; B209 for an unknown `pair_overflow`; B211 for a
        dropout or decay out of range; B550 for a number of steps under 0.

    SOURCE: Gradual unfreezing: Howard & Ruder (2018), section 3.3.
    """
    if backend not in BACKENDS or precision not in PRECISIONS:
        raise ValueError(Errors.B130.format(backend=backend, precision=precision))
    check_stride(stride, window)
    if pair_overflow not in PAIR_OVERFLOWS:
        allowed = ", ".join(PAIR_OVERFLOWS)
        raise ValueError(Errors.B209.format(value=pair_overflow, allowed=allowed))
    check_budget(max_batch_pieces)
    check_number("layerwise_decay", layerwise_decay, 1)
    if dropout is not None:
        check_number("dropout", dropout, 1)
    if unfreeze_every < 0:
        raise ValueError(Errors.B550.format(value=unfreeze_every))
    shim = EncoderShim(freeze, dropout, layerwise_decay, gradient_checkpointing, unfreeze_every)
    return Model(
        "bert_encoder",
        forward,
        init=init,
        dims={"nO": None},
        shims=[shim],
        attrs={
            "source": name,
            "window": window,
            "stride": stride,
            "pair_overflow": pair_overflow,
            "max_batch_pieces": max_batch_pieces,
            "mixed_precision": mixed_precision,
            "backend": backend,
            "precision": precision,
            "spill_bytes": SPILL_BYTES,
            "replace_listener": replace_listener,
        },
    )


def check_stride(stride: int | None, window: int | None) -> None:
    """Look whether windows follow each other without a gap.

    stride (int): The setting, or None.
    window (int): The window, None if it is not known yet.
    RAISES (ValueError): B206 for a stride under 1 or above the window.
    """
    if stride is None:
        return
    is_number = isinstance(stride, int) and stride >= 1
    if not is_number or (isinstance(window, int) and stride > window):
        limit = "the window" if window is None else f"the window, {window}"
        raise ValueError(Errors.B206.format(stride=stride, limit=limit))


def check_budget(value: int | None) -> None:
    """Look whether most pieces in one forward pass are a number that makes sense.

    value (int): The setting, or None.
    RAISES (ValueError): B210 if they are under 1.
    """
    if value is not None and (not isinstance(value, int) or value < 1):
        raise ValueError(Errors.B210.format(value=value))


def init(model: Model, X: Any = None, Y: Any = None) -> None:
    """Load the weights that the config names, unless there are some already.

    RAISES (ValueError): B205 if the window does not fit the model; B206 if the stride is above it.
    """
    shim = model.shims[0]
    if shim.encoder is None:
        name = resolve_name(model.attrs["source"])
        shim.set_encoder(load_encoder(name, local=Path(name).is_dir()))
    encoder = shim.encoder
    limit, window = encoder.max_positions, model.attrs["window"]
    if window is not None and not (isinstance(window, int) and 8 <= window <= limit):
        raise ValueError(Errors.B205.format(window=window, limit=limit))
    check_stride(model.attrs["stride"], _window(model))
    model.set_dim("nO", encoder.width, force=True)


def forward(
    model: Model, docs: Sequence[Doc], is_train: bool
) -> tuple[EncoderBatch, Callable[[EncoderGradient], list[Doc]]]:
    """Run the encoder over Docs, in groups of windows of similar length.

    RETURNS: The batch, detached, and a callback that takes its gradient. BW002 is warned of pairs
        that were cut, once in training.
    RAISES (ValueError): B200 if there are no weights; B133 to train a slim pipeline.
    """
    shim = model.shims[0]
    encoder = shim.encoder
    if encoder is None:
        raise ValueError(Errors.B200.format(name=model.attrs["source"]))
    given = _prepare(model, docs)
    if given.n_cut.any() and not (is_train and shim.has_warned):
        shim.has_warned = shim.has_warned or is_train
        _warn_of_cut(model, docs, given.n_cut)
    budget = model.attrs["max_batch_pieces"]
    if not is_train:
        predictor = shim.predictor(model.attrs["backend"], model.attrs["precision"])
        runner = _Runner(predictor.run, encoder, shim.template, given)
        groups = pack_windows(given.lengths, budget or predictor.budget)
        return predict_groups(runner, groups, model.attrs["spill_bytes"]), no_gradient
    if not encoder.has_weights:
        raise ValueError(Errors.B133)
    teacher = shim.teacher
    run = encoder if teacher is None else teacher.run
    half = model.attrs["mixed_precision"]
    # Each shape of a batch costs oneDNN code and memory, and tensor cores like round ones.
    runner = _Runner(run, encoder, shim.template, given, _window(model) if half else 0)
    groups = pack_windows(given.lengths, budget or TRAINING_PIECES)
    own_loss = None if teacher is None else teacher.take_loss
    return update_groups(runner, groups, half, own_loss)


def pad_windows(model: Model, docs: Sequence[Doc]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the padded input of the encoder for some Docs, as it is in prediction.

    model (Model): The encoder layer.
    docs (Sequence[Doc]): The Docs.
    YIELDS (tuple[Tensor, Tensor, Tensor]): Piece ids, mask and segment ids, each (B, P).
    """
    shim = model.shims[0]
    given = _prepare(model, docs)
    pad_id = int(shim.encoder.tokenizer.pad_token_id or 0)
    for group in pack_windows(given.lengths, TRAINING_PIECES):
        ids, mask, types = pad_group(given, group, shim.template, pad_id)
        yield torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(types)


def count_cut(model: Model, docs: Sequence[Doc]) -> Ints:
    """Count the pieces of each Doc that no window holds, as BW001 and BW002 tell of.

    model (Model): The encoder layer.
    docs (Sequence[Doc]): The Docs.
    RETURNS (Ints): Pieces, 0 for a Doc that is read whole. Shape (D,).
    """
    return _prepare(model, docs).n_lost


def _prepare(model: Model, docs: Sequence[Doc]) -> EncoderInput:
    shim, overflow = model.shims[0], model.attrs["pair_overflow"]
    window = _window(model)
    stride = model.attrs["stride"] or max(1, window * 3 // 4)
    return prepare_docs(docs, shim.encoder.tokenizer, shim.template, window, stride, overflow)


def _window(model: Model) -> int:
    return model.attrs["window"] or min(512, model.shims[0].encoder.max_positions)


def _warn_of_cut(model: Model, docs: Sequence[Doc], n_cut: Ints) -> None:
    cut = np.flatnonzero(n_cut)
    values = {"n": len(cut), "total": len(docs), "window": _window(model)}
    values |= {"pieces": n_cut.sum(), "text": docs[cut[0]].text[:60]}
    warnings.warn(Warnings.BW002.format(**values), stacklevel=3)


class _Runner:
    """Runs groups of windows and says where their output belongs."""

    def __init__(
        self,
        run: Run,
        encoder: TransformerEncoder,
        template: Template,
        given: EncoderInput,
        limit: int = 0,
    ):
        self.encode = run
        self.encoder = encoder
        self.template = template
        self.given = given
        self.limit = limit
        self.device = encoder.device if encoder.has_weights else torch.device("cpu")
        self.pad_id = int(encoder.tokenizer.pad_token_id or 0)

    def run(self, group: Ints) -> tuple[Tensor, Ints, Tensor, Tensor | None]:
        """Return hidden rows, where they belong, window vectors and pooled ones."""
        inputs = pad_group(self.given, group, self.template, self.pad_id, self.limit)
        ids, mask, types = (torch.from_numpy(x).to(self.device) for x in inputs)
        hidden, pooled = self.encode(ids, mask, types)
        at, rows = owned_positions(self.given, group, hidden.shape[1], self.template)
        taken = hidden.reshape(-1, hidden.shape[2])[torch.from_numpy(at).to(self.device)]
        if self.template.cls_index >= 0:
            cls = hidden[:, self.template.cls_index]
        else:
            last = torch.from_numpy(self.given.lengths[group] - 1).to(self.device)
            cls = hidden[torch.arange(len(group), device=self.device), last]
        return taken, rows, cls, pooled


class Runner(Protocol):
    """Runs groups of windows through an encoder.

    encoder (Any): The torch module.
    given (Any): What it reads; `given.layout` is the Layout of all Docs.
    device (torch.device): Where the output is.
    """

    encoder: Any
    given: Any
    device: torch.device

    def run(self, group: Ints) -> tuple[Tensor, Ints, Tensor, Tensor | None]:
        """Return hidden rows, where they belong, window vectors and pooled ones."""


def predict_groups(runner: Runner, groups: list[Ints], spill_bytes: int) -> EncoderBatch:
    """Run all groups without gradients.

    runner (Runner): Runs one.
    groups (list[Ints]): Numbers of the windows in each.
    spill_bytes (int): Above this, the hidden states wait on disk.
    RETURNS (EncoderBatch): The output of all Docs.
    """
    encoder, layout = runner.encoder, runner.given.layout
    n_rows, width = int(layout.doc_pieces[-1]), encoder.width
    n_windows = int(layout.doc_windows[-1])
    device = runner.device
    hidden: Tensor | RowFile
    if n_rows * width * 4 > spill_bytes:
        hidden = RowFile(n_rows, width)
    else:
        hidden = torch.empty((n_rows, width), device=device)
    all_cls = torch.empty((n_windows, width), device=device)
    all_pooled = torch.empty((n_windows, width), device=device) if encoder.has_pooler else None
    if encoder.training:  # a walk over all modules, longer than a short text takes
        encoder.eval()
    with torch.no_grad():
        for group in groups:
            taken, rows, cls, pooled = runner.run(group)
            if isinstance(hidden, Tensor):
                hidden[torch.from_numpy(rows).to(runner.device)] = taken
            else:
                hidden.write(rows, taken)
            at = torch.from_numpy(group).to(runner.device)
            all_cls[at] = cls
            if all_pooled is not None and pooled is not None:
                all_pooled[at] = pooled
    return EncoderBatch(layout, hidden, all_cls, all_pooled)


def update_groups(
    runner: Runner,
    groups: list[Ints],
    half: bool,
    own_loss: Callable[[], Tensor] | None = None,
) -> tuple[EncoderBatch, Callable[[EncoderGradient], list[Doc]]]:
    """Run all groups and keep the way back.

    runner (Runner): Runs one.
    groups (list[Ints]): Numbers of the windows in each.
    half (bool): Compute in bfloat16 autocast.
    own_loss (Callable[[], Tensor]): Gives a loss of the encoder itself, once all groups have
        run; its gradient goes back with those of the heads.
    RETURNS: The batch, detached, and a callback that takes its gradient.
    """
    encoder = runner.encoder
    encoder.train()
    keep_freed_memory()
    learns = any(p.requires_grad for p in encoder.parameters())
    with nullcontext() if learns else torch.no_grad(), autocast(half, runner.device):
        parts = [runner.run(group) for group in groups]
    loss = None if own_loss is None else own_loss()
    order = _inverse(np.concatenate([rows for _, rows, _, _ in parts]), runner.device)
    windows = _inverse(np.concatenate(groups), runner.device)
    hidden = torch.cat([taken for taken, _, _, _ in parts])[order]
    cls = torch.cat([part[2] for part in parts])[windows]
    pooled = None
    if encoder.has_pooler:
        pooled = torch.cat([p for *_, p in parts if p is not None])[windows]
    batch = EncoderBatch(
        runner.given.layout,
        hidden.detach(),
        cls.detach(),
        None if pooled is None else pooled.detach(),
    )

    def backprop(gradient: EncoderGradient) -> list[Doc]:
        pairs = [
            (output, grad)
            for output, grad in (
                (hidden, gradient.hidden),
                (cls, gradient.cls),
                (pooled, gradient.pooled),
                (loss, None if loss is None else torch.ones_like(loss)),
            )
            if output is not None and grad is not None and output.requires_grad
        ]
        if pairs:
            torch.autograd.backward([o for o, _ in pairs], [g for _, g in pairs])
        return []

    return batch, backprop


def _inverse(order: Ints, device: torch.device) -> Tensor:
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return torch.from_numpy(inverse).to(device)
