"""Put a faster encoder into a trained pipeline, and measure what that changes."""

import math
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import srsly
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import split_requirement
from thinc.api import Config
from torch import Tensor

from ..data.corpus import Corpus
from ..errors import Errors
from ..layers.encoder import pad_windows
from ..nn.backends import why_no_int8
from ..nn.blocks import read_stack
from ..nn.encoder import has_bfloat16
from ..nn.extras import WEIGHTS_FILE, Extras
from ..nn.fused import has_vnni, is_available, is_int8_available
from ..nn.onnx import export_onnx, has_onnxruntime, require
from ..nn.onnx_int8 import quantize_onnx
from ..nn.quantize import measure_ranges
from ..pipeline.encoder import BertEncoder
from ..pipeline.files import load_pipeline
from ..util import atomic_dir, atomic_file
from .folders import check_pipeline_output
from .parity import Parity, Setting, Trial

REPORT_FILE = "optimize.json"
SAMPLES_FILE = Path(__file__).parent / "samples.txt"
# Points (of 100) that a head's score may lose.
MAX_DROP = 0.5
# What a wheel of the new pipeline requires to predict in onnxruntime, as the extra "onnx" has it.
# Where the processor has no VNNI, onnx rewrites an int8 model.
REQUIREMENTS = {"fp32": ["onnxruntime>=1.19"], "int8": ["onnxruntime>=1.19", "onnx>=1.16"]}
# Docs whose pieces set the ranges of int8.
RANGE_DOCS = 400


def optimize(
    pipeline: str | Path,
    output: Path,
    *,
    precision: str = "fp32",
    backend: str = "auto",
    calibrate: Path | None = None,
    slim: bool = False,
    force: bool = False,
    show: Callable[[list[Parity]], None] | None = None,
) -> dict[str, Any]:
    """Write a copy of a pipeline whose encoder predicts on another backend.

    pipeline (str | Path): Folder or name of a trained pipeline.
    output (Path): Folder of the new one; an older pipeline there is replaced when the new one is
        complete.
    precision (str): "fp32" or "int8".
    backend (str): "torch", "onnx", or "auto" for the one that is faster here.
    calibrate (Path): `.spacy` file or folder: its texts set the ranges of int8, and its
        gold shows what the heads lose. None for a few sentences without gold that come
        with this package.
    slim (bool): Leave out the torch weights, which onnxruntime does not need: the
        pipeline is smaller and can no longer be trained.
    force (bool): Write it even if a score drops by more than MAX_DROP points.
    show (Callable): Gets all that was measured, before a pipeline is written or refused.
    RETURNS (dict[str, Any]): The report; it is in the new folder as `optimize.json`.
    RAISES (ValueError): B640 for settings that do not go together; B641 without an
        encoder of ours; B642 if a score drops too far; B647 if int8 cannot run in torch
        here, so that nothing could be measured; B648 for Docs without text; B120 without
        onnxruntime; B633 for an output where something would be lost.
    """
    _check(precision, backend, slim)
    output = Path(output)
    check_pipeline_output(output, Path(pipeline), *([] if calibrate is None else [calibrate]))
    nlp = load_pipeline(pipeline)
    (name, encoder), *others = _find_encoders(nlp)
    read = _sample_reader(nlp, calibrate)
    if not any(example.predicted.text.strip() for example in read()):
        raise ValueError(Errors.B648.format(path=calibrate))
    trial = Trial(nlp, encoder, read)
    with tempfile.TemporaryDirectory(prefix="bert_spacy.") as work:
        found: list[tuple[Parity, Setting]] = []
        for kind in _list_backends(encoder, precision, "onnx" if slim else backend):
            docs = (example.predicted for example in islice(read(), RANGE_DOCS))
            extras = _make_extras(encoder, kind, precision, docs, Path(work))
            setting = Setting(kind, precision, extras)
            found.append((trial.compare(setting), setting))
        if show is not None:
            show([other for other, _ in found])
        parity, setting = _choose(found, force)
        setting.apply(encoder)
        report = {
            "backend": setting.backend,
            "precision": setting.precision,
            "without_gold": trial.without_gold,
            "left_alone": [other for other, _ in others],
            "chosen": _report(parity),
            "tried": [_report(other) for other, _ in found],
            "machine": _describe_machine(),
        }
        _write(nlp, name, setting, report, slim, output)
    return report


def _check(precision: str, backend: str, slim: bool) -> None:
    fine = precision in ("fp32", "int8") and backend in ("auto", "torch", "onnx")
    if not fine or (slim and backend == "torch"):
        raise ValueError(Errors.B640.format(precision=precision, backend=backend, slim=slim))


