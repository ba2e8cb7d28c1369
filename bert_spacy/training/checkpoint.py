"""Checkpoints: all that a training run needs to go on as if it had never stopped."""

import json
import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from spacy.language import Language
from thinc.api import Config, Optimizer

from ..errors import Errors

PIPELINE, TENSORS, STATE, CONFIG = "pipeline", "state.safetensors", "state.json", "config.cfg"
_NAME = re.compile(r"step-(\d+)")
# As `mkdtemp` calls those that are not whole yet.
_TEMPORARY = re.compile(r"\.step-[a-z0-9_]{8}")
_MOMENTS = ("mom1", "mom2", "averages")


@dataclass
class Progress:
    """How far a run has come.

    step (int): Steps that are done.
    evaluations (list[dict]): What the logger was told at each evaluation, in order.
    losses (dict[str, float]): Sums since the last evaluation.
    words (int): Tokens seen.
    seconds (int): Time spent.
    data (int): Checksum of the batches so far.
    dev (int): Checksum of the development data.
    seed (int): What was drawn where the config has none; the order of the data follows from it.
    """

    step: int = 0
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)
    words: int = 0
    seconds: int = 0
    data: int = 0
    dev: int = 0
    seed: int | None = None


def find_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a folder, None if there is none."""
    found = [p for p in folder.iterdir() if _NAME.fullmatch(p.name)] if folder.is_dir() else []
    return max(found, key=lambda p: int(p.name.split("-")[1]), default=None)


def save_checkpoint(
    folder: Path, nlp: Language, optimizer: Optimizer, progress: Progress, config: str
) -> Path:
    """Write a checkpoint, then remove the older ones; a kill at any time leaves a whole one.

    folder (Path): Where checkpoints lie.
    nlp (Language): The pipeline, after the step.
    optimizer (Optimizer): Any optimizer of thinc, or `bert-spacy.AdamW.v1`.
    progress (Progress): How far the run has come.
    config (str): The whole config of the run.
    RETURNS (Path): The checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".step-", dir=folder))
    final = folder / f"step-{progress.step:08d}"
    try:
        nlp.to_disk(temporary / PIPELINE)
        tensors, counts = _optimizer_state(nlp, optimizer)
        tensors["random/torch"] = torch.get_rng_state()
        for device in range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0):
            tensors[f"random/cuda/{device}"] = torch.cuda.get_rng_state(device)
        save_file(
            {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()},
            temporary / TENSORS,
        )
        name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the state spaCy and thinc use
        state = {
            "progress": asdict(progress),
            "counts": counts,
            "random": random.getstate(),
            "numpy": [name, np.asarray(keys).tolist(), *rest],
        }
        (temporary / STATE).write_text(json.dumps(state, default=float), encoding="utf-8")
        (temporary / CONFIG).write_text(config, encoding="utf-8")
        _flush(temporary)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    remove_checkpoints(folder, final)
    return final


def remove_checkpoints(folder: Path, kept: Path | None = None) -> None:
    """Remove all checkpoints of a folder but one; what has another name stays.

    folder (Path): Where checkpoints lie, if it is there.
    kept (Path | None): The one that stays.
    """
    for other in folder.iterdir() if folder.is_dir() else ():
        # The temporary ones were cut off while they were written.
        is_ours = _NAME.fullmatch(other.name) or _TEMPORARY.fullmatch(other.name)
        if other != kept and is_ours:
            shutil.rmtree(other, ignore_errors=True)


