"""Thinc shims for torch modules: files, and no copies on a step."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import srsly
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from thinc.api import Model, get_torch_default_device, torch2xp, xp2torch
from thinc.shims.shim import Shim
from torch import nn

from ..errors import Errors
from .forks import prepare_forks, prepare_spawned


def step_module(key: Any, module: nn.Module, optimizer: Any, scale: Callable[[str], float]) -> None:
    """Let an optimiser step a torch module, and clear the gradients.

    key (Any): Identifies the module among all that the optimiser steps.
    module (nn.Module): The module, gradients in place.
    optimizer (Optimizer): `bert-spacy.AdamW.v1` steps inside torch; any other
        thinc optimiser is called once per parameter, as thinc does itself.
    scale (Callable[[str], float]): Learning-rate multiplier by parameter name.
    """
    step = getattr(optimizer, "step_module", None)
    if step is not None:
        step(key, module, scale)
        return
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            values, gradient = torch2xp(parameter.data), torch2xp(parameter.grad)
            data, _ = optimizer((key, name), values, gradient, lr_scale=scale(name))
            parameter.data = xp2torch(data, device=parameter.device)
            parameter.grad = None


@contextmanager
def lend_weights(key: int, module: nn.Module | None, params: dict[Any, Any]) -> Iterator[None]:
    """Give a torch module other weights for a while; its own are untouched meanwhile.

    key (int): Identifies the module in the keys of `params`.
    module (nn.Module): The module; None does nothing.
    params (dict): Arrays of thinc by (key, name), such as the averages of an optimizer.
    """
    named = module.named_parameters() if module is not None else ()
    own = [(params[key, name], p, p.data) for name, p in named if (key, name) in params]
    try:
        for array, parameter, values in own:
            parameter.data = xp2torch(array, device=values.device)
        yield
    finally:
        for _, parameter, values in own:
            parameter.data = values


class FolderShim(Shim):
    """Holds a torch encoder whose weights are saved as a folder; `to_disk` and `from_disk` are
    for the classes below."""

    def __init__(self) -> None:
        super().__init__(None)
        # Before any batch: the parent may never see one, and other code of its process may
        # have started threads.
        prepare_forks()
        self.encoder: Any = None
        # Stands beside the encoder while it learns from another one; has its own loss.
        self.teacher: Any = None
        self._folder: tempfile.TemporaryDirectory | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        prepare_spawned()
        self.__dict__.update(state)

    def learning_rate_scale(self, name: str) -> float:
        """Return the share of the learning rate that a parameter gets."""
        return 1.0

    @contextmanager
    def all_awake(self) -> Iterator[Any]:
        """Give the encoder, for a while, with everything learning that will ever learn."""
        yield self.encoder

    def finish_update(self, optimizer: Any) -> None:
        """Step the encoder's parameters."""
        if self.encoder is not None:
            step_module(self.id, self.encoder, optimizer, self.learning_rate_scale)
            self.encoder.n_steps += 1

    @contextmanager
    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        """Encode with other weights for a while, such as averages."""
        with lend_weights(self.id, self.encoder, params):
            yield

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move the weights to a device."""
        if self.encoder is not None and self.encoder.has_weights:
            self.encoder.to("cpu" if device_type == "cpu" else f"cuda:{device_id}")

    def to_bytes(self) -> bytes:
        """Serialize the folder, file by file."""
        if self.encoder is None:
            return srsly.msgpack_dumps({})
        with tempfile.TemporaryDirectory() as folder:
            self.to_disk(Path(folder))
            files = {p.name: p.read_bytes() for p in Path(folder).iterdir() if p.is_file()}
        return srsly.msgpack_dumps(files)

    def from_bytes(self, data: bytes) -> "FolderShim":
        """Load what `to_bytes` wrote."""
        files = srsly.msgpack_loads(data)
        if files:
            # An exported model is read when it is used, so the folder lives as long as this.
            self._folder = tempfile.TemporaryDirectory(prefix="bert_spacy.")
            for name, content in files.items():
                Path(self._folder.name, name).write_bytes(content)
            self.from_disk(Path(self._folder.name))
        return self


class HeadShim(Shim):
    """Holds the torch module of a head.

    build (Callable): Makes the module from keyword arguments that msgpack can
        write, so that a saved head can be made anew.
    multipliers (dict[str, float]): Learning-rate multiplier by prefix of the
        parameter name; the first that fits counts.
    """

    def __init__(self, build: Callable[..., nn.Module], multipliers: dict[str, float]):
        super().__init__(None)
        self.build = build
        self.multipliers = multipliers
        self.settings: dict[str, Any] | None = None
        self.module: Any = None

    def make(self, **settings: Any) -> None:
        """Build the module anew from its settings."""
        self.settings = settings
        self.module = self.build(**settings).to(get_torch_default_device())

    def learning_rate_scale(self, name: str) -> float:
        """Return the multiple of the learning rate that a parameter gets."""
        fits = (by for prefix, by in self.multipliers.items() if name.startswith(prefix))
        return next(fits, 1.0)

    def finish_update(self, optimizer: Any) -> None:
        """Step the module's parameters."""
        if self.module is not None:
            step_module(self.id, self.module, optimizer, self.learning_rate_scale)

    @contextmanager
    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        """Predict with other weights for a while, such as averages."""
        with lend_weights(self.id, self.module, params):
            yield

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move the weights to a device."""
        if self.module is not None:
            self.module.to("cpu" if device_type == "cpu" else f"cuda:{device_id}")

    def to_bytes(self) -> bytes:
        """Serialize settings, and weights as safetensors."""
        if self.module is None:
            return srsly.msgpack_dumps({})
        state = {k: v.detach().cpu().contiguous() for k, v in self.module.state_dict().items()}
        return srsly.msgpack_dumps({"settings": self.settings, "weights": save_tensors(state)})

    def from_bytes(self, data: bytes) -> "HeadShim":
        """Load what `to_bytes` wrote.

        RAISES (ValueError): B207 if the weights do not fit.
        """
        message = srsly.msgpack_loads(data)
        if not message:
            return self
        self.make(**message["settings"])
        try:
            self.module.load_state_dict(load_tensors(message["weights"]))
        except (RuntimeError, SafetensorError) as err:
            reason = " ".join(str(err).split())[:300]
            raise ValueError(Errors.B207.format(reason=reason)) from err
        return self

    def copy(self) -> "HeadShim":
        """Return a shim with a copy of the weights."""
        return HeadShim(self.build, self.multipliers).from_bytes(self.to_bytes())


def set_dropout(module: nn.Module, rate: float) -> None:
    """Set the dropout rate of a head, as `nlp.update(drop=...)` asks."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = float(rate)


def check_model(name: str, model: Model, kind: type[Shim]) -> None:
    """Look whether a component has a model of this package, and no stock one from another config.

    name (str): The component.
    model (Model): Its model.
    kind (type[Shim]): What holds the torch module of such a model.
    RAISES (ValueError): B217 if it has none of this kind.
    """
    if not any(isinstance(shim, kind) for shim in model.shims):
        raise ValueError(Errors.B217.format(name=name, model=model.name))
