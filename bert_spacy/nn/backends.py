"""What an encoder predicts with: torch's modules, oneDNN's fused kernels, or onnxruntime."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from ..errors import Errors, Warnings
from .blocks import Stack, read_stack
from .encoder import TransformerEncoder, autocast, has_bfloat16, warn_no_bfloat16
from .extras import Extras
from .fused import FusedEncoder, has_vnni, is_available, is_int8_available
from .onnx import OnnxRunner, has_onnxruntime
from .onnx_int8 import open_int8

Backend = Literal["auto", "torch", "onnx"]
Precision = Literal["auto", "fp32", "bf16", "int8"]
BACKENDS, PRECISIONS = ("auto", "torch", "onnx"), ("auto", "fp32", "bf16", "int8")
# Takes piece ids, mask and segment ids, (B, P) each; see `TransformerEncoder.forward`.
Run = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Predictor:
    """Runs an encoder without gradients.

    run (Run): Takes padded windows, gives hidden states and pooled output.
    budget (int): Pieces, padding included, that run fastest together.
    name (str): What it is, such as "torch int8".
    """

    run: Run
    budget: int
    name: str


def make_predictor(
    encoder: TransformerEncoder, backend: Backend, precision: Precision, extras: Extras
) -> Predictor:
    """Choose what to predict with; where something is missing, say so once and compute in float.

    encoder (TransformerEncoder): The encoder.
    backend (str): "torch", "onnx", or "auto": onnxruntime if there is a file for it, else torch.
    precision (str): "fp32", "bf16", "int8", or "auto", which is fp32.
    extras (Extras): What `optimize` has made for these weights.
    RETURNS (Predictor): The fastest way of those that were asked for.
    RAISES (ValueError): B130 for an unknown backend or precision; B120 if onnxruntime is asked for
        and not installed.
    """
    if backend not in BACKENDS or precision not in PRECISIONS:
        raise ValueError(Errors.B130.format(backend=backend, precision=precision))
    precision = "fp32" if precision == "auto" else precision
    path = extras.onnx.get(precision)
    if backend == "onnx" and path is None and encoder.has_weights:
        what = f"an ONNX model of the present weights in {precision}"
        _warn(f"{what} (python -m bert_spacy optimize makes one)", "torch")
    must = backend == "onnx" or not encoder.has_weights
    on_cpu = encoder.device.type in ("cpu", "meta")
    if path is not None and on_cpu and backend != "torch" and (must or has_onnxruntime()):
        if precision == "int8" and not has_vnni():
            _warn_slow_int8()
        runner = open_int8(path) if precision == "int8" else OnnxRunner(path)
        return Predictor(runner.run, 1024, f"onnx {precision}")
    if not encoder.has_weights:
        raise ValueError(Errors.B131.format(backend=backend, precision=precision))
    if path is not None and on_cpu and backend == "auto":
        _warn("onnxruntime, which is not installed (pip install 'bert-spacy[onnx]')", "torch")
    return _in_torch(encoder, precision, extras)


def _in_torch(encoder: TransformerEncoder, precision: str, extras: Extras) -> Predictor:
    on_cpu = encoder.device.type == "cpu"
    stack = read_stack(encoder.model) if on_cpu and is_available() else None
    if precision == "int8":
        missing = why_no_int8(encoder, stack, extras)
        if stack is not None and missing is None:
            fused = FusedEncoder(encoder.model, stack, ranges=extras.ranges)
            return Predictor(_without_types(encoder, fused), 2048, "torch int8")
        _warn(missing, "float32")
        precision = "fp32"
    half = precision == "bf16"
    if half and on_cpu and not has_bfloat16("cpu"):
        warn_no_bfloat16("cpu")
        half = False
    name = "torch bf16" if half else "torch fp32"
    if stack is not None:
        fused = FusedEncoder(encoder.model, stack, torch.bfloat16 if half else torch.float32)
        return Predictor(_without_types(encoder, fused), 2048, name)

    def run(ids: Tensor, mask: Tensor, types: Tensor) -> tuple[Tensor, Tensor | None]:
        with autocast(half, encoder.device):
            return encoder(ids, mask, types)

    return Predictor(run, 2048 if on_cpu else 16384, name)


def why_no_int8(encoder: TransformerEncoder, stack: Stack | None, extras: Extras) -> str | None:
    """Say what torch lacks to predict in int8.

    encoder (TransformerEncoder): The encoder.
    stack (Stack | None): Its layers, as `read_stack` gives them.
    extras (Extras): What `optimize` has made for its weights.
    RETURNS (str | None): The first thing that is missing, or None.
    """
    if encoder.device.type != "cpu":
        return "int8 on a GPU"
    if not is_int8_available():
        return "int8 instructions (VNNI) in this processor and torch"
    if stack is None:
        return "int8 for this architecture"
    if extras.ranges is None:
        return "int8 ranges for the present weights (python -m bert_spacy optimize makes them)"
    return None


def count_changes(encoder: TransformerEncoder) -> int:
    """Return a number that changes whenever weights of the encoder do."""
    weights = tuple((p.data_ptr(), p._version) for p in encoder.model.parameters())
    return hash((encoder.n_steps, weights))


def _without_types(encoder: TransformerEncoder, fused: FusedEncoder) -> Run:
    def run(ids: Tensor, mask: Tensor, types: Tensor) -> tuple[Tensor, Tensor | None]:
        return fused(ids, mask, types if encoder.has_types else None)

    return run


@cache
def _warn(missing: str | None, instead: str) -> None:
    warnings.warn(Warnings.BW130.format(missing=missing, instead=instead), stacklevel=3)


@cache
def _warn_slow_int8() -> None:
    warnings.warn(Warnings.BW131, stacklevel=3)
