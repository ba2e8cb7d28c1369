"""Heads that tell of gold for labels which nobody knows."""

import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any

from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Optimizer

from ..errors import Warnings
from .base import BertHead
from .known import find_pipeline


class TellingHead(BertHead):
    """A head that warns, once a label, of gold that neither it nor another component knows."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._told: set[str] = set()

    def gold_labels(self, doc: Doc) -> Iterable[str]:
        """Return the labels that a gold Doc gives as true, known or not: its categories."""
        return [label for label, value in doc.cats.items() if value > 0]

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

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score Examples; the scorer is told which labels of the gold nobody knows.

        examples (Iterable[Example]): The Examples.
        kwargs: For the scorer.
        RETURNS (dict[str, Any]): The scores; BW302 is warned of such labels.
        """
        examples = list(examples)
        unknown = self.find_unknown(examples)
        return super().score(examples, **({"unknown": unknown} if unknown else {}), **kwargs)

    def find_unknown(self, examples: Iterable[Example]) -> list[str]:
        """Return the true labels of the gold that no component of the pipeline has, sorted."""
        counts = Counter(label for eg in examples for label in self.gold_labels(eg.reference))
        nlp = find_pipeline(self)
        known = set(self.labels)
        for _, pipe in nlp.components if nlp is not None else ():
            known.update(getattr(pipe, "labels", ()))
        unknown = sorted(counts.keys() - known)
        if not self._told.issuperset(unknown):
            self._told.update(unknown)
            found = ", ".join(f"{label!r} ({counts[label]})" for label in unknown)
            values = {"found": found, "name": self.name, "labels": list(self.labels)}
            warnings.warn(Warnings.BW302.format(**values), stacklevel=3)
        return unknown
