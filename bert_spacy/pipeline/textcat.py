"""`bert_textcat`: exclusive classes of single texts and of pairs."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from torch import Tensor

from ..errors import Errors, Warnings
from ..nn.losses import PLAIN, Loss, balance, divergence
from ..scoring.calibration import Outcomes
from .judging import judge_classes
from .known import list_others
from .unknown import TellingHead
from .weighted import ClassWeights, WeightedHead


class BertTextCategorizer(TellingHead, WeightedHead):
    """Gives each Doc one probability per class, which sum to 1, in `doc.cats`.

    loss (Loss): What is learnt from.
    class_weights (ClassWeights): How much a text of each class counts, see `WeightedHead`.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        loss: Loss = PLAIN,
        class_weights: ClassWeights = None,
        scorer: Callable | None = None,
    ):
        super().__init__(vocab, model, name, class_weights=class_weights, scorer=scorer)
        self.loss = loss
        # What `bert_spacy calibrate` fits; a pipeline saved without it keeps this.
        self.cfg = {"labels": [], "temperature": 1.0}

    def module_settings(self) -> dict[str, Any]:
        """Return the settings of the torch module, without its width."""
        return {"n_labels": len(self.labels)}

    def learn_labels(self, examples: Iterable[Example]) -> None:
        """Collect the categories of all examples.

        RAISES (ValueError): B300 if there are none; B305 if there is one alone. BW308 is warned of
            texts with several true ones, BW309 of those with none.
        """
        self.collect_labels(self._watch(examples), lambda doc: doc.cats)
        if len(self.labels) < 2:
            raise ValueError(Errors.B305.format(labels=list(self.labels)))

    def _watch(self, examples: Iterable[Example]) -> Iterator[Example]:
        """Pass Examples on, and warn at the end if some have several true categories, or none."""
        own, others = set(self.labels), list_others(self)
        first: dict[str, Doc] = {}
        n: Counter[str] = Counter()
        for eg in examples:
            n["total"] += 1
            cats, fault = eg.reference.cats, ""
            values = [cats[label] for label in (own or cats) if label in cats]
            if max(values, default=0.0) > 0:
                fault = "several" if values.count(max(values)) > 1 else ""
            # Gold of another component has no category of ours, or one of its own that is true.
            elif max(cats.values(), default=0.0) <= 0:
                fault = "none" if (own & cats.keys() if own else cats.keys() - others) else ""
            if fault:
                n[fault] += 1
                first.setdefault(fault, eg.reference)
            yield eg
        about = {"name": self.name, "total": n["total"]}
        if (doc := first.get("several")) is not None:
            true = {label: value for label, value in doc.cats.items() if value > 0}
            found = {"n": n["several"], "text": doc.text[:80], "cats": true}
            warnings.warn(Warnings.BW308.format(**about, **found), stacklevel=2)
        if (doc := first.get("none")) is not None:
            found = {"n": n["none"], "text": doc.text[:80], "cats": doc.cats}
            warnings.warn(Warnings.BW309.format(**about, **found), stacklevel=2)

    def set_annotations(self, docs: Iterable[Doc], scores: Tensor) -> None:
        """Write `doc.cats`.

        docs (Iterable[Doc]): The Docs.
        scores (Tensor): Scores before the softmax. Shape (D, L).
        """
        for doc, row in zip(docs, torch.softmax(scores / self.cfg["temperature"], dim=1).tolist()):
            doc.cats = {**doc.cats, **dict(zip(self.labels, row))}

    def judge(self, examples: Sequence[Example]) -> Outcomes:
        """Predict anew and compare with gold.

        examples (Sequence[Example]): They stay as they are; those without gold are left out.
        RETURNS (Outcomes): The most probable class of each text.
        RAISES (ValueError): B332 without the pipeline.
        """
        return judge_classes(self, examples)

    def compute_loss(self, examples: Sequence[Example], output: Tensor) -> Tensor | None:
        """Return the mean loss over Examples whose gold is one of our labels.

        examples (Sequence[Example]): The batch.
        output (Tensor): Scores before the softmax, perhaps of several drawings of dropout.
            Shape (K * D, L).
        RETURNS (Tensor | None): A scalar, or None without gold.
        """
        examples = list(examples) * (len(output) // max(len(examples), 1))
        rows, gold = self._find_gold(examples)
        if not rows:
            return None
        target = torch.tensor(gold, device=output.device)
        return self.loss.exclusive(output[rows], target, self.read_weights(output))

    def compute_divergence(self, examples: Sequence[Example], output: Tensor) -> Tensor:
        """Return how two predictions for each Example with gold differ; see `BertHead`."""
        rows, _ = self._find_gold(examples)
        # Each drawing of dropout holds the Examples twice.
        pairs = torch.log_softmax(output, 1).unflatten(0, (-1, 2, len(examples)))[:, :, rows]
        return divergence(pairs[:, 0].flatten(0, 1), pairs[:, 1].flatten(0, 1))

    def count_weights(self, examples: Iterable[Example]) -> Tensor:
        """Return weights that make all classes count the same. Shape (L,)."""
        _, gold = self._find_gold(examples)
        return balance(torch.bincount(torch.tensor(gold), minlength=len(self.labels)).double())

    def _find_gold(self, examples: Iterable[Example]) -> tuple[list[int], list[int]]:
        """Return the numbers of the Examples with gold, and the class of each."""
        number = {label: i for i, label in enumerate(self.labels)}
        rows, gold = [], []
        for row, example in enumerate(examples):
            cats = {k: v for k, v in example.reference.cats.items() if k in number}
            if cats and max(cats.values()) > 0:
                rows.append(row)
                gold.append(number[max(cats, key=cats.__getitem__)])
        return rows, gold
