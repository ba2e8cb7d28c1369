"""Heads whose labels may count differently in training."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from spacy.language import Language
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from torch import Tensor

from ..errors import Errors
from ..util import is_finite
from .base import BertHead

ClassWeights = Mapping[str, float] | str | None


class WeightedHead(BertHead):
    """A head with weights of its labels in the loss.

    class_weights (ClassWeights): By label, where one that is missing counts 1; "balanced" for
        what `count_weights` finds in the training examples, kept with the component; None for
        no weights.
    RAISES (ValueError): B561 for a value that is no weight.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        class_weights: ClassWeights = None,
        scorer: Callable | None = None,
    ):
        super().__init__(vocab, model, name, scorer=scorer)
        self.class_weights = class_weights
        if class_weights not in (None, "balanced"):
            self._check_weights(class_weights)

    @property
    def weighted_labels(self) -> tuple[str, ...]:
        """What may have a weight."""
        return self.labels

    @abstractmethod
    def count_weights(self, examples: Iterable[Example]) -> Tensor:
        """Return weights of `weighted_labels` from the training examples. Shape (L,)."""

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Learn the labels and their weights, and make the model.

        get_examples (Callable): Returns all training examples.
        nlp (Language): The pipeline.
        labels (Sequence[str]): Labels, in place of those in the examples.
        RAISES (ValueError): B300 if there is no label; B204 if there is no encoder; B560 for a
            weight of an unknown label.
        """
        super().initialize(get_examples, nlp=nlp, labels=labels)
        self._check_cfg()
        if self.class_weights == "balanced":
            weights = self.count_weights(get_examples()).tolist()
            self.cfg["class_weights"] = dict(zip(self.weighted_labels, weights))

    def read_weights(self, like: Tensor) -> Tensor | None:
        """Return the weights of `weighted_labels` as a tensor, None if there are none.

        like (Tensor): Gives the type and the device.
        RETURNS (Tensor | None): Shape (L,).
        RAISES (ValueError): B562 if they are to be counted and have not been.
        """
        found: Any = self.class_weights
        if found == "balanced":
            found = self.cfg.get("class_weights")
            if found is None:
                raise ValueError(Errors.B562.format(name=self.name))
        if found is None:
            return None
        values = [found.get(label, 1.0) for label in self.weighted_labels]
        return torch.tensor(values, dtype=like.dtype, device=like.device)

    def _check_weights(self, found: Any) -> None:
        is_table = isinstance(found, Mapping)
        if not is_table or not all(is_finite(value) and value > 0 for value in found.values()):
            raise ValueError(Errors.B561.format(name=self.name, value=found))

    def _check_cfg(self) -> None:
        super()._check_cfg()
        if "class_weights" in self.cfg:
            self._check_weights(self.cfg["class_weights"])
        if isinstance(self.class_weights, Mapping) and self.shim.settings is not None:
            for label in self.class_weights:
                if label not in self.weighted_labels:
                    values = {"label": label, "labels": list(self.weighted_labels)}
                    raise ValueError(Errors.B560.format(name=self.name, **values))
