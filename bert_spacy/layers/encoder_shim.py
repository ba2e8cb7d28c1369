"""The shim that holds the shared encoder for thinc: its weights, files, steps and backend."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from thinc.api import get_torch_default_device

from ..errors import Errors
from ..nn.backends import Backend, Precision, Predictor, count_changes, make_predictor
from ..nn.encoder import TransformerEncoder, load_encoder, load_outline
from ..nn.extras import WEIGHTS_FILE, Extras, load_extras, save_extras
from ..sources import missing_parts
from ..text.pieces import Template, read_template
from .shims import FolderShim

Freeze = Literal["none", "embeddings", "all"] | int


class EncoderShim(FolderShim):
    """Holds the torch encoder for a thinc layer, and steps its parameters.

    freeze (str | int): See `build_bert_encoder_v1`.
    dropout (float): As above.
    layerwise_decay (float): As above.
    gradient_checkpointing (bool): As above.
    unfreeze_every (int): As above.
    """

    def __init__(
        self,
        freeze: Freeze = "none",
        dropout: float | None = None,
        layerwise_decay: float = 1.0,
        gradient_checkpointing: bool = False,
        unfreeze_every: int = 0,
    ):
        super().__init__()
        self.freeze = freeze
        self.dropout = dropout
        self.layerwise_decay = layerwise_decay
        self.gradient_checkpointing = gradient_checkpointing
        self.unfreeze_every = unfreeze_every
        self.encoder: TransformerEncoder | None = None
        self.extras = Extras()
        self._template: Template | None = None
        self._predictor: tuple[Any, Predictor] | None = None
        # Whether training has said that pairs are cut.
        self.has_warned = False

    def __getstate__(self) -> dict[str, Any]:
        # To a spawned process go the weights, in shared memory. What was packed from them is
        # packed there anew, and the folder of an exported model stays in care of this process.
        extras = self.current_extras()
        if self.encoder is not None and self.encoder.has_weights:
            # Pickling would do so; it moves the weights, which does not make them others.
            self.encoder.share_memory()
            extras.weights = count_changes(self.encoder)
        return {
            **self.__dict__,
            "extras": extras,
            "_predictor": None,
            "_folder": None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.set_extras(self.extras)

    def set_encoder(self, encoder: TransformerEncoder, extras: Extras | None = None) -> None:
        """Take an encoder and move it to the device of the thinc ops in use."""
        self._freeze(encoder)
        if self.dropout is not None:
            encoder.set_dropout(self.dropout)
        if self.gradient_checkpointing:
            encoder.checkpoint_gradients()
        self.encoder = encoder.to(get_torch_default_device()) if encoder.has_weights else encoder
        self._template = read_template(encoder.tokenizer)
        self.set_extras(extras or Extras())

    def set_extras(self, extras: Extras) -> None:
        """Take what `optimize` has made for the weights as they are now."""
        if self.encoder is not None:
            extras.weights = count_changes(self.encoder)
        self.extras, self._predictor = extras, None

    def current_extras(self) -> Extras:
        """Return what was made for the present weights; nothing once they have learnt."""
        if self.encoder is None or self.extras.weights != count_changes(self.encoder):
            return Extras()
        return self.extras

    def predictor(self, backend: Backend, precision: Precision) -> Predictor:
        """Return what predicts with the present weights, made anew when they have changed."""
        if self.encoder is None:
            raise ValueError(Errors.B200.format(name=None))
        key = (backend, precision, count_changes(self.encoder))
        if self._predictor is None or self._predictor[0] != key:
            made = make_predictor(self.encoder, backend, precision, self.current_extras())
            self._predictor = (key, made)
        return self._predictor[1]

    @contextmanager
    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        """Encode with other weights for a while; what was packed before does not serve them."""
        own, self._predictor = self._predictor, None
        try:
            with super().use_params(params):
                yield
        finally:
            self._predictor = own

    @property
    def template(self) -> Template:
        """Special pieces of the tokenizer."""
        if self._template is None:
            raise ValueError(Errors.B200.format(name=None))
        return self._template

    def learning_rate_scale(self, name: str) -> float:
        """Return the share of the learning rate that a parameter gets."""
        if self.layerwise_decay == 1.0 or self.encoder is None:
            return 1.0
        depth = int(getattr(self.encoder.model.config, "num_hidden_layers", 0))
        return self.layerwise_decay ** (depth - 1 - self.encoder.depth_of(name))

    def finish_update(self, optimizer: Any) -> None:
        """Step the encoder's parameters, and let one more layer learn when it is time."""
        super().finish_update(optimizer)
        every = self.unfreeze_every
        if self.encoder is not None and every and self.encoder.n_steps % every == 0:
            self._freeze(self.encoder)

    def _freeze(self, encoder: TransformerEncoder) -> None:
        # Counted from the start of the process: a run that goes on draws its steps again.
        every = self.unfreeze_every
        encoder.freeze(self.freeze, encoder.n_steps // every if every else None)

    @contextmanager
    def all_awake(self) -> Iterator[TransformerEncoder | None]:
        """Give the encoder, for a while, as it is once `unfreeze_every` has woken all layers."""
        if self.encoder is not None:
            self.encoder.freeze(self.freeze)
        try:
            yield self.encoder
        finally:
            if self.encoder is not None:
                self._freeze(self.encoder)

    def to_disk(self, path: Path) -> None:
        """Write an ordinary Hugging Face folder, and beside it what `optimize` has made."""
        if self.encoder is not None:
            self.encoder.save(path)
            save_extras(self.current_extras(), path)

    def from_disk(self, path: Path) -> "EncoderShim":
        """Read an ordinary Hugging Face folder, and what `optimize` has made.

        RAISES (ValueError): B303 if a file is missing; B100, B101, B132 if one is damaged, or
            the weights are not those of the config.
        """
        extras = load_extras(path)
        is_slim = bool(extras.onnx) and not (Path(path) / WEIGHTS_FILE).is_file()
        missing = missing_parts(Path(path), with_weights=not is_slim)
        if missing:
            reason = f"it lacks {', '.join(missing)}"
            raise ValueError(Errors.B303.format(path=path, reason=reason))
        if is_slim:
            encoder = load_outline(str(path))
        else:
            encoder = load_encoder(str(path), local=True, all_layers=True)
        self.set_encoder(encoder, extras)
        return self

    def copy(self) -> "EncoderShim":
        """Return a shim with a copy of the weights."""
        settings = (self.dropout, self.layerwise_decay, self.gradient_checkpointing)
        other = EncoderShim(self.freeze, *settings, self.unfreeze_every)
        other.from_bytes(self.to_bytes())
        return other
