"""The scorer of text classification, over Examples of mixed corpora."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy import registry
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import Errors
from ..types import TRUE_FROM
from .calibration import Bools, Floats, brier_score, expected_error

CATS_SCORES = (
    "cats_score",
    "cats_score_desc",
    "cats_micro_p",
    "cats_micro_r",
    "cats_micro_f",
    "cats_macro_p",
    "cats_macro_r",
    "cats_macro_f",
    "cats_macro_auc",
    "cats_f_per_type",
    "cats_auc_per_type",
    "cats_ece",
    "cats_brier",
)


@registry.scorers("bert-spacy.textcat_scorer.v1")
def create_textcat_scorer_v1(
    multi_label: bool = False,
    positive_label: str | None = None,
    threshold: float | None = None,
) -> Callable[..., dict[str, Any]]:
    """Create the scorer of text classification.

    multi_label (bool): Whether a text may have several labels or none.
    positive_label (str): For two exclusive labels, the one whose F becomes the
        overall score.
    threshold (float): Probability from which a label is given, 0..1; for
        multi_label alone, 0.5 if None.
    RETURNS (Callable): Takes Examples, returns the scores of `score_textcat`.
    """
    return partial(
        score_textcat,
        multi_label=multi_label,
        positive_label=positive_label,
        threshold=threshold,
    )


def score_textcat(
    examples: Iterable[Example],
    *,
    labels: Sequence[str] = (),
    multi_label: bool = False,
    positive_label: str | None = None,
    threshold: float | None = None,
    thresholds: Mapping[str, float] | None = None,
    unknown: Sequence[str] = (),
    **cfg: Any,
) -> dict[str, Any]:
    """Score doc.cats where the gold says something about it.

    examples (Iterable[Example]): Those whose reference has none of the labels
        are skipped; with exclusive labels also those that give none as true.
        With multi_label, a label that the gold leaves out counts neither way, and gold between
        0 and 1 is true from 0.5.
        A text with gold and no prediction counts as wrong.
    labels (Sequence[str]): The component's labels; if empty, all that occur.
    multi_label (bool): Whether a text may have several labels or none.
    positive_label (str): See `create_textcat_scorer_v1`.
    threshold (float): See `create_textcat_scorer_v1`.
    thresholds (Mapping[str, float]): With multi_label, that of single labels.
    unknown (Sequence[str]): Labels of the gold that no component has: where true, they count
        as missed.
    RETURNS (dict[str, Any]): spaCy's cats_* scores in 0..1, and of the probability of the
        most probable label, or with multi_label of every label that the gold speaks of, the
        expected calibration error cats_ece and the Brier score cats_brier; all None if
        there is nothing to score.
    RAISES (ValueError): B506 for a positive label that is none of two exclusive ones.
    """
    examples = list(examples)
    is_pair = len(labels) == 2 and not multi_label
    if positive_label is not None and labels and not (is_pair and positive_label in labels):
        raise ValueError(Errors.B506.format(label=positive_label, labels=list(labels)))
    labels = list(labels) or sorted({label for eg in examples for label in _all_labels(eg)})
    wanted = [*labels, *unknown]
    scored = [eg for eg in examples if has_gold(eg, wanted, multi_label=multi_label)]
    if not scored:
        return dict.fromkeys(CATS_SCORES)
    if multi_label:
        middle = 0.5 if threshold is None else threshold
        views = _moved_views(scored, thresholds or {}, middle)
    else:
        views = _exclusive_views(scored, labels, unknown)
    scores = Scorer.score_cats(
        scored,
        "cats",
        getter=partial(_get_view, views),
        labels=wanted,
        multi_label=multi_label,
        positive_label=positive_label,
        threshold=threshold,
    )
    if unknown and positive_label and is_pair:
        scores["cats_score"] = scores["cats_f_per_type"][positive_label]["f"]
        scores["cats_score_desc"] = f"F ({positive_label})"
    p, hit = _judge(scored, labels, multi_label)
    return {**scores, "cats_ece": expected_error(p, hit), "cats_brier": brier_score(p, hit)}


def _judge(
    scored: Sequence[Example], labels: Sequence[str], multi_label: bool
) -> tuple[Floats, Bools]:
    """Return the probabilities that can be judged, and whether each came true."""
    if multi_label:
        pairs = [(eg.predicted.cats, eg.reference.cats) for eg in scored]
        rows = [(p[x], y[x]) for p, y in pairs for x in labels if x in p and x in y]
        values, gold = np.array(rows, dtype=np.float64).reshape(-1, 2).T
        return np.clip(values, 0.0, 1.0), gold >= TRUE_FROM
    table, truth = judge_cats(scored, labels)
    return np.clip(table.max(1), 0.0, 1.0), table.argmax(1) == truth


def judge_cats(
    examples: Iterable[Example], labels: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the predicted probabilities and the true label of each text that has both.

    examples (Iterable[Example]): Their labels exclude each other.
    labels (Sequence[str]): The labels, one or more.
    RETURNS (tuple[NDArray, NDArray]): Probabilities, shape (N, L), and numbers of the
        true labels, shape (N,).
    """
    rows, gold = [], []
    for eg in examples:
        cats, truth = eg.predicted.cats, true_label(eg, labels)
        if truth is not None and all(label in cats for label in labels):
            rows.append([cats[label] for label in labels])
            gold.append(truth)
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(labels))
    return table, np.array(gold, dtype=np.int64)