def _find_encoders(nlp: Language) -> list[tuple[str, BertEncoder]]:
    found = [
        (name, pipe)
        for name, pipe in nlp.pipeline
        # An ELMo has no backends to choose from.
        if isinstance(pipe, BertEncoder)
        and "backend" in pipe.model.attrs
        and pipe.model.shims[0].encoder.has_weights
    ]
    if not found:
        raise ValueError(Errors.B641.format(names=nlp.pipe_names))
    return found


def _sample_reader(nlp: Language, calibrate: Path | None) -> Callable[[], Iterable[Example]]:
    if calibrate is not None:
        return lambda: Corpus([calibrate])(nlp)
    texts = SAMPLES_FILE.read_text(encoding="utf-8").splitlines()
    return lambda: (Example(nlp.make_doc(text), nlp.make_doc(text)) for text in texts)


def _list_backends(encoder: BertEncoder, precision: str, backend: str) -> list[str]:
    if backend != "auto":
        return [backend]
    model = encoder.model.shims[0].encoder.model
    known = is_available() and read_stack(model) is not None
    in_torch = precision == "fp32" or (known and is_int8_available())
    return ["torch"] * in_torch + ["onnx"] * (has_onnxruntime() or not in_torch)


def _make_extras(
    encoder: BertEncoder, backend: str, precision: str, docs: Iterable[Doc], work: Path
) -> Extras:
    inner = encoder.model.shims[0].encoder
    if backend == "torch" and precision == "fp32":
        return Extras()
    stack = read_stack(inner.model)
    ranges = None
    if precision == "int8" and stack is not None:
        ranges = measure_ranges(inner.model, stack, _windows(encoder, docs))
    if backend == "torch":
        extras = Extras(ranges)
        missing = why_no_int8(inner, stack, extras)
        if missing is not None:
            raise ValueError(Errors.B647.format(missing=missing))
        return extras
    exact = work / "model.onnx"
    export_onnx(inner, exact)
    if precision == "fp32":
        return Extras(onnx={"fp32": exact})
    rounded = work / "model_int8.onnx"
    quantize_onnx(exact, rounded, ranges)
    return Extras(onnx={"int8": rounded})


def _windows(
    encoder: BertEncoder, docs: Iterable[Doc]
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    has_types = encoder.model.shims[0].encoder.has_types
    for ids, mask, types in pad_windows(encoder.model, list(docs)):
        yield ids, mask, types if has_types else None


def _choose(found: list[tuple[Parity, Setting]], force: bool) -> tuple[Parity, Setting]:
    """Take the fastest setting that keeps the scores, or by force the one that loses least."""
    good = [pair for pair in found if pair[0].worst_drop <= MAX_DROP]
    if good:
        return max(good, key=lambda pair: pair[0].speed)
    parity, setting = min(found, key=lambda pair: pair[0].worst_drop)
    if not force:
        raise ValueError(
            Errors.B642.format(
                name=parity.name, drop=round(parity.worst_drop, 2), limit=MAX_DROP,
                before=parity.before, after=parity.after,
            )
        )  # fmt: skip
    return parity, setting


def _describe_machine() -> dict[str, Any]:
    """Return what speed and rounding depend on beside the pipeline."""
    return {
        "torch": torch.__version__,
        "onnxruntime": require("onnxruntime").__version__ if has_onnxruntime() else None,
        "processor": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "vnni": has_vnni(),
        "bfloat16": has_bfloat16("cpu"),
        "threads": torch.get_num_threads(),
    }


def _report(parity: Parity) -> dict[str, Any]:
    """Return what was measured for a JSON file, which has no NaN."""
    items = asdict(parity).items()
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in items}


def _write(
    nlp: Language, name: str, setting: Setting, report: dict[str, Any], slim: bool, output: Path
) -> None:
    others = [
        line
        for line in nlp.meta.get("requirements", [])
        if split_requirement(line)[0] not in ("onnx", "onnxruntime")
    ]
    needed = REQUIREMENTS[setting.precision] if setting.backend == "onnx" else []
    nlp.meta["requirements"] = [*others, *needed]
    with atomic_dir(output) as folder:
        nlp.to_disk(folder)
        config = Config().from_disk(folder / "config.cfg", interpolate=False)
        model = config["components"][name]["model"]
        model.update(backend=setting.backend, precision=setting.precision)
        config.to_disk(folder / "config.cfg")
        if slim:
            (folder / name / "encoder" / WEIGHTS_FILE).unlink()
        report["megabytes"] = {"before": _size(Path(nlp.path)), "after": _size(folder)}
        with atomic_file(folder / REPORT_FILE) as file_:
            file_.write(srsly.json_dumps(report, indent=2) + "\n")


def _size(folder: Path) -> float:
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6, 1)
