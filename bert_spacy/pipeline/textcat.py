"""`bert_textcat`: exclusive classes of single texts and of pairs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from torch import Tensor

from ..errors import Errors
from ..scoring.calibration import Outcomes
from .base import BertHead
from .judging import judge_classes


class BertTextCategorizer(BertHead):
    """Gives each Doc one probability per class, which sum to 1, in `doc.cats`."""

    def __init__(self, vocab: Vocab, model: Model, name: str, *, scorer: Callable | None = None):
        super().__init__(vocab, model, name, scorer=scorer)
        # What `bert_spacy calibrate` fits; a pipeline saved without it keeps this.
        self.cfg = {"labels": [], "temperature": 1.0}

    def module_settings(self) -> dict[str, Any]:
        """Return the settings of the torch module, without its width."""
        return {"n_labels": len(self.labels)}

    def learn_labels(self, examples: Iterable[Example]) -> None:
        """Collect the categories of all examples.

        RAISES (ValueError): B300 if there are none; B305 if there is one alone.
        """
        self.collect_labels(examples, lambda doc: doc.cats)
        if len(self.labels) < 2:
            raise ValueError(Errors.B305.format(labels=list(self.labels)))

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
        """Return the mean cross-entropy over Examples whose gold is one of our labels.

        examples (Sequence[Example]): The batch.
        output (Tensor): Scores before the softmax. Shape (D, L).
        RETURNS (Tensor | None): A scalar, or None without gold.
        """
        number = {label: i for i, label in enumerate(self.labels)}
        rows, gold = [], []
        for row, example in enumerate(examples):
            cats = {k: v for k, v in example.reference.cats.items() if k in number}
            if cats and max(cats.values()) > 0:
                rows.append(row)
                gold.append(number[max(cats, key=cats.__getitem__)])
        if not rows:
            return None
        target = torch.tensor(gold, device=output.device)
        return torch.nn.functional.cross_entropy(output[rows], target)
