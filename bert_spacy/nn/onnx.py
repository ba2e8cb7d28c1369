"""The encoder in onnxruntime: exported once, checked, and run without torch's layers."""

import copy
import importlib
import importlib.util
import io
import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import Errors
from ..util import atomic_file
from .encoder import TransformerEncoder
from .onnx_graph import DOMAIN, list_graphs

OPSET = 17
# Largest difference from torch that an export may show, as a share of the largest value.
TOLERANCE = 1e-4
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OUTPUTS = ("hidden", "pooled")
# Each of these makes slower operators out of those that `onnx_graph` chooses.
_DISABLED = ["SkipLayerNormFusion", "MatMulAddFusion"]
_ORPHANS: list[Any] = []


@cache
def require(name: str) -> Any:
    """Import a module of the optional extra at its first use: loading it takes a while.

    name (str): "onnx", "onnxruntime", or a module in one of them.
    RETURNS (module): The module.
    RAISES (ImportError): B120 if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as err:
        raise ImportError(Errors.B120.format(package=name.split(".")[0])) from err


def has_onnxruntime() -> bool:
    """Say whether onnxruntime is installed, without loading it."""
    return importlib.util.find_spec("onnxruntime") is not None


class OnnxRunner:
    """Runs an exported encoder, as TransformerEncoder.forward does.

    It travels to other processes, pickled or by fork, and opens the model anew in each.

    source (Path | bytes): A file of `export_onnx` or `quantize_onnx`, or what it holds.
    threads (int | None): Threads of one run; None for as many as torch uses.
    """

    def __init__(self, source: Path | bytes, threads: int | None = None):
        self.source = source
        self.threads = threads
        self._session: Any = None
        self._owner = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None, "_owner": 0}

    @property
    def session(self) -> Any:
        """The session of this process, opened when it is first asked for.

        RAISES (ImportError): B120 if onnxruntime is not installed.
            (ValueError): B122 if the model cannot be read.
        """
        if self._session is None or self._owner != os.getpid():
            # The threads of a session do not live on in a fork, and to free it would wait for
            # them for ever.
            _ORPHANS.append(self._session)
            self._session = open_session(self.source, self.threads)
            self._owner = os.getpid()
        return self._session

    def run(self, ids: Tensor, mask: Tensor, types: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run the encoder on padded windows.

        ids (Tensor): Piece ids, int64. Shape (B, P).
        mask (Tensor): 1 on real pieces, int64. Shape (B, P).
        types (Tensor): Segment ids, int64; left out for models without. Shape (B, P).
        RETURNS (tuple[Tensor, Tensor | None]): Last hidden states, float32, shape (B, P, H), and
            the pooler's output, shape (B, H); both on the CPU.
        RAISES (ImportError): B120 if onnxruntime is not installed.
            (ValueError): B122 if the model cannot be read.
        """
        session = self.session
        wanted = {item.name for item in session.get_inputs()}
        given = zip(_INPUTS, (ids, mask, types))
        feed = {name: x.numpy(force=True) for name, x in given if name in wanted}
        outputs = [torch.from_numpy(x) for x in session.run(None, feed)]
        return outputs[0], outputs[1] if len(outputs) > 1 else None


def open_session(source: Path | bytes, threads: int | None = None) -> Any:
    """Open a model for the CPU.

    source (Path | bytes): The file, or what it holds.
    threads (int | None): Threads of one run; None for as many as torch uses.
    RETURNS (onnxruntime.InferenceSession): The session.
    RAISES (ImportError): B120 if onnxruntime is not installed.
        (ValueError): B122 if the model cannot be read.
    """
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    # Threads that spin after a run gain it 2 % and halve the speed of torch's heads after it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(
            source if isinstance(source, bytes) else str(source),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=_DISABLED,
        )
    except Exception as err:  # noqa: BLE001 - onnxruntime has a class for each of its kinds
        name = "the model in memory" if isinstance(source, bytes) else str(source)
        about = {"package": "onnxruntime", "version": runtime.__version__}
        message = Errors.B122.format(name=name, reason=first_line(err), **about)
        raise ValueError(message) from err


