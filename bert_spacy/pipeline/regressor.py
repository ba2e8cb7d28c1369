"""`bert_regressor`: real-valued targets of single texts and of pairs."""

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
from ..targets import get_targets, write_targets
from ..util import is_finite
from .unknown import TellingHead


class BertRegressor(TellingHead):
    """Gives each Doc one number per target, in `doc._.regression`.

    The model works on standardised values. Mean and standard deviation of each target
    are learnt from the training data and kept in `cfg`.
    """

    main_score = "regression_score"

    def __init__(self, vocab: Vocab, model: Model, name: str, *, scorer: Callable | None = None):
        super().__init__(vocab, model, name, scorer=scorer)
        self.cfg = {"labels": [], "mean": {}, "scale": {}}

    def module_settings(self) -> dict[str, Any]:
        """Return the settings of the torch module, without its width."""
        return {"n_labels": len(self.labels)}

    def learn_labels(self, examples: Iterable[Example]) -> None:
        """Collect the targets of all examples, and the mean and spread of each.

        RAISES (ValueError): B300 if there are none.
        """
        values: dict[str, list[float]] = {}

        def targets_of(doc: Doc) -> Iterable[str]:
            targets = get_targets(doc)
            for name, value in targets.items():
                values.setdefault(name, []).append(value)
            return targets

        self.collect_labels(examples, targets_of)
        for label in self.labels:
            known = np.array(values.get(label, [0.0]), dtype=np.float64)
            self.cfg["mean"][label] = float(known.mean())
            # Equal values leave nothing but rounding: such a target is shifted alone.
            is_flat = known.max() == known.min()
            self.cfg["scale"][label] = 1.0 if is_flat else float(known.std())

    def gold_labels(self, doc: Doc) -> Iterable[str]:
        """Return the targets of a gold Doc."""
        return get_targets(doc)

    def set_annotations(self, docs: Iterable[Doc], scores: Tensor) -> None:
        """Write `doc._.regression`, beside targets that other components have set.

        docs (Iterable[Doc]): The Docs.
        scores (Tensor): Standardised values. Shape (D, L).
        """
        mean, scale = self._moments()
        values = scores.cpu().double().numpy() * scale + mean
        for doc, row in zip(docs, values.tolist()):
            write_targets(doc, {**get_targets(doc), **dict(zip(self.labels, row))})

    def compute_loss(self, examples: Sequence[Example], output: Tensor) -> Tensor | None:
        """Return the mean squared error over the targets that the gold speaks of.

        examples (Sequence[Example]): The batch.
        output (Tensor): Standardised values. Shape (D, L).
        RETURNS (Tensor | None): A scalar, or None without gold.
        """
        target = self._read_gold(examples).to(output)
        known = ~target.isnan()
        if not bool(known.any()):
            return None
        return torch.nn.functional.mse_loss(output[known], target[known])

    def compute_divergence(self, examples: Sequence[Example], output: Tensor) -> Tensor:
        """Return how two predictions of each target that the gold speaks of differ.

        A prediction is taken for a normal distribution with variance 1/2, whose negative
        log-likelihood is the squared error but for a constant. See `BertHead`.
        """
        known = ~self._read_gold(examples).isnan().to(output.device)
        first, second = output.unflatten(0, (2, -1))
        return torch.nn.functional.mse_loss(first[known], second[known])

    def _read_gold(self, examples: Sequence[Example]) -> Tensor:
        """Return the standardised targets, NaN where there is none. Shape (D, L)."""
        mean, scale = self._moments()
        targets = [get_targets(eg.reference) for eg in examples]
        gold = np.array([[row.get(x, np.nan) for x in self.labels] for row in targets])
        return torch.from_numpy((gold.reshape(-1, len(self.labels)) - mean) / scale)

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and scale of each target. Shape (L,) each."""
        mean, scale = self.cfg["mean"], self.cfg["scale"]
        return np.array([mean[x] for x in self.labels]), np.array([scale[x] for x in self.labels])

    def _check_cfg(self) -> None:
        super()._check_cfg()
        if self.shim.settings is None:
            return
        for label in self.labels:
            mean, scale = (_value(self.cfg[key], label) for key in ("mean", "scale"))
            if not (is_finite(mean) and is_finite(scale) and scale > 0):
                values = {"name": self.name, "label": label, "mean": mean, "scale": scale}
                raise ValueError(Errors.B340.format(**values))


def _value(table: Any, label: str) -> Any:
    return table.get(label) if isinstance(table, dict) else None
