"""The torch encoder: a Hugging Face model, loaded, frozen, run and saved."""

import inspect
import logging
import platform
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from huggingface_hub.utils import get_session
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from ..errors import Errors, Warnings
from .dropout import fast_dropout, recompute_contexts

# How long the hub may take for its first answer.
HUB_SECONDS = 10
_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")


def count_positions(model: Any) -> int:
    """Count the pieces, special ones included, that a Hugging Face encoder takes at once."""
    limit = getattr(model.config, "max_position_embeddings", None) or 512
    # RoBERTa and its kin count positions from the padding index on.
    offset = getattr(getattr(model, "embeddings", None), "padding_idx", None)
    return int(limit) - (int(offset) + 1 if offset is not None else 0)


class TransformerEncoder(nn.Module):
    """Any encoder class that AutoModel knows, without its task heads.

    model (PreTrainedModel): The Hugging Face model.
    tokenizer (PreTrainedTokenizerFast): Its fast tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any):
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        # A tokenizer may offer segment ids to a model that knows none, or only one.
        self.has_types = (
            "token_type_ids" in tokenizer.model_input_names
            and "token_type_ids" in inspect.signature(model.forward).parameters
            and getattr(model.config, "type_vocab_size", 2) > 1
        )
        self.has_pooler = getattr(model, "pooler", None) is not None
        # Steps of an optimiser so far: a fused one leaves no other trace of its change.
        self.n_steps = 0

    @property
    def device(self) -> torch.device:
        """Where the weights are; "meta" for an encoder that has none in torch."""
        return next(self.model.parameters()).device

    @property
    def has_weights(self) -> bool:
        """Whether there are weights in torch, and not in an exported file alone."""
        return self.device.type != "meta"

    @property
    def width(self) -> int:
        """Width of the hidden states, H."""
        return int(self.model.config.hidden_size)

    @property
    def word_embeddings(self) -> nn.Parameter:
        """Table of the embeddings of all pieces. Shape (V, H), or narrower with ALBERT."""
        return self.model.get_input_embeddings().weight

    @property
    def max_positions(self) -> int:
        """Most pieces, special ones included, that one window may hold."""
        return count_positions(self.model)

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run the encoder on padded windows.

        ids (Tensor): Piece ids, int64. Shape (B, P).
        mask (Tensor): 1 on real pieces, int64. Shape (B, P).
        types (Tensor): Segment ids, int64; left out for models without. Shape (B, P).
        RETURNS (tuple[Tensor, Tensor | None]): Last hidden states, float32,
            shape (B, P, H), and the pooler's output, shape (B, H).
        """
        return self._read(self._run(ids, mask, types))

    def run_layers(
        self, ids: Tensor, mask: Tensor, types: Tensor
    ) -> tuple[Tensor, Tensor | None, Sequence[Tensor]]:
        """Run the encoder on padded windows and give the states between its layers too.

        ids, mask, types (Tensor): As in `forward`. Shape (B, P).
        RETURNS (tuple[Tensor, Tensor | None, Sequence[Tensor]]): As `forward`, and what leaves
            the embeddings and each layer, each of shape (B, P, its width).
        """
        output = self._run(ids, mask, types, output_hidden_states=True)
        return *self._read(output), output.hidden_states

    def _run(self, ids: Tensor, mask: Tensor, types: Tensor, **options: Any) -> Any:
        if self.has_types:
            options["token_type_ids"] = types
        with fast_dropout(ids.device) if self.training else nullcontext():
            return self.model(input_ids=ids, attention_mask=mask, return_dict=True, **options)

    def _read(self, output: Any) -> tuple[Tensor, Tensor | None]:
        pooled = output.pooler_output if self.has_pooler else None
        return output.last_hidden_state.float(), None if pooled is None else pooled.float()

    def set_dropout(self, rate: float) -> None:
        """Set the dropouts of the model to one rate.

        Where its class leaves a dropout out, as ModernBERT does after attention if the config
        gives it no rate, there is none to set.
        """
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate
            for name in ("dropout_prob", "attention_dropout"):
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, rate)
        for name in ("attention_probs_dropout_prob", "hidden_dropout_prob", "attention_dropout"):
            if hasattr(self.model.config, name):
                setattr(self.model.config, name, rate)

    def checkpoint_gradients(self) -> None:
        """Compute each layer anew in the backward pass, to save memory while training.

        RAISES (ValueError): B215 if the class of the model cannot.
        """
        if not self.model.supports_gradient_checkpointing:
            raise ValueError(Errors.B215.format(name=type(self.model).__name__))
        self.model.gradient_checkpointing_enable(
            {"use_reentrant": False, "context_fn": recompute_contexts}
        )

    def depth_of(self, name: str) -> int:
        """Return the number of the layer that a parameter learns with.

        name (str): Name of the parameter.
        RETURNS (int): -1 for embeddings; what stands above the layers, or is shared by
            all of them, goes with the top one.
        """
        layer = layer_of(name)
        if layer is not None:
            return layer
        top = int(getattr(self.model.config, "num_hidden_layers", 0)) - 1
        return -1 if "embedding" in name else top

    def freeze(self, what: str | int, n_awake: int | None = None) -> None:
        """Stop gradients of a part of the model.

        what (str | int): "none", "embeddings", "all", or a number of layers to
            freeze, counted from the embeddings up and with them.
        n_awake (int): Let only so many layers learn, from the top down, embeddings last;
            None for all. Layers that share their weights are one.
        RAISES (ValueError): B102 for another value, or more layers than there are.
        """
        names = [name for name, _ in self.model.named_parameters()]
        layers = [layer_of(name) for name in names]
        n_layers = max([n + 1 for n in layers if n is not None], default=0)
        if what not in ("none", "embeddings", "all") and not (
            isinstance(what, int) and 0 <= what <= n_layers
        ):
            raise ValueError(Errors.B102.format(value=what, n_layers=n_layers))
        depths = sorted({self.depth_of(name) for name in names}, reverse=True)
        awake = set(depths[:n_awake])
        for (name, parameter), layer in zip(self.model.named_parameters(), layers):
            is_embedding = layer is None and "embedding" in name
            frozen = (
                what == "all"
                or (what != "none" and is_embedding)
                or (isinstance(what, int) and layer is not None and layer < what)
            )
            parameter.requires_grad_(not frozen and self.depth_of(name) in awake)

    def save(self, path: Path) -> None:
        """Write an ordinary Hugging Face folder: config, tokenizer, safetensors if any."""
        if self.has_weights:
            self.model.save_pretrained(path, safe_serialization=True)
        else:
            self.model.config.save_pretrained(path)
        self.tokenizer.save_pretrained(path)


