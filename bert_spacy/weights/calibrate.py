"""Fit the probabilities of a trained pipeline on gold Docs that it was not trained on."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import srsly
from spacy.language import Language
from spacy.training import Example

from ..data.corpus import Corpus
from ..errors import Errors
from ..layers.ner import TagScores
from ..pipeline.lattice import Floats, Spans
from ..pipeline.ner import BertEntityRecognizer
from ..pipeline.textcat import BertTextCategorizer
from ..scoring.calibration import (
    Bools,
    brier_score,
    expected_error,
    find_threshold,
    fit_temperature,
    log_loss,
    reliability,
)
from ..scoring.ner import has_gold, judge_spans
from ..scoring.textcat import judge_cats
from ..types import Ints
from ..util import atomic_dir, atomic_file

REPORT_FILE = "calibrate.json"
# With fewer predictions a fit would be a guess.
MIN_PREDICTIONS = 20


def calibrate(
    pipeline: str | Path,
    data: Sequence[Path],
    output: Path,
    *,
    min_precision: float | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Write a copy of a pipeline whose probabilities agree with what is seen on gold Docs.

    pipeline (str | Path): Folder or name of a trained pipeline.
    data (Sequence[Path]): .spacy files and folders of them, none of them used in training.
    output (Path): Folder of the new one; a pipeline that stands there is replaced.
    min_precision (float): Precision, 0..1, that the entities of each label are to have; those
        that are not sure enough become candidates. None for no thresholds.
    batch_size (int): Docs per batch; the pipeline's own if None.
    RETURNS (dict[str, Any]): What was fitted for each component, and how far probabilities
        were off before and after; it is in the new folder as `calibrate.json`.
    RAISES (ValueError): B632 if no component has gold enough; B633 if the output is a folder
        with other files; B526 for a precision out of range; B413 or B414 if the Docs can't be
        read.
    """
    output = Path(output)
    if output.is_dir() and any(output.iterdir()) and not (output / "config.cfg").exists():
        raise ValueError(Errors.B633.format(path=output))
    if min_precision is not None and not 0 <= min_precision <= 1:
        raise ValueError(Errors.B526.format(value=min_precision))
    nlp = spacy.load(pipeline)
    report = calibrate_heads(nlp, data, min_precision=min_precision, batch_size=batch_size)
    with atomic_dir(output) as folder:
        nlp.to_disk(folder)
        with atomic_file(folder / REPORT_FILE) as file_:
            file_.write(srsly.json_dumps(report, indent=2) + "\n")
    return report


