"""What the text classifiers of a pipeline got right and wrong."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline import MultiLabel_TextCategorizer, TextCategorizer
from spacy.training import Example

from ..pipeline.textcat import BertTextCategorizer
from ..pipeline.textcat_multilabel import BertMultilabelTextCategorizer
from ..scoring.calibration import Bools, Floats, brier_score, expected_error, reliability
from ..scoring.textcat import find_gold, has_gold, score_textcat, true_labels

# The stock classifier of several labels is a subclass of the other, so these are asked first.
MULTI_LABEL = (BertMultilabelTextCategorizer, MultiLabel_TextCategorizer)
EXCLUSIVE = (BertTextCategorizer, TextCategorizer)
OTHERS = "other components"
SUMMARY = ("cats_micro_f", "cats_macro_p", "cats_macro_r", "cats_macro_f", "cats_macro_auc")
SUM_TOLERANCE = 0.01

Scorer = Callable[[Sequence[Example]], Mapping[str, Any]]


@dataclass(frozen=True)
class ClassRow:
    """The results of one label, shares in 0..1.

    support (int): Texts that have the label in the gold.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Bin:
    """Predictions of about the same probability.

    confidence (float): Mean probability, 0..1.
    accuracy (float): Share that is right, 0..1.
    count (int): Number of predictions.
    """

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Agreement:
    """Probabilities and outcomes at one temperature.

    bins (list[Bin]): Predictions by their probability.
    error (float): Expected calibration error, 0..1.
    brier (float): Mean squared distance of probability and outcome, 0..1.
    """

    bins: list[Bin]
    error: float
    brier: float


@dataclass(frozen=True)
class Mistake:
    """A text that got a wrong label, with the probability of that label, 0..1."""

    text: str
    gold: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class ClassResults:
    """The results of a classifier, over its own labels.

    name (str): Name of the component; "other components" for categories that come from none
        of the known classifiers.
    summary (dict[str, float]): Overall scores by spaCy's names, 0..1, from the component's scorer.
    rows (list[ClassRow]): Per label, from the component's scorer.
    n_texts (int): Texts scored.
    is_exclusive (bool): Whether each text has one label; the fields below are
        empty if not.
    labels (list[str]): Order of the matrix.
    matrix (NDArray): Counts, gold by row, predicted by column, int64. Shape (L, L).
    bins (list[Bin]): Predictions by probability of the predicted label.
    calibration_error (float): Mean distance of confidence and accuracy, 0..1.
    brier (float): Mean squared distance of probability and outcome, 0..1.
    mistakes (list[Mistake]): All of them, the most confident first.
    """

    name: str
    summary: dict[str, float]
    rows: list[ClassRow]
    n_texts: int
    is_exclusive: bool
    labels: list[str]
    matrix: NDArray[np.int64]
    bins: list[Bin]
    calibration_error: float
    brier: float
    mistakes: list[Mistake]

    @property
    def accuracy(self) -> float:
        """The share of texts with the right label."""
        return float(np.trace(self.matrix) / self.n_texts)


# What `ClassResults` holds from its labels on.
Comparison = tuple[list[str], NDArray[np.int64], list[Bin], float, float, list[Mistake]]
NOTHING: Comparison = ([], np.zeros((0, 0), dtype="int64"), [], 0.0, 0.0, [])


def class_results(nlp: Language, examples: Sequence[Example]) -> list[ClassResults]:
    """Compare predicted with gold categories, classifier by classifier.

    nlp (Language): Its components say which labels there are, and which exclude each other.
    examples (Sequence[Example]): Gold, with Docs that have gone through the pipeline.
    RETURNS (list[ClassResults]): One for each classifier with gold, in order of the pipeline;
        categories of other components come last, and the data tell whether they exclude each other.
    """
    results: list[ClassResults | None] = []
    known: set[str] = set()
    known_labels = [getattr(pipe, "labels", ()) for _, pipe in nlp.components]
    true = {
        is_multi: {
            x for eg in examples for x in true_labels(eg.reference.cats, multi_label=is_multi)
        }
        for is_multi in (False, True)
    }
    for name, pipe in nlp.pipeline:
        if isinstance(pipe, (*MULTI_LABEL, *EXCLUSIVE)):
            known.update(pipe.labels)
            labels, is_exclusive = list(pipe.labels), not isinstance(pipe, MULTI_LABEL)
            # A stock component's own scorer passes over labels that it does not have.
            is_ours = hasattr(pipe, "score_alone")
            unknown = sorted(true[not is_exclusive].difference(*known_labels)) if is_ours else []
            score: Scorer = partial(_score, pipe, unknown)
            results.append(_results(name, examples, labels, unknown, is_exclusive, score))
    labels = list({x: None for eg in examples for x in eg.predicted.cats if x not in known})
    if labels:
        missed = {x: sorted(found - known.union(labels)) for x, found in true.items()}
        is_exclusive = _seem_exclusive(examples, [*labels, *missed[False]])
        unknown = missed[not is_exclusive]
        score = partial(score_textcat, labels=labels, multi_label=not is_exclusive, unknown=unknown)
        results.append(_results(OTHERS, examples, labels, unknown, is_exclusive, score))
    return [part for part in results if part is not None]


