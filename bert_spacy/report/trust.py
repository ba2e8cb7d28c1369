"""How far the probabilities of components agree with gold, before and after calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.training import Example

from ..pipeline.known import register_pipeline
from ..pipeline.textcat import BertTextCategorizer
from ..scoring.calibration import Floats, Judged, Outcomes, average_precision
from .classes import Agreement, find_agreement


@dataclass(frozen=True)
class LabelCurve:
    """Precision and recall of one label at all thresholds, from the highest down.

    label (str): The label.
    precision (Floats): 0..1. Shape (N,).
    recall (Floats): Share of the gold that is found, 0..1. Shape (N,).
    area (float): Mean precision over the right predictions, times the recall of all: the area
        under the curve.
    threshold (float): Probability from which the pipeline gives the label.
    point (tuple[float, float] | None): Recall and precision there; None if nothing is given.
    n_gold (int): How often the label is in the gold.
    """

    label: str
    precision: Floats
    recall: Floats
    area: float
    threshold: float
    point: tuple[float, float] | None
    n_gold: int


@dataclass(frozen=True)
class TrustResults:
    """What the probabilities of a component are worth.

    name (str): Name of the component.
    n (int): Predictions judged.
    temperature (float): What `calibrate` fitted; 1.0 without.
    before (Agreement | None): At temperature 1, if another was fitted.
    now (Agreement): As the pipeline gives them.
    curves (list[LabelCurve]): For components with thresholds; labels with gold alone.
    """

    name: str
    n: int
    temperature: float
    before: Agreement | None
    now: Agreement
    curves: list[LabelCurve]


def trust_results(nlp: Language, examples: Sequence[Example]) -> list[TrustResults]:
    """Judge the components of a pipeline that give probabilities.

    nlp (Language): The pipeline.
    examples (Sequence[Example]): Gold, with Docs that nothing was predicted on.
    RETURNS (list[TrustResults]): One for each component with something to judge. Classes that
        exclude each other are in `class_results`, unless a temperature was fitted.
    """
    # A head that was taken from another pipeline by source= may not know this one.
    register_pipeline(nlp)
    results: list[TrustResults] = []
    for name, pipe in nlp.pipeline:
        if not isinstance(pipe, Judged):
            continue
        temperature = pipe.cfg.get("temperature", 1.0)
        outcomes = pipe.judge(examples)
        is_shown = isinstance(pipe, BertTextCategorizer) and temperature == 1.0
        if not len(outcomes.hit) or is_shown:
            continue
        p = outcomes.at(temperature)
        before = find_agreement(outcomes.at(1.0), outcomes.hit) if temperature != 1.0 else None
        thresholds = pipe.cfg.get("thresholds")
        curves = []
        if thresholds is not None:
            default = getattr(pipe, "threshold", 0.0)
            used = [thresholds.get(label, default) for label in outcomes.labels]
            curves = _curves(outcomes, p, used)
        now = find_agreement(p, outcomes.hit)
        results.append(TrustResults(name, len(p), temperature, before, now, curves))
    return results


def _curves(outcomes: Outcomes, p: Floats, thresholds: Sequence[float]) -> list[LabelCurve]:
    curves = []
    for k, label in enumerate(outcomes.labels):
        n_gold = int(outcomes.n_gold[k])
        if not n_gold:
            continue
        mine = np.flatnonzero(outcomes.label == k)
        order = mine[np.argsort(-p[mine], kind="stable")]
        hits = outcomes.hit[order].cumsum()
        precision, recall = hits / np.arange(1, len(order) + 1), hits / n_gold
        mean = average_precision(p[mine], outcomes.hit[mine])
        area = 0.0 if mean is None else mean * float(recall[-1])
        n_given = int((p[order] >= thresholds[k]).sum())
        point = None
        if n_given:
            point = (float(recall[n_given - 1]), float(precision[n_given - 1]))
        ends = _tie_ends(p[order])
        curves.append(
            LabelCurve(label, precision[ends], recall[ends], area, thresholds[k], point, n_gold)
        )
    return curves


def _tie_ends(falling: Floats) -> NDArray[np.int64]:
    """Return the last of each run of equal values, where a threshold can be."""
    return np.flatnonzero(np.append(falling[1:] < falling[:-1], True)[: len(falling)])