def true_labels(cats: Mapping[str, float], *, multi_label: bool) -> list[str]:
    """Return the labels that gold categories give as true.

    cats (Mapping[str, float]): The gold, 0..1 for each label.
    multi_label (bool): If False, the likeliest ones are true as well, whatever their value; those
        of several components stand side by side.
    RETURNS (list[str]): In the order of the gold.
    """
    least = TRUE_FROM if multi_label else min(TRUE_FROM, max(cats.values(), default=TRUE_FROM))
    return [label for label, value in cats.items() if value > 0 and value >= least]


def true_label(eg: Example, labels: Sequence[str]) -> int | None:
    """Return the number of the label that the gold gives as true, None if it gives none.

    eg (Example): The Example.
    labels (Sequence[str]): The labels, which exclude each other.
    """
    truth = eg.reference.cats
    known = [label for label in labels if truth.get(label, 0) > 0]
    return labels.index(max(known, key=truth.__getitem__)) if known else None


def find_gold(eg: Example, labels: Sequence[str], unknown: Sequence[str]) -> str:
    """Return the true label of an Example that has one, one of ours if possible.

    eg (Example): The Example.
    labels (Sequence[str]): Our labels, which exclude each other.
    unknown (Sequence[str]): Labels that no component knows.
    """
    found = ((some, true_label(eg, some)) for some in (labels, unknown))
    return next(some[number] for some, number in found if number is not None)


def has_gold(eg: Example, labels: Sequence[str] = (), *, multi_label: bool = False) -> bool:
    """Tell whether the gold of an Example can be scored.

    eg (Example): The Example.
    labels (Sequence[str]): The component's labels; if empty, any label counts.
    multi_label (bool): If False, one of them must be true: true labels of other components say
        nothing here.
    RETURNS (bool): Whether it can.
    """
    cats = eg.reference.cats
    known = [cats[label] for label in labels or cats if label in cats]
    return bool(known) if multi_label else any(value > 0 for value in known)


def _exclusive_views(
    scored: Sequence[Example], labels: Sequence[str], unknown: Sequence[str]
) -> dict[int, dict]:
    """Return the cats that spaCy is to see, by the id of the Doc.

    Of the gold only the true label is shown, as sure, since spaCy takes the first of equal
    values for true, and has areas under the curve for values of 0 and 1 alone; labels that
    nobody knows only where none of ours is true. A text without prediction gets a wrong one,
    since spaCy can't score that.
    """
    views: dict[int, dict] = {}
    for eg in scored:
        gold = {find_gold(eg, labels, unknown): 1.0}
        cats = eg.predicted.cats
        predicted = {label: cats[label] for label in labels if label in cats}
        if not predicted:
            predicted = {label: 0.0 for label in labels if label not in gold}
        views[id(eg.reference)] = gold
        views[id(eg.predicted)] = predicted
    return views


def _get_view(views: dict[int, dict], doc: Doc, attr: str) -> dict[str, float]:
    return views[id(doc)]


def _moved_views(
    scored: Sequence[Example], thresholds: Mapping[str, float], middle: float
) -> dict[int, dict]:
    """Return the cats that spaCy is to see, by the id of the Doc.

    spaCy takes any gold above 0 for true. It has one threshold for all labels, `middle`: predicted
    values are moved, in their order, so that each label's own threshold is at it.
    """

    def move(value: float, own: float) -> float:
        if value >= own:
            return middle + (value - own)
        return value * middle / own if middle else value - 1

    views: dict[int, dict] = {}
    for eg in scored:
        gold = eg.reference.cats
        views[id(eg.reference)] = {label: float(gold[label] >= TRUE_FROM) for label in gold}
        views[id(eg.predicted)] = {
            label: move(value, thresholds[label]) if label in thresholds else value
            for label, value in eg.predicted.cats.items()
        }
    return views


def _all_labels(eg: Example) -> list[str]:
    return [*eg.reference.cats, *eg.predicted.cats]