def _results(
    name: str,
    examples: Sequence[Example],
    labels: list[str],
    unknown: list[str],
    is_exclusive: bool,
    score: Scorer,
) -> ClassResults | None:
    """Return the results of a classifier, None without gold or predictions for its labels.

    Gold of labels that no component knows, `unknown`, it has missed.
    """
    scored = _list_scored(examples, labels, unknown, multi_label=not is_exclusive)
    if not scored:
        return None
    scores = score(examples)
    summary = {key: float(scores[key]) for key in SUMMARY if scores.get(key) is not None}
    support = Counter(
        label
        for eg in scored
        for label in (
            [find_gold(eg, labels, unknown)]
            if is_exclusive
            else true_labels(eg.reference.cats, multi_label=True)
        )
    )
    rows = [
        ClassRow(label, prf["p"], prf["r"], prf["f"], support[label])
        for label, prf in scores["cats_f_per_type"].items()
    ]
    found = _compare(scored, labels, unknown) if is_exclusive else NOTHING
    return ClassResults(name, summary, rows, len(scored), is_exclusive, *found)


def find_agreement(p: Floats, hit: Bools) -> Agreement:
    """Compare probabilities with outcomes.

    p (Floats): Probabilities of what was predicted, 0..1. Shape (N,).
    hit (Bools): Whether it is right. Shape (N,).
    RETURNS (Agreement): How far they agree.
    """
    groups = reliability(p, hit)
    bins = [Bin(*row) for row in zip(groups.confidence, groups.accuracy, groups.count)]
    return Agreement(bins, expected_error(p, hit) or 0.0, brier_score(p, hit) or 0.0)


def _compare(scored: Sequence[Example], labels: list[str], unknown: list[str]) -> Comparison:
    """Return the fields of `ClassResults` that only labels have which exclude each other."""
    golds = [find_gold(eg, labels, unknown) for eg in scored]
    guesses = []
    for eg in scored:
        cats = {label: eg.predicted.cats[label] for label in labels if label in eg.predicted.cats}
        guesses.append(max(cats.items(), key=lambda item: item[1]))
    names = [*labels, *(label for label in unknown if label in golds)]
    ids = {label: i for i, label in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), dtype="int64")
    for gold, (guess, _) in zip(golds, guesses):
        matrix[ids[gold], ids[guess]] += 1
    # As the scorer has it, a text whose label the component does not know says nothing here.
    judged = [(p, gold == guess) for gold, (guess, p) in zip(golds, guesses) if gold in labels]
    p, hit = np.array(judged, dtype=np.float64).reshape(-1, 2).T
    found = find_agreement(np.clip(p, 0.0, 1.0), hit.astype(bool))
    mistakes = [
        Mistake(eg.reference.text, gold, guess, probability)
        for eg, gold, (guess, probability) in zip(scored, golds, guesses)
        if gold != guess
    ]
    mistakes.sort(key=lambda mistake: -mistake.probability)
    return names, matrix, found.bins, found.error, found.brier, mistakes


def _score(pipe: Any, unknown: list[str], examples: Sequence[Example]) -> Mapping[str, Any]:
    """Let a component score Examples, by our scorer if its own says nothing of each label."""
    if hasattr(pipe, "score_alone"):
        scores = pipe.score_alone(examples)
    else:  # spaCy's own counts texts without gold as well
        is_multi = isinstance(pipe, MULTI_LABEL)
        scores = pipe.score(
            [eg for eg in examples if has_gold(eg, pipe.labels, multi_label=is_multi)]
        )
    if scores.get("cats_f_per_type"):
        return scores
    return score_textcat(
        examples,
        labels=pipe.labels,
        multi_label=isinstance(pipe, MULTI_LABEL),
        threshold=getattr(pipe, "threshold", pipe.cfg.get("threshold")),
        thresholds=pipe.cfg.get("thresholds"),
        unknown=unknown,
    )


def _list_scored(
    examples: Sequence[Example], labels: list[str], unknown: list[str], *, multi_label: bool
) -> list[Example]:
    """Return the Examples with gold and predictions for some labels; gold may be unknown too."""
    return [
        eg
        for eg in examples
        if has_gold(eg, [*labels, *unknown], multi_label=multi_label)
        and not eg.predicted.cats.keys().isdisjoint(labels)
    ]


def _seem_exclusive(examples: Sequence[Example], labels: list[str]) -> bool:
    """Guess whether labels exclude each other: each text has one, or at most one and all
    probabilities sum to one."""
    scored = _list_scored(examples, labels, [], multi_label=True)
    true = [true_labels(eg.reference.cats, multi_label=True) for eg in scored]
    n_true = {sum(label in labels for label in part) for part in true}
    sums = [sum(eg.predicted.cats.get(label, 0.0) for label in labels) for eg in scored]
    return n_true == {1} or (n_true == {0, 1} and np.allclose(sums, 1, atol=SUM_TOLERANCE))