def export_onnx(encoder: TransformerEncoder, path: Path) -> None:
    """Write an encoder as one .onnx file with free batch size and length.

    Inputs are input_ids, attention_mask and, for models with segments, token_type_ids: int64,
    shape (B, P). Outputs are hidden, float32, shape (B, P, H), and, if there is a pooler, pooled,
    shape (B, H). A family that `blocks` knows gets onnxruntime's fused operators, others their
    own code as traced. The export is compared with torch before it is written.

    encoder (TransformerEncoder): The encoder. It stays as it is.
    path (Path): The file to write.
    RAISES (ImportError): B120 if onnx or onnxruntime is not installed.
        (ValueError): B121 if no export gives what torch gives.
    """
    require("onnx")
    require("onnxruntime")
    encoder = copy.deepcopy(encoder).cpu().float().eval()
    failures = []
    for graph in list_graphs(encoder):
        try:
            data = _trace(graph.eval(), encoder)
            difference = _compare(encoder, data)
        except Exception as err:  # noqa: BLE001 - the exporter raises whatever a model raises
            failures.append(first_line(err))
            continue
        if difference <= TOLERANCE:
            with atomic_file(path, "wb") as file_:
                file_.write(data)
            return
        failures.append(f"its output differs from torch by {difference:.1e} of the largest value")
    raise ValueError(Errors.B121.format(reason="; ".join(failures)))


def first_line(err: BaseException) -> str:
    """Shorten an exception to its class and first line."""
    return f"{type(err).__name__}: {err}".splitlines()[0][:300]


@torch.no_grad()
def _trace(graph: nn.Module, encoder: TransformerEncoder) -> bytes:
    inputs = _INPUTS[: 3 if encoder.has_types else 2]
    outputs = _OUTPUTS[: 2 if encoder.has_pooler else 1]
    free = {name: {0: "batch", 1: "length"} for name in (*inputs, "hidden")}
    buffer: Any = io.BytesIO()  # newer torch declares paths alone, and takes both
    with warnings.catch_warnings():
        # Of a trace: Python values become constants, which the comparison would show to be
        # wrong. Of the exporter: it is the older one of two.
        for kind in (torch.jit.TracerWarning, DeprecationWarning, FutureWarning, UserWarning):
            warnings.simplefilter("ignore", category=kind)
        torch.onnx.export(
            graph,
            _sample(encoder, 2, 7),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            custom_opsets={DOMAIN: 1},
            input_names=list(_INPUTS),
            output_names=list(outputs),
            dynamic_axes={**free, "pooled": {0: "batch"}} if len(outputs) > 1 else free,
        )
    return buffer.getvalue()


@torch.inference_mode()
def _compare(encoder: TransformerEncoder, data: bytes) -> float:
    """Return the largest difference from torch over several shapes, padded ones among them."""
    runner, worst = OnnxRunner(data), 0.0
    for n, length in ((1, 3), (3, 16), (2, min(encoder.max_positions, 200))):
        batch = _sample(encoder, n, length)
        real = batch[1].bool()
        (want, want_pooled), (got, got_pooled) = encoder(*batch), runner.run(*batch)
        pairs = [(want[real], got[real])]
        if want_pooled is not None and got_pooled is not None:
            pairs.append((want_pooled, got_pooled))
        for x, y in pairs:
            difference = float((x - y).abs().max() / x.abs().max())
            worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def _sample(encoder: TransformerEncoder, n: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make windows of random pieces; all but the first are padded."""
    config = encoder.model.config
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, int(config.vocab_size), (n, length), generator=draw)
    types = torch.randint(0, 2 if encoder.has_types else 1, (n, length), generator=draw)
    mask = torch.ones_like(ids)
    for row in range(1, n):
        mask[row, max(1, length - 2 * row) :] = 0
    # RoBERTa numbers its positions by which pieces are not padding.
    padding = getattr(config, "pad_token_id", None) or 0
    ids = torch.where(ids == padding, (padding + 1) % int(config.vocab_size), ids)
    ids = ids.masked_fill(mask == 0, padding)
    return ids, mask, types