def layer_of(name: str) -> int | None:
    """Return the number of the layer that a parameter belongs to, None for others."""
    found = _LAYER.search(name)
    return int(found.group(1)) if found else None


def load_encoder(name: str, *, local: bool, all_layers: bool = False) -> TransformerEncoder:
    """Load weights and tokenizer from a folder or, if allowed, from the hub.

    name (str): A folder or a hub name.
    local (bool): Never look further than this machine.
    all_layers (bool): Refuse weights of layers that the config does not have; what else is left
        over, such as a task head, is passed over.
    RETURNS (TransformerEncoder): The encoder, in evaluation mode, float32.
    RAISES (ValueError): B100 if the weights, B101 if the tokenizer cannot be
        loaded or is not a fast one.
    """
    # Without an answer there is the cache; transformers would ask again and again for a minute.
    local = local or not hub_answers()
    with quiet():
        tokenizer = load_tokenizer(name, local)
        try:
            model, info = AutoModel.from_pretrained(
                name,
                local_files_only=local,
                use_safetensors=True,
                output_loading_info=True,
                torch_dtype=torch.float32,
            )
        except Exception as err:  # noqa: BLE001 - safetensors and torch raise their own kinds
            raise ValueError(Errors.B100.format(name=name, reason=_first_line(err))) from err
    missing = list(info["missing_keys"])
    if any(".pooler" in f".{key}" for key in missing) and hasattr(model, "pooler"):
        model.pooler = None  # a random pooler is not a pretrained one
    missing = [key for key in missing if ".pooler" not in f".{key}"]
    wrong = missing + [str(key) for key in info["mismatched_keys"]]
    if wrong:
        reason = f"tensors are missing or have another shape: {', '.join(wrong[:5])}"
        raise ValueError(Errors.B100.format(name=name, reason=reason))
    surplus = [key for key in info["unexpected_keys"] if layer_of(key) is not None]
    if all_layers and surplus:
        reason = f"config.json has no layer for the tensors {', '.join(sorted(surplus)[:3])}"
        raise ValueError(Errors.B100.format(name=name, reason=reason))
    return TransformerEncoder(model, clean_tokenizer(tokenizer)).eval()


