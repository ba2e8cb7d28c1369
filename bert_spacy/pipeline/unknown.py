"""Heads over categories and targets: told of gold that nobody knows, and scored if several."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Optimizer

from ..errors import Warnings
from ..scoring.textcat import true_labels
from .base import BertHead
from .known import find_pipeline, list_others


class TellingHead(BertHead):
    """A head that warns, once a label, of gold that neither it nor another component knows.

    main_score (str): Name of its overall score. Heads with one name are of one kind.
    """

    main_score = "cats_score"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._told: set[str] = set()

    def gold_labels(self, doc: Doc) -> Iterable[str]:
        """Return the labels that a gold Doc gives as true, known or not: its categories."""
        return true_labels(doc.cats, multi_label=False)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch, see `BertHead`; BW302 is warned of labels that nobody knows."""
        examples = list(examples)
        losses = super().update(examples, drop=drop, sgd=sgd, losses=losses)
        self.find_unknown(examples)
        return losses

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Learn the labels and make the model, see `BertHead`.

        BW306 is warned of labels that an earlier head of this kind has as well.
        """
        super().initialize(get_examples, nlp=nlp, labels=labels)
        for other, pipe in self.list_kind():
            if pipe is self:
                break
            if shared := sorted(set(self.labels).intersection(pipe.labels)):
                values = {"labels": shared, "name": self.name, "other": other}
                warnings.warn(Warnings.BW306.format(**values), stacklevel=2)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score Examples; BW302 is warned of labels of the gold that nobody knows.

        Where a pipeline has several heads of this kind, spaCy would keep the scores of the last
        alone. There each has its own, whose names begin with that of the component, and under
        the plain names stand the means of those that are numbers.

        examples (Iterable[Example]): The Examples.
        kwargs: For the scorer.
        RETURNS (dict[str, Any]): The scores.
        """
        examples = list(examples)
        own = self.score_alone(examples, **kwargs)
        heads = self.list_kind()
        if len(heads) < 2 or all(pipe is not self for _, pipe in heads):
            return own
        parts = {n: own if x is self else x.score_alone(examples) for n, x in heads}
        scores: dict[str, Any] = {}
        for key in {key: None for part in parts.values() for key in part}:
            values = [part[key] for part in parts.values() if part.get(key) is not None]
            if all(isinstance(value, float) for value in values):
                scores[key] = sum(values) / len(values) if values else None
        for name, part in parts.items():
            scores.update({f"{name}_{key}": value for key, value in part.items()})
        return scores

    def list_kind(self) -> list[tuple[str, "TellingHead"]]:
        """Return the enabled heads of this kind in the pipeline, itself too, and their names."""
        nlp = find_pipeline(self)
        return [
            (name, pipe)
            for name, pipe in (nlp.pipeline if nlp is not None else ())
            if isinstance(pipe, TellingHead) and pipe.main_score == self.main_score
        ]

    def score_alone(self, examples: Sequence[Example], **kwargs: Any) -> dict[str, Any]:
        """Score Examples by this head alone; the scorer is told which labels nobody knows."""
        unknown = self.find_unknown(examples)
        return super().score(examples, **({"unknown": unknown} if unknown else {}), **kwargs)

    def find_unknown(self, examples: Iterable[Example]) -> list[str]:
        """Return the true labels of the gold that no component of the pipeline has, sorted."""
        counts = Counter(label for eg in examples for label in self.gold_labels(eg.reference))
        unknown = sorted(counts.keys() - set(self.labels) - list_others(self))
        if not self._told.issuperset(unknown):
            self._told.update(unknown)
            found = ", ".join(f"{label!r} ({counts[label]})" for label in unknown)
            values = {"found": found, "name": self.name, "labels": list(self.labels)}
            warnings.warn(Warnings.BW302.format(**values), stacklevel=3)
        return unknown
