"""`bert_textcat_multilabel`: labels that do not exclude each other."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..defaults import DEFAULTS
from ..nn.losses import PLAIN, Loss, divergence
from ..scoring.calibration import Outcomes
from ..scoring.textcat import true_labels
from ..types import TRUE_FROM
from ..util import is_finite
from .judging import judge_labels
from .settings import check_thresholds, check_value
from .unknown import TellingHead
from .weighted import ClassWeights, WeightedHead


class BertMultilabelTextCategorizer(TellingHead, WeightedHead):
    """Gives each Doc one probability per label, each by itself, in `doc.cats`.

    threshold (float): Probability from which a label counts as given, 0..1, where `calibrate` or
        `tune_thresholds` has not fitted one to the label.
    loss (Loss): What is learnt from.
    class_weights (ClassWeights): How much it counts that a text has each label, see
        `WeightedHead`.
    RAISES (ValueError): B307 if it is out of range.
    """

    old_settings = {"threshold": DEFAULTS["bert_textcat_multilabel"]["threshold"]}

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        threshold: float = 0.5,
        loss: Loss = PLAIN,
        class_weights: ClassWeights = None,
        scorer: Any = None,
    ):
        super().__init__(vocab, model, name, class_weights=class_weights, scorer=scorer)
        self.loss = loss
        self.threshold = threshold
        # What `bert_spacy calibrate` fits; a pipeline saved without it keeps this.
        self.cfg = {"labels": [], "thresholds": {}, "temperature": 1.0}
        self._check_cfg()

    def module_settings(self) -> dict[str, Any]:
        """Return the settings of the torch module, without its width."""
        return {"n_labels": len(self.labels)}

    def learn_labels(self, examples: Iterable[Example]) -> None:
        """Collect the categories of all examples.

        RAISES (ValueError): B300 if there are none.
        """
        self.collect_labels(examples, lambda doc: doc.cats)

    def set_annotations(self, docs: Iterable[Doc], scores: Tensor) -> None:
        """Write `doc.cats`.

        docs (Iterable[Doc]): The Docs.
        scores (Tensor): Scores before the sigmoid. Shape (D, L).
        """
        for doc, row in zip(docs, torch.sigmoid(scores / self.cfg["temperature"]).tolist()):
            doc.cats = {**doc.cats, **dict(zip(self.labels, row))}

    def judge(self, examples: Sequence[Example]) -> Outcomes:
        """Predict anew and compare with gold.

        examples (Sequence[Example]): They stay as they are; those without gold are left out.
        RETURNS (Outcomes): Each label of each text, likely or not.
        RAISES (ValueError): B332 without the pipeline.
        """
        return judge_labels(self, examples)

    def compute_loss(self, examples: Sequence[Example], output: Tensor) -> Tensor | None:
        """Return the mean loss over the labels that the gold speaks of.

        examples (Sequence[Example]): The batch; a label that the gold leaves out is missing
            gold, not a no.
        output (Tensor): Scores before the sigmoid, perhaps of several drawings of dropout.
            Shape (K * D, L).
        RETURNS (Tensor | None): A scalar, or None without gold.
        """
        target = self._find_gold(examples).to(output)
        target = target.repeat(len(output) // max(len(target), 1), 1)
        known = ~target.isnan()
        if not bool(known.any()):
            return None
        weights = self.read_weights(output)
        if weights is not None:
            weights = weights.expand_as(output)[known]
        return self.loss.independent(output[known], target[known], weights)

    def compute_divergence(self, examples: Sequence[Example], output: Tensor) -> Tensor:
        """Return how two predictions for each label with gold differ; see `BertHead`."""
        known = ~self._find_gold(examples).isnan().to(output.device)
        # Each drawing of dropout holds the Examples twice.
        pairs = output.unflatten(0, (-1, 2, len(examples)))[:, :, known]
        logs = torch.stack([logsigmoid(pairs), logsigmoid(-pairs)], dim=-1)
        return divergence(logs[:, 0].flatten(0, 1), logs[:, 1].flatten(0, 1))

    def count_weights(self, examples: Iterable[Example]) -> Tensor:
        """Return for each label how many texts lack it for one that has it. Shape (L,)."""
        gold = self._find_gold(examples)
        has, lacks = gold.nansum(0), (1 - gold).nansum(0)
        return torch.where((has > 0) & (lacks > 0), lacks / has, torch.ones_like(has))

    def _find_gold(self, examples: Iterable[Example]) -> Tensor:
        """Return the gold of all labels, NaN where it is missing. Shape (D, L)."""
        gold = [[eg.reference.cats.get(label, np.nan) for label in self.labels] for eg in examples]
        return torch.tensor(gold, dtype=torch.double).reshape(-1, len(self.labels))

    def score_alone(self, examples: Sequence[Example], **kwargs: Any) -> dict[str, Any]:
        """Score Examples by the component's thresholds, see `TellingHead`."""
        return super().score_alone(examples, **{"threshold": self.threshold, **kwargs})

    def gold_labels(self, doc: Doc) -> list[str]:
        """Return the labels that a gold Doc gives as true, known or not."""
        return true_labels(doc.cats, multi_label=True)

    def given_labels(self, doc: Doc) -> list[str]:
        """Return the labels of a Doc that reach their thresholds, in the order of the labels.

        doc (Doc): A Doc that has gone through the pipeline.
        """
        thresholds, default = self.cfg["thresholds"], self.threshold
        return [x for x in self.labels if doc.cats.get(x, -1.0) >= thresholds.get(x, default)]

    def set_thresholds(self, thresholds: Mapping[str, float]) -> None:
        """Set the probability from which each label counts as given.

        thresholds (Mapping[str, float]): By label; a label that is missing has the
            component's `threshold`.
        RAISES (ValueError): B330 for a label that does not exist; B307 for a value out of range.
        """
        checked = check_thresholds(self.name, self.labels, thresholds, with_zero=False)
        self.cfg["thresholds"] = checked

    def tune_thresholds(self, examples: Iterable[Example]) -> dict[str, float]:
        """Choose for each label the threshold with the best F1, and keep it with the component.

        examples (Iterable[Example]): Development data, never the training or test data; the
            predicted Docs have gone through the pipeline. Labels without a positive keep theirs.
        RETURNS (dict[str, float]): The thresholds that were found.
        """
        examples, found = list(examples), {}
        for label in self.labels:
            rows = [
                (eg.predicted.cats[label], eg.reference.cats[label])
                for eg in examples
                if label in eg.reference.cats and label in eg.predicted.cats
            ]
            scores, gold = np.array(rows).reshape(-1, 2).T
            if (gold >= TRUE_FROM).any():
                found[label] = best_threshold(scores, gold >= TRUE_FROM)
        self.set_thresholds({**self.cfg["thresholds"], **found})
        return found

    def _check_cfg(self) -> None:
        super()._check_cfg()
        value = self.threshold
        is_good = is_finite(value) and 0 <= value <= 1
        check_value(self.name, "threshold", value, "in 0..1", is_good)
        self.set_thresholds(self.cfg["thresholds"])


def best_threshold(scores: np.ndarray, gold: np.ndarray) -> float:
    """Return the threshold with the best F1, half-way between two scores.

    scores (ndarray): Probabilities. Shape (N,).
    gold (ndarray): Whether the label is true; at least once. Shape (N,).
    RETURNS (float): Between 0 and 1. Of several that are as good the highest.
    """
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(gold[order])
    n = np.arange(1, len(scores) + 1)
    f1 = 2 * hits / (n + gold.sum())
    # Equal scores cannot be told apart: only the last of them is a place to cut.
    f1[:-1][scores[:-1] == scores[1:]] = -1.0
    at = int(f1.argmax())
    below = scores[at + 1] if at + 1 < len(scores) else 0.0
    return float(np.clip((scores[at] + below) / 2, 1e-6, 1 - 1e-6))
