"""Fit the probabilities of a trained pipeline on gold Docs that it was not trained on."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import srsly
import torch
from spacy.language import Language
from spacy.training import Example

from ..data.corpus import Corpus
from ..errors import Errors
from ..pipeline.base import BertHead
from ..pipeline.files import load_pipeline
from ..pipeline.judging import annotate_copies
from ..pipeline.known import register_pipeline
from ..scoring.calibration import (
    TINY,
    Bools,
    Floats,
    Judged,
    Outcomes,
    brier_score,
    expected_error,
    find_thresholds,
    fit_temperature,
    is_bound,
    reliability,
)
from ..scoring.squad import best_no_answer_threshold
from ..scoring.textcat import has_gold, score_textcat
from ..util import atomic_dir, atomic_file
from .folders import check_pipeline_output

REPORT_FILE = "calibrate.json"
# With fewer predictions a fit would be a guess.
MIN_PREDICTIONS = 20


def calibrate(
    pipeline: str | Path,
    data: Sequence[Path],
    output: Path,
    *,
    min_precision: float | None = None,
) -> dict[str, Any]:
    """Write a copy of a pipeline whose probabilities agree with what is seen on gold Docs.

    pipeline (str | Path): Folder or name of a trained pipeline.
    data (Sequence[Path]): .spacy files and folders of them, none of them used in training.
    output (Path): Folder of the new one; a pipeline that stands there is replaced.
    min_precision (float): Precision, 0..1, that what is given of each label is to have, for
        `bert_ner`, whose other entities become candidates, and `bert_textcat_multilabel`. None
        for those with the best F1 of the latter, and none of `bert_ner`: with the temperature its
        probabilities do not change alike, so that no threshold would give what a former one gave.
        Those that were removed are in the report.
    RETURNS (dict[str, Any]): What was fitted for each component, and how far probabilities
        were off before and after, and thresholds; for one with too few predictions their number
        alone. It is in the new folder as `calibrate.json`.
    RAISES (ValueError): B632 if no component has gold enough; B633 for an output where
        something would be lost; B526 for a precision out of range; B413 or B414 if the Docs
        can't be read.
    """
    output = Path(output)
    check_pipeline_output(output, Path(pipeline), *map(Path, data))
    if min_precision is not None and not 0 <= min_precision <= 1:
        raise ValueError(Errors.B526.format(value=min_precision))
    nlp = load_pipeline(pipeline)
    report = calibrate_heads(nlp, data, min_precision=min_precision)
    with atomic_dir(output) as folder:
        nlp.to_disk(folder)
        with atomic_file(folder / REPORT_FILE) as file_:
            file_.write(srsly.json_dumps(report, indent=2) + "\n")
    return report


def calibrate_heads(
    nlp: Language, data: Sequence[Path], *, min_precision: float | None = None
) -> dict[str, Any]:
    """Fit the heads of a loaded pipeline in place; see `calibrate`."""
    # A head that was taken from another pipeline by source= may not know this one.
    register_pipeline(nlp)
    examples = list(Corpus(list(data))(nlp))
    found = {
        name: fit_head(pipe, examples, min_precision)
        for name, pipe in nlp.pipeline
        if isinstance(pipe, BertHead) and isinstance(pipe, Judged)
    }
    counts = {name: part["predictions"] for name, part in found.items()}
    if all(n < MIN_PREDICTIONS for n in counts.values()):
        raise ValueError(Errors.B632.format(found=counts, least=MIN_PREDICTIONS))
    return found


def fit_head(
    pipe: Any, examples: Sequence[Example], min_precision: float | None = None
) -> dict[str, Any]:
    """Fit the probabilities of a component in place.

    pipe (Judged): The component. What it can do says what is fitted: a temperature if its
        settings hold one; if it has `set_thresholds`, thresholds by precision, or without
        `min_precision` by F1 if it has `tune_thresholds`; and the threshold of "no answer" if it
        has `judge_null`. Thresholds of another temperature that are not fitted anew are carried
        over if each probability is of one score, and removed otherwise.
    examples (Sequence[Example]): Gold; predictions are made anew.
    min_precision (float): See `calibrate`.
    RETURNS (dict[str, Any]): The report. With fewer than 20 predictions to judge, nothing is
        fitted, and the report holds "predictions" alone.
    RAISES (ValueError): B526 for a precision out of range.
    """
    # What is given decides which probability is judged.
    fitted = _fit_null(pipe, examples) if hasattr(pipe, "judge_null") else {}
    outcomes = pipe.judge(examples)
    report: dict[str, Any] = {"predictions": len(outcomes.hit), **fitted}
    if len(outcomes.hit) < MIN_PREDICTIONS:
        return report
    # Before: as the pipeline came, which may have been calibrated already.
    is_tuned = min_precision is None and hasattr(pipe, "tune_thresholds")
    f_before = _macro_f(pipe, _annotate(pipe, examples)) if is_tuned else None
    given = _find_given(pipe, outcomes) if hasattr(pipe, "set_thresholds") else None
    former = dict(pipe.cfg)
    if "temperature" in pipe.cfg:
        report["before"] = _measure(outcomes.at(pipe.cfg["temperature"]), outcomes.hit)
        pipe.set_temperature(fit_temperature(outcomes.loss))
        report["temperature"] = pipe.cfg["temperature"]
        report["at_bound"] = is_bound(pipe.cfg["temperature"])
        report["after"] = _measure(outcomes.at(pipe.cfg["temperature"]), outcomes.hit)
    if given is None:
        return report
    if min_precision is not None:
        report["min_precision"] = min_precision
        report.update(_fit_thresholds(pipe, outcomes, min_precision, given))
    elif is_tuned:
        # Labels without a positive here keep theirs.
        pipe.set_thresholds(_carry_over(pipe, former))
        judged = _annotate(pipe, examples)
        pipe.tune_thresholds(judged)
        report["thresholds"] = pipe.cfg["thresholds"]
        report.update(f_before=f_before, f_after=_macro_f(pipe, judged))
    elif former["thresholds"]:
        report["removed_thresholds"] = former["thresholds"]
        pipe.set_thresholds({})
    return report


def _carry_over(pipe: Any, former: dict[str, Any]) -> dict[str, float]:
    """Return thresholds that give what those of another temperature gave.

    pipe (Any): A component whose probabilities are sigmoids of one score each, which a temperature
        divides, so that all move alike. It has the new temperature.
    former (dict[str, Any]): Temperature and thresholds of before.
    RETURNS (dict[str, float]): By label, but for those that need none.
    """
    ratio = former["temperature"] / pipe.cfg["temperature"]
    values = [former["thresholds"].get(label, pipe.threshold) for label in pipe.labels]
    moved = torch.sigmoid(ratio * torch.logit(torch.tensor(values, dtype=torch.double)))
    return {
        label: value
        for label, value in zip(pipe.labels, moved.clamp(min=TINY).tolist())
        if value != pipe.threshold
    }


def _fit_null(pipe: Any, examples: Sequence[Example]) -> dict[str, Any]:
    """Fit from which score on "no answer" is given, where gold has questions of both kinds."""
    gaps, earned, has_answer = pipe.judge_null(examples)
    if len(gaps) < MIN_PREDICTIONS or len(np.unique(has_answer)) < 2:
        return {}
    before = float(np.where(gaps > pipe.null_threshold, ~has_answer, earned).mean())
    threshold, after = best_no_answer_threshold(gaps, earned, has_answer)
    if after > before:
        pipe.set_null_threshold(threshold)
    return {
        "null_threshold": pipe.null_threshold,
        "f_before": before,
        "f_after": max(before, after),
    }


def _annotate(pipe: Any, examples: Sequence[Example]) -> list[Example]:
    good = [eg for eg in examples if has_gold(eg, pipe.labels, multi_label=True)]
    return annotate_copies(pipe, good)


def _macro_f(pipe: Any, judged: Sequence[Example]) -> float:
    """Score what a classifier of several labels has annotated by the thresholds that it has."""
    scores = score_textcat(
        judged,
        labels=pipe.labels,
        multi_label=True,
        threshold=pipe.threshold,
        thresholds=pipe.cfg["thresholds"],
    )
    return scores["cats_macro_f"]


def _find_given(pipe: Any, outcomes: Outcomes) -> Bools:
    """Tell which predictions a component gives by its temperature and thresholds."""
    lowest = getattr(pipe, "threshold", 0.0)
    values = [pipe.cfg["thresholds"].get(name, lowest) for name in outcomes.labels]
    return outcomes.at(pipe.cfg["temperature"]) >= np.array(values)[outcomes.label]


def _fit_thresholds(
    pipe: Any, outcomes: Outcomes, min_precision: float, before: Bools
) -> dict[str, Any]:
    """Set thresholds by precision; `before` tells what the component gave until now."""
    p, hit = outcomes.at(pipe.cfg["temperature"]), outcomes.hit
    found = find_thresholds(p, hit, outcomes.label, len(outcomes.labels), min_precision)
    # A little lower, so that what stands just at it stays there in a file and in another batch.
    values = [1.0 if x is None else max(float(np.floor(1e6 * x)) / 1e6, 1e-6) for x in found]
    pipe.set_thresholds(dict(zip(outcomes.labels, values)))
    kept = _find_given(pipe, outcomes)
    n_gold = max(int(outcomes.n_gold.sum()), 1)
    return {
        "thresholds": pipe.cfg["thresholds"],
        "unreached": [name for name, value in zip(outcomes.labels, found) if value is None],
        "kept": int(kept.sum()),
        "precision_before": float(hit[before].mean()) if before.any() else None,
        "recall_before": float(hit[before].sum() / n_gold),
        "kept_precision": float(hit[kept].mean()) if kept.any() else None,
        "kept_recall": float(hit[kept].sum() / n_gold),
    }


def _measure(p: Floats, hit: Bools) -> dict[str, Any]:
    bins = asdict(reliability(p, hit))
    return {"ece": expected_error(p, hit), "brier": brier_score(p, hit), "reliability": bins}