def hub_answers() -> bool:
    """Say whether the Hugging Face hub can be reached, whatever it answers."""
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception:  # noqa: BLE001 - each release of the library has errors of its own
        return False
    return True


def load_outline(folder: str) -> TransformerEncoder:
    """Load a folder without torch weights: settings and tokenizer, for an exported model.

    folder (str): A folder with config.json and a tokenizer.
    RETURNS (TransformerEncoder): Its parameters have shapes and no values.
    RAISES (ValueError): B100 for the settings, B101 for the tokenizer.
    """
    with quiet():
        tokenizer = load_tokenizer(folder, True)
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            with torch.device("meta"):
                model = AutoModel.from_config(config)
        except Exception as err:  # noqa: BLE001 - damaged settings may raise anything
            raise ValueError(Errors.B100.format(name=folder, reason=_first_line(err))) from err
    return TransformerEncoder(model, clean_tokenizer(tokenizer)).eval()


def load_tokenizer(name: str, local: bool) -> Any:
    """Load a fast tokenizer from a folder or, if allowed, from the hub.

    name (str): A folder or a hub name.
    local (bool): Never look further than this machine.
    RETURNS (PreTrainedTokenizerFast): The tokenizer.
    RAISES (ValueError): B101 if it cannot be loaded or is not a fast one.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, local_files_only=local)
    except Exception as err:  # noqa: BLE001 - tokenizers raises Exception itself
        raise ValueError(Errors.B101.format(name=name, reason=_first_line(err))) from err
    if not tokenizer.is_fast:
        raise ValueError(Errors.B101.format(name=name, reason="it has no fast tokenizer"))
    return tokenizer


def clean_tokenizer(tokenizer: Any) -> Any:
    """Switch off padding and truncation that a tokenizer file may ask for."""
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def autocast(enabled: bool, device: torch.device) -> Any:
    """Return a context that computes in bfloat16 where that is asked for.

    On a device without bfloat16 it computes in float32 and warns once, BW100.
    """
    if not enabled:
        return nullcontext()
    if not has_bfloat16(device.type):
        warn_no_bfloat16(device.type)
        return nullcontext()
    return torch.autocast(device_type=device.type, dtype=torch.bfloat16)


def has_bfloat16(device_type: str) -> bool:
    """Say whether a kind of device computes in bfloat16 itself."""
    if device_type == "cpu":
        # On x86, oneDNN takes every AVX-512, and is slower than float32 where it has to emulate.
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        if native is None or not is_x86():
            # Not every torch has oneDNN: that for a Mac's ARM has none.
            native = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        return native is not None and bool(native())
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.amp.is_autocast_available(device_type)


def is_x86() -> bool:
    """Say whether the processor is an x86 of 64 bits."""
    return platform.machine().lower() in ("x86_64", "amd64")


@cache
def warn_no_bfloat16(device_type: str) -> None:
    """Say, once, that a kind of device computes in float32 instead."""
    warnings.warn(Warnings.BW100.format(device=device_type), stacklevel=2)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Transformers from warning of weights that are new or not used."""
    # Task heads that stay unused are expected, not worth a warning each time.
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_line(err: BaseException) -> str:
    return f"{type(err).__name__}: {err}".splitlines()[0][:300].rstrip(".")