def calibrate_heads(
    nlp: Language,
    data: Sequence[Path],
    *,
    min_precision: float | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Fit the heads of a loaded pipeline in place; see `calibrate`."""
    found: dict[str, dict[str, Any]] = {}
    for name, pipe in nlp.pipeline:
        if isinstance(pipe, BertTextCategorizer):
            found[name] = _fit_textcat(nlp, pipe, list(Corpus(list(data))(nlp)), batch_size)
        elif isinstance(pipe, BertEntityRecognizer):
            found[name] = fit_entities(pipe, list(Corpus(list(data))(nlp)), min_precision)
    report = {name: part for name, part in found.items() if "temperature" in part}
    if not report:
        counts = {name: part["predictions"] for name, part in found.items()}
        raise ValueError(Errors.B632.format(found=counts, least=MIN_PREDICTIONS))
    return report


def _fit_textcat(
    nlp: Language, pipe: BertTextCategorizer, examples: list[Example], batch_size: int | None
) -> dict[str, Any]:
    """Fit the temperature of a classifier in place, as `fit_entities` does for entities."""
    examples = [eg for eg in examples if any(eg.reference.cats.values())]
    old, pipe.cfg["temperature"] = pipe.cfg["temperature"], 1.0
    list(nlp.pipe([eg.predicted for eg in examples], batch_size=batch_size))
    table, gold = judge_cats(examples, pipe.labels)
    if len(gold) < MIN_PREDICTIONS:
        pipe.cfg["temperature"] = old
        return {"predictions": len(gold)}
    logs = np.log(np.maximum(table, np.finfo(np.float64).tiny))
    rows = np.arange(len(gold))

    def at(temperature: float) -> Floats:
        scores = logs / temperature
        shares = np.exp(scores - scores.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)

    temperature = fit_temperature(lambda t: float(-np.log(at(t)[rows, gold] + 1e-300).mean()))
    hit = table.argmax(1) == gold
    pipe.cfg["temperature"] = temperature
    return {
        "predictions": len(gold),
        "temperature": temperature,
        "before": _measure(table.max(1), hit),
        "after": _measure(at(temperature).max(1), hit),
    }


def fit_entities(
    pipe: BertEntityRecognizer, examples: Sequence[Example], min_precision: float | None
) -> dict[str, Any]:
    """Fit the probabilities of entities in place.

    pipe (BertEntityRecognizer): The component.
    examples (Sequence[Example]): Gold; predictions are made anew.
    min_precision (float): See `calibrate`.
    RETURNS (dict[str, Any]): The report. With fewer than 20 predictions to judge, nothing is
        fitted, and the report holds "predictions" alone.
    RAISES (ValueError): B526 for a precision out of range.
    """
    examples = [eg for eg in examples if has_gold(eg)]
    old = dict(pipe.cfg)
    pipe.cfg.update(temperature=1.0, thresholds={})
    parts, hit, label = _read_entities(pipe, examples)
    if len(hit) < MIN_PREDICTIONS:
        pipe.cfg.update(old)
        return {"predictions": len(hit)}

    def at(temperature: float) -> Floats:
        pipe.cfg["temperature"] = temperature
        return np.concatenate([pipe.make_lattice(x).score(spans) for x, spans in parts])

    raw = at(1.0)
    temperature = fit_temperature(lambda t: float(log_loss(at(t), hit).mean()))
    values = at(temperature)
    report = {
        "predictions": len(hit),
        "temperature": temperature,
        "before": _measure(raw, hit),
        "after": _measure(values, hit),
    }
    if min_precision is not None:
        report["min_precision"] = min_precision
        report.update(_fit_thresholds(pipe, values, hit, label, min_precision))
    return report


def _read_entities(
    pipe: BertEntityRecognizer, examples: Sequence[Example]
) -> tuple[list[tuple[TagScores, Spans]], Bools, Ints]:
    """Return what is predicted and judged: tag scores with their entities; right, label."""
    parts = []
    right, label = [np.zeros(0, dtype=bool)], [np.zeros(0, int)]
    for index, lattice in pipe.read_lattices([eg.predicted for eg in examples]):
        spans = lattice.read_spans(lattice.decode())
        tokens, doc = lattice.scores.tokens, lattice.doc_of(spans)
        judged: list[bool | None] = []
        for i, at in enumerate(index):
            mine = np.flatnonzero(doc == i)
            ents = zip(tokens[spans.start[mine]], tokens[spans.end[mine] - 1], spans.label[mine])
            rows = [(int(a), int(b) + 1, pipe.labels[k]) for a, b, k in ents]
            judged += judge_spans(examples[at], rows)
        known = np.flatnonzero([verdict is not None for verdict in judged])
        parts.append((lattice.scores, spans.select(known)))
        right.append(np.array([judged[i] for i in known], dtype=bool))
        label.append(spans.label[known])
    return parts, np.concatenate(right), np.concatenate(label)


def _fit_thresholds(
    pipe: BertEntityRecognizer, p: Floats, hit: Bools, label: Ints, min_precision: float
) -> dict[str, Any]:
    thresholds, unreached = {}, []
    for k, name in enumerate(pipe.labels):
        found = find_threshold(p[label == k], hit[label == k], min_precision)
        thresholds[name] = 1.0 if found is None else found
        if found is None:
            unreached.append(name)
    pipe.set_thresholds(thresholds)
    kept = p >= np.array(list(thresholds.values()))[label]
    return {
        "thresholds": thresholds,
        "unreached": unreached,
        "kept": int(kept.sum()),
        "kept_precision": float(hit[kept].mean()) if kept.any() else None,
        "kept_share_of_right": float(hit[kept].sum() / max(hit.sum(), 1)),
    }


def _measure(p: Floats, hit: Bools) -> dict[str, Any]:
    bins = asdict(reliability(p, hit))
    return {"ece": expected_error(p, hit), "brier": brier_score(p, hit), "reliability": bins}
