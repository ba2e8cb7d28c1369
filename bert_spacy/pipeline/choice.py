"""`bert_choice`: the right one of several choices, scored together."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from torch import Tensor

from ..errors import Errors
from ..layers.choice import ChoiceScores
from ..nn.losses import divergence
from ..scoring.calibration import Outcomes
from ..segments import count_choices, get_choice, set_choice
from .base import BertHead
from .judging import judge_choices


class BertChoice(BertHead):
    """Gives the choices of a Doc probabilities, which sum to 1, and names the best.

    Docs that are no choice items pass as they are.
    """

    def __init__(self, vocab: Vocab, model: Model, name: str, *, scorer: Callable | None = None):
        super().__init__(vocab, model, name, scorer=scorer)
        # A fitted temperature divides the scores before the softmax.
        self.cfg = {"labels": [], "temperature": 1.0}

    def module_settings(self) -> dict[str, Any]:
        """Return the settings of the torch module, without its width."""
        return {"n_labels": 1}

    def learn_labels(self, examples: Iterable[Example]) -> None:
        """Look whether there is a gold choice.

        RAISES (ValueError): B311 if no example has one.
        """
        gold = [get_choice(example.reference) is not None for example in examples]
        if not any(gold):
            values = {"n": len(gold), "gold": "a gold choice", "writer": "set_gold_choice"}
            raise ValueError(Errors.B311.format(name=self.name, **values))

    def set_annotations(self, docs: Iterable[Doc], scores: ChoiceScores) -> None:
        """Write `doc.spans["chosen"]` for Docs with choices.

        docs (Iterable[Doc]): The Docs.
        scores (ChoiceScores): From `predict`.
        RAISES (ValueError): B350 for a Doc with one choice; B351 if the encoder did
            not read each choice.
        """
        docs = list(docs)
        rows = self._find_items(docs, scores)
        if not len(rows):
            return
        table = torch.softmax(scores.table(rows) / self.cfg["temperature"], dim=1)
        best = table.argmax(dim=1).tolist()
        for row, index, values in zip(rows.tolist(), best, table.tolist()):
            set_choice(docs[row], index, values[: count_choices(docs[row])])

    def judge(self, examples: Sequence[Example]) -> Outcomes:
        """Predict anew and compare with gold.

        examples (Sequence[Example]): They stay as they are; those without gold are left out.
        RETURNS (Outcomes): The most probable choice of each item.
        RAISES (ValueError): B332 without the pipeline.
        """
        return judge_choices(self, examples)

    def compute_loss(self, examples: Sequence[Example], output: ChoiceScores) -> Tensor | None:
        """Return the mean cross-entropy over Examples with a gold choice.

        examples (Sequence[Example]): The batch.
        output (ChoiceScores): Scores of the batch.
        RETURNS (Tensor | None): A scalar, or None without gold.
        RAISES (ValueError): B350, B351 as `set_annotations`; B352 if a Doc to predict on
            has not the choices of its gold.
        """
        golds = [get_choice(eg.reference) for eg in examples]
        for example, gold in zip(examples, golds):
            n, wanted = count_choices(example.predicted), count_choices(example.reference)
            if gold is not None and n != wanted:
                raise ValueError(Errors.B352.format(name=self.name, n=n, wanted=wanted))
        items = self._find_items([eg.predicted for eg in examples], output)
        rows = np.array([i for i in items if golds[i] is not None], dtype=np.int64)
        if not len(rows):
            return None
        target = torch.tensor([golds[i] for i in rows], device=output.scores.device)
        return torch.nn.functional.cross_entropy(output.table(rows), target)

    def compute_divergence(self, examples: Sequence[Example], output: ChoiceScores) -> Tensor:
        """Return how two predictions of the choice differ; see `BertHead`."""
        rows = np.flatnonzero([get_choice(eg.reference) is not None for eg in examples])
        logs = torch.log_softmax(output.table(np.concatenate((rows, rows + len(examples)))), 1)
        return divergence(*logs.unflatten(0, (2, -1)))

    def _find_items(self, docs: Sequence[Doc], scores: ChoiceScores) -> np.ndarray:
        """Return which Docs are choice items, and check that there is a score for each choice."""
        counts = np.array([count_choices(doc) for doc in docs], dtype=np.int64)
        found = np.flatnonzero(counts)
        given = np.diff(scores.offsets)
        for i in found.tolist():
            text = docs[i].text[:80]
            if counts[i] == 1:
                raise ValueError(Errors.B350.format(name=self.name, text=text))
            if counts[i] != given[i]:
                values = {"n": counts[i], "given": given[i], "text": text}
                raise ValueError(Errors.B351.format(name=self.name, **values))
        return found