def check_config(path: Path, config: str) -> None:
    """Compare the config of a checkpoint with that of the run that wants to go on from it.

    The order of settings does not count, but where something is drawn or built in that order.

    path (Path): The checkpoint.
    config (str): The whole config of now.
    RAISES (ValueError): B541 if they differ, with the settings that do; B540 if that of the
        checkpoint is damaged.
    """
    old = _read(path, lambda: _parse((path / CONFIG).read_text(encoding="utf-8")))
    new = _parse(config)
    before, now = dict(_settings(old)), dict(_settings(new))
    lines = [
        f"{key}: {before.get(key, '(unset)')} -> {now.get(key, '(unset)')}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    order = dict(_orders(new))
    for key, names in _orders(old):
        others = order.get(key, names)
        if names != others and set(names) == set(others):
            lines.append(f"order of {key}: {', '.join(names)} -> {', '.join(others)}")
    if lines:
        raise ValueError(Errors.B541.format(path=path, difference="; ".join(lines)))


def read_pipeline(path: Path, nlp: Language) -> None:
    """Read the weights of a checkpoint into a pipeline of the same config.

    RAISES (ValueError): B540 if they are damaged.
    """
    _read(path, lambda: nlp.from_disk(path / PIPELINE))


def read_progress(path: Path) -> Progress:
    """Read how far a checkpoint has come.

    RAISES (ValueError): B540 if it is damaged.
    """
    return Progress(**_read_state(path)["progress"])


def restore_optimizer(path: Path, nlp: Language, optimizer: Optimizer) -> None:
    """Give an optimizer the moments of a checkpoint.

    path (Path): The checkpoint.
    nlp (Language): The pipeline that was read from it.
    optimizer (Optimizer): Made anew from the config.
    RAISES (ValueError): B540 if the checkpoint is damaged or does not fit the pipeline.
    """
    tensors = _read(path, lambda: load_file(path / TENSORS))
    ids = {address: id_ for id_, address in (*_node_addresses(nlp), *_shim_addresses(nlp))}

    def restore() -> None:
        moments: dict[Any, Any] = {}
        for key, tensor in tensors.items():
            kind, _, rest = key.partition("/")
            if kind == "module":
                address, name, value = rest.rsplit("|", 2)
                moments.setdefault(ids[address], {}).setdefault(name, {})[value] = tensor
            elif kind in _MOMENTS:
                address, name = rest.rsplit("|", 1)
                target = getattr(optimizer, kind)
                target[(ids[address], name)] = _to_ops(nlp, tensor)
        if moments:
            optimizer.set_moments(moments)  # type: ignore[attr-defined]
        for kind, counts in _read_state(path)["counts"].items():
            for key, n in counts.items():
                address, name = key.rsplit("|", 1)
                getattr(optimizer, kind)[(ids[address], name)] = n

    _read(path, restore)


def restore_random(path: Path) -> None:
    """Set the random states of Python, NumPy and torch to those of a checkpoint.

    RAISES (ValueError): B540 if it is damaged.
    """
    state = _read_state(path)

    def restore() -> None:
        # The moments, twice the size of the weights, stay on the disk.
        with safe_open(str(path / TENSORS), framework="pt") as file_:
            names = [name for name in list(file_.keys()) if name.startswith("random/")]
            tensors = {name: file_.get_tensor(name) for name in names}
        version, words, gauss = state["random"]
        random.setstate((version, tuple(words), gauss))
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
        torch.set_rng_state(tensors["random/torch"])
        for key, value in tensors.items():
            if key.startswith("random/cuda/"):
                torch.cuda.set_rng_state(value, int(key.rsplit("/", 1)[1]))

    _read(path, restore)


def _optimizer_state(
    nlp: Language, optimizer: Optimizer
) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, int]]]:
    shims = dict(_shim_addresses(nlp))
    tensors: dict[str, torch.Tensor] = {}
    if hasattr(optimizer, "get_moments"):
        for key, moments in optimizer.get_moments().items():
            for name, values in moments.items():
                for value, tensor in values.items():
                    tensors[f"module/{shims[key]}|{name}|{value}"] = tensor
    address = _make_address(nlp)
    for kind in _MOMENTS:
        for key, array in (getattr(optimizer, kind) or {}).items():
            array = array if isinstance(array, np.ndarray) else array.get()
            tensors[f"{kind}/{address(key)}"] = torch.from_numpy(array)
    counts = {
        kind: {address(key): int(n) for key, n in getattr(optimizer, kind).items()}
        for kind in ("nr_update", "last_seen")
    }
    return tensors, counts


def _make_address(nlp: Language) -> Callable[[tuple[int, str]], str]:
    # Ids are numbers of this process, so each parameter goes by its place in the pipeline.
    # Layers and shims are numbered apart, and thinc's keys do not say which it is.
    nodes, shims = dict(_node_addresses(nlp)), dict(_shim_addresses(nlp))
    owned = {
        (node.id, name)
        for _, pipe in nlp.pipeline
        if hasattr(pipe, "model")
        for node in pipe.model.walk()
        for name in node.param_names
    }

    def address(key: tuple[int, str]) -> str:
        return f"{(nodes if key in owned else shims)[key[0]]}|{key[1]}"

    return address


def _node_addresses(nlp: Language) -> Iterator[tuple[int, str]]:
    for name, pipe in nlp.pipeline:
        for i, node in enumerate(pipe.model.walk() if hasattr(pipe, "model") else ()):
            yield node.id, f"{name}/{i}"


def _shim_addresses(nlp: Language) -> Iterator[tuple[int, str]]:
    for name, pipe in nlp.pipeline:
        for i, node in enumerate(pipe.model.walk() if hasattr(pipe, "model") else ()):
            for j, shim in enumerate(node.shims):
                yield shim.id, f"{name}/{i}/{j}"


def _to_ops(nlp: Language, tensor: torch.Tensor) -> Any:
    models = (pipe.model for _, pipe in nlp.pipeline if hasattr(pipe, "model"))
    return next(models).ops.asarray(tensor.numpy())


def _parse(text: str) -> Config:
    return Config().from_str(text, interpolate=False)


def _settings(node: dict[str, Any], place: str = "") -> Iterator[tuple[str, str]]:
    """Yield each value by its dotted path, and the sections that hold none."""
    for key, value in node.items():
        path = f"{place}{key}"
        if isinstance(value, dict) and value:
            yield from _settings(value, f"{path}.")
        elif isinstance(value, dict):
            yield path, "(an empty section)"
        else:
            yield path, json.dumps(value, sort_keys=True, ensure_ascii=False)


def _orders(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """Yield the sections in which the order counts, and the names in their order.

    Settings are given by name, so their order does not count, and components are made in the
    order of `nlp.pipeline`. But what stands under "*" is given by place, and a reader that gets a
    table, as `bert-spacy.MixedCorpus.v1` does, draws from it in its order.
    """
    for key, value in node.items():
        if not isinstance(value, dict):
            continue
        place = (*path, key)
        is_table = place[0] == "corpora" and _is_call(node) and not _is_call(value)
        if key == "*" or is_table:
            yield ".".join(place), list(value)
        yield from _orders(value, place)


def _is_call(section: dict[str, Any]) -> bool:
    return any(key.startswith("@") for key in section)


def _read_state(path: Path) -> dict[str, Any]:
    return _read(path, lambda: json.loads((path / STATE).read_text(encoding="utf-8")))


def _read(path: Path, read: Any) -> Any:
    try:
        return read()
    except Exception as err:  # noqa: BLE001 - damaged bytes may raise anything
        reason = f"{type(err).__name__}: {err}".splitlines()[0][:300]
        raise ValueError(Errors.B540.format(path=path, reason=reason)) from err


def _flush(folder: Path) -> None:
    """Wait until the files are on the disk: after a power cut a name must not be all there is."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("r+b") as file_:  # Windows flushes no file that is open to read
                os.fsync(file_.fileno())
