"""AdamW that steps torch modules inside torch."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from spacy.util import registry
from thinc.api import Optimizer, torch2xp, xp2torch
from thinc.optimizers import FloatOrSeq
from torch import nn

from ..errors import Errors
from ..util import is_finite

# By name of the parameter, by name of the value: exp_avg, exp_avg_sq, step.
Moments = dict[str, dict[str, torch.Tensor]]
# Parameters that weight decay must leave alone: biases, normalisation, shares of layers.
_NO_DECAY = ("bias", "LayerNorm", "layer_norm", "norm.weight", "crf.", "mix.")

# Stands for a parameter where the steps of a whole module are counted.
_MODULE = "module"


@registry.optimizers("bert-spacy.AdamW.v1")
def create_adamw_v1(
    learn_rate: FloatOrSeq = 5e-5,
    weight_decay: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    grad_clip: float = 1.0,
    average_decay: float = 0.0,
) -> "AdamW":
    """Create AdamW with decoupled decay, none on biases and LayerNorm.

    learn_rate (float | Iterable[float]): Rate, or a schedule of it, of the encoder;
        heads multiply it.
    weight_decay (float): Decoupled decay.
    beta1 (float): Decay of the first moment.
    beta2 (float): Decay of the second moment.
    eps (float): Added to the denominator.
    grad_clip (float): Largest norm of the gradient of one component, all its
        parameters together; 0 for no clipping.
    average_decay (float): Decay of a moving average of the weights, which are those that are
        evaluated and saved; such as 0.99 or 0.999. 0 for no averages.
    RETURNS (AdamW): The optimiser.
    RAISES (ValueError): B520 for a value out of range.
    """
    _check("weight_decay", weight_decay)
    _check("beta1", beta1, below=1)
    _check("beta2", beta2, below=1)
    _check("eps", eps, above=0)
    _check("grad_clip", grad_clip)
    _check("average_decay", average_decay, below=1)
    if isinstance(learn_rate, int | float):  # of a schedule, each rate is checked at its step
        _check("learn_rate", learn_rate)
    return AdamW(
        learn_rate,
        L2=weight_decay,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        grad_clip=grad_clip,
        L2_is_weight_decay=True,
        average_decay=average_decay,
    )


def _check(name: str, value: Any, *, above: float = -math.inf, below: float = math.inf) -> None:
    """Refuse a setting that is no finite number of 0 or more, or outside its open bounds (B520)."""
    if not is_finite(value) or value < 0 or not above < value < below:
        raise ValueError(Errors.B520.format(name=name, value=value))


class AdamW(Optimizer):
    """A thinc optimiser whose torch modules are stepped by fused torch AdamW.

    Parameters of stock spaCy components go through thinc's own Adam, as ever. Averages of
    both stand in `averages`, where spaCy's training loop and `nlp.use_params` look for them.

    SOURCE: Loshchilov & Hutter (2019), algorithm 2. Averages: Polyak & Juditsky (1992), decayed as
    in TensorFlow's `ExponentialMovingAverage` with `num_updates`, which thinc follows as well.
    """

    averages: dict[Any, Any] | None

    def __init__(self, *args: Any, average_decay: float = 0.0, **kwargs: Any):
        super().__init__(*args, use_averages=average_decay > 0, **kwargs)
        self.average_decay = average_decay
        self._settings = kwargs
        self._torch: dict[Any, torch.optim.AdamW] = {}
        # Moments read from a checkpoint, until their module is first stepped.
        self._waiting: dict[Any, Moments] = {}

    def __call__(
        self, key: Any, weights: Any, gradient: Any, *, lr_scale: float = 1.0
    ) -> tuple[Any, Any]:
        """Step one parameter of a stock component, by thinc's Adam."""
        # Thinc's own averages have a fixed decay and begin at zero.
        averages = self.averages
        self.averages = None
        if averages is not None and key not in averages:
            averages[key] = weights.copy()
        weights, gradient = super().__call__(key, weights, gradient, lr_scale=lr_scale)
        self.averages = averages
        if averages is not None:
            share = 1 - self._decay(self.nr_update[key])
            averages[key] += share * (weights - averages[key])
        return weights, gradient

    def step_module(self, key: Any, module: nn.Module, scale: Callable[[str], float]) -> None:
        """Clip the gradients of a module, step its parameters and clear them.

        key (Any): Identifies the module, whose moments are kept.
        module (nn.Module): Gradients in place; without any, nothing happens.
        scale (Callable[[str], float]): Learning-rate multiplier by parameter name.
        RAISES (ValueError): B520 if the schedule of the learning rate gives what is no rate.
        """
        learning = [p for p in module.parameters() if p.requires_grad]
        if all(p.grad is None for p in learning):
            return
        if self._settings["grad_clip"]:
            torch.nn.utils.clip_grad_norm_(learning, self._settings["grad_clip"])
        inner = self._torch.get(key)
        if inner is None or {id(p) for g in inner.param_groups for p in g["params"]} != {
            id(p) for p in learning
        }:
            known = inner.state if inner is not None else {}
            inner = self._torch[key] = self._make(module, scale)
            for name, parameter in module.named_parameters():
                if parameter.requires_grad and parameter in known:
                    inner.state[parameter] = known[parameter]
                elif name in self._waiting.get(key, {}):
                    moments = self._waiting[key][name]
                    inner.state[parameter] = {k: v.to(parameter.device) for k, v in moments.items()}
            self._waiting.pop(key, None)
        rate = float(self.learn_rate)  # type: ignore[arg-type]
        _check("learn_rate", rate)
        for group in inner.param_groups:
            group["lr"] = rate * group["scale"]
        averages = self._begin_averages(key, module)
        inner.step()
        inner.zero_grad(set_to_none=True)
        if averages:
            self.nr_update[key, _MODULE] += 1
            share = 1 - self._decay(self.nr_update[key, _MODULE])
            values = [p.data.to(mean.device) for p, mean in zip(learning, averages)]
            torch._foreach_lerp_(averages, values, share)

    def _begin_averages(self, key: Any, module: nn.Module) -> list[torch.Tensor]:
        """Return the averages of what learns; an average begins at the weights of before."""
        if self.averages is None:
            return []
        learning = [(name, p.data) for name, p in module.named_parameters() if p.requires_grad]
        for name, values in learning:
            if (key, name) not in self.averages:
                self.averages[key, name] = torch2xp(values.clone())
        # On a Mac's GPU thinc's arrays are NumPy's: moved there, they would be copies.
        arrays = [self.averages[key, name] for name, _ in learning]
        on_cpu = isinstance(arrays[0], np.ndarray)
        device = torch.device("cpu") if on_cpu else learning[0][1].device
        return [xp2torch(array, device=device) for array in arrays]

    def _decay(self, n_updates: int) -> float:
        # Short at first, so that the weights of before the training are soon forgotten.
        return min(self.average_decay, (1 + n_updates) / (10 + n_updates))

    def get_moments(self) -> dict[Any, Moments]:
        """Return the moments and step count of every parameter of every module.

        RETURNS (dict[Any, Moments]): By the key of the module; the tensors themselves, no copies.
        """
        found = dict(self._waiting)
        for key, inner in self._torch.items():
            found[key] = {
                name: dict(inner.state[parameter])
                for group in inner.param_groups
                for name, parameter in zip(group["names"], group["params"])
                if parameter in inner.state
            }
        return found

    def set_moments(self, moments: dict[Any, Moments]) -> None:
        """Take moments that `get_moments` gave, under the keys of the modules of now."""
        self._torch.clear()
        self._waiting = dict(moments)

    def _make(self, module: nn.Module, scale: Callable[[str], float]) -> torch.optim.AdamW:
        groups: dict[tuple[float, bool], list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                decays = not any(part in name for part in _NO_DECAY)
                groups.setdefault((scale(name), decays), []).append((name, parameter))
        settings = self._settings
        return torch.optim.AdamW(
            [
                {
                    "names": [name for name, _ in group],
                    "params": [parameter for _, parameter in group],
                    "scale": by,
                    "weight_decay": settings["L2"] if decays else 0.0,
                }
                for (by, decays), group in groups.items()
            ],
            betas=(settings["beta1"], settings["beta2"]),
            eps=settings["eps"],
            fused=True,
        )
