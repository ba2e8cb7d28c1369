"""What all heads share: batches that follow the encoder's, and updates."""

import copy
import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer
from torch import Tensor

from ..errors import Errors, Warnings
from ..layers.head import make_module, run_head
from ..layers.inputs import cut_stream
from ..layers.listener import BertListener, TrainingBatch, listener_of
from ..layers.shims import HeadShim, check_model, set_dropout
from ..types import SEGMENTS, EncoderBatch, EncoderGradient
from ..util import is_finite
from .extensions import install_extensions
from .known import find_pipeline, list_later
from .saved import SavedHead
from .settings import check_value

# What is fitted or learnt beside the weights, before that.
_UNFITTED: dict[str, Any] = {"temperature": 1.0, "thresholds": {}, "knows_null": False}


class BertHead(SavedHead):
    """A trainable component on the shared encoder.

    A subclass names its labels and gold, turns the model's output into a loss
    and into annotations.

    vocab (Vocab): The shared vocabulary.
    model (Model): A model from `bert_spacy.layers.head.build_head`.
    name (str): Name in the pipeline; key of its loss.
    scorer (Callable): Scores Examples, or None.
    RAISES (ValueError): B217 for a model of something else.
    """

    def __init__(self, vocab: Vocab, model: Model, name: str, *, scorer: Callable | None = None):
        check_model(name, model, HeadShim)
        install_extensions()
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: dict[str, Any] = {"labels": []}
        # Takes the place of `compute_loss` while the component learns from a teacher.
        self.taught_loss: Callable[[Sequence[Example], Any], Tensor | None] | None = None
        self._has_told = False
        if self.listener is not None:
            self.listener.reader = name  # for messages, where no encoder comes to link it

    # What a subclass says.

    @abstractmethod
    def compute_loss(self, examples: Sequence[Example], output: Any) -> Tensor | None:
        """Return the mean loss over Examples with gold, None if none has any."""

    def compute_divergence(self, examples: Sequence[Example], output: Any) -> Tensor:
        """Return how two predictions for the same Examples differ, for R-Drop.

        examples (Sequence[Example]): At least one has gold; what has none does not count.
        output (Any): Output for the Examples, and then for all of them once more.
        RETURNS (Tensor): The symmetric Kullback-Leibler divergence, a scalar.
        RAISES (NotImplementedError): B564 if the component does not say.
        """
        raise NotImplementedError(Errors.B564.format(name=self.name))

    @abstractmethod
    def learn_labels(self, examples: Iterable[Example]) -> None:
        """Collect what the component must know from all training examples."""

    # Labels.

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the model's outputs."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """Labels for `spacy init labels`."""
        return list(self.labels)

    def add_label(self, label: str) -> int:
        """Add a label before the model is made.

        label (str): The new label.
        RETURNS (int): 1 if it is new, 0 if it was there.
        RAISES (ValueError): B301 if it is no string or the model is made.
        """
        if not isinstance(label, str) or not label:
            values = {"label": label, "reason": "it is not a string"}
            raise ValueError(Errors.B301.format(name=self.name, **values))
        if label in self.labels:
            return 0
        if self.shim.module is not None:
            values = {"label": label, "reason": "the model is made"}
            raise ValueError(Errors.B301.format(name=self.name, **values))
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1

    def collect_labels(
        self, examples: Iterable[Example], labels_of: Callable[[Doc], Iterable[str]]
    ) -> None:
        """Take the labels of all gold Docs, sorted, unless labels were given before.

        examples (Iterable[Example]): All training examples.
        labels_of (Callable): Returns the labels that occur on a gold Doc.
        RAISES (ValueError): B300 if there are none.
        """
        seen = 0
        found: set[str] = set()
        for example in examples:
            seen += 1
            found.update(labels_of(example.reference))
        if self.labels:
            return
        if not found:
            raise ValueError(Errors.B300.format(name=self.name, n=seen))
        for label in sorted(found):
            self.add_label(label)

    @property
    def listener(self) -> BertListener | None:
        """The listener, None where the component has an encoder of its own."""
        return listener_of(self.model)

    # Prediction.

    def __call__(self, doc: Doc) -> Doc:
        """Annotate one Doc, in place."""
        self._annotate([doc])
        return doc

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate a stream of Docs, as soon as the encoder's batch is whole.

        stream (Iterable[Doc]): Docs that the encoder has seen.
        batch_size (int): Docs at once, where the encoder set no batches.
        YIELDS (Doc): The Docs, in order.
        """
        for batch in self._follow_encoder(stream, batch_size):
            yield from self._annotate(batch)

    def _annotate(self, docs: list[Doc]) -> list[Doc]:
        """Annotate a batch; if that fails, each Doc alone, so that one is lost at most."""
        try:
            self.set_annotations(docs, self.predict(docs))
            good = docs
        except Exception as err:
            if len(docs) > 1:
                return [done for doc in docs for done in self._annotate([doc])]
            self.get_error_handler()(self.name, self, docs, err)
            good = []
        if self.listener is not None:
            self.listener.mark_read(docs)
        return good

    def _follow_encoder(self, stream: Iterable[Doc], batch_size: int) -> Iterator[list[Doc]]:
        """Cut the stream where the encoder did, so that no output waits for long."""
        listener = self.listener
        if listener is None or listener.store is None:
            yield from cut_stream(stream, batch_size)
            return
        batch: list[Doc] = []
        current = None
        for doc in listener.store.announce(stream, listener.reader):
            origin = listener.store.batch_of(doc)
            if batch and origin is not current:
                yield batch
                batch = []
            current = origin
            batch.append(doc)
            if origin is None or len(batch) >= origin.layout.n_docs:
                yield batch
                batch = []
        if batch:
            yield batch

    def predict(self, docs: Iterable[Doc]) -> Any:
        """Run the model over Docs without changing them."""
        return self.model.predict(list(docs))

    def read_outputs(
        self, docs: Sequence[Doc], *, from_start: bool = False
    ) -> Iterator[tuple[list[Doc], Any]]:
        """Run the encoder and the model over Docs once more, without changing them.

        docs (Sequence[Doc]): Docs of the pipeline's vocabulary.
        from_start (bool): Let all components before this one annotate the copies as well, as the
            pipeline does; BW307 is warned of a pipeline that is not known.
        YIELDS (tuple[list[Doc], Any]): Copies of some Docs, in order, and the model's output.
        RAISES (ValueError): B332 without the pipeline.
        """
        copies: Iterable[Doc] = (doc.copy() for doc in docs)
        nlp = find_pipeline(self)
        if self.listener is not None:
            encoders: list[Any] = [
                pipe
                for _, pipe in (nlp.pipeline if nlp is not None else ())
                if self.listener in getattr(pipe, "listener_map", {}).get(self.name, ())
            ]
            if not encoders or any(doc.vocab is not self.vocab for doc in docs):
                raise ValueError(Errors.B332.format(name=self.name))
            if not from_start:
                copies = encoders[-1].pipe(copies)  # the last one before a head serves it
        if from_start and nlp is not None:
            names = nlp.component_names
            n_before = len(names) - 1 - len(list_later(self, nlp))
            copies = nlp.pipe(copies, disable=names[n_before:])
        elif from_start:
            warnings.warn(Warnings.BW307.format(name=self.name), stacklevel=2)
        for batch in self._follow_encoder(copies, 128):
            output = self.predict(batch)
            if self.listener is not None:
                self.listener.mark_read(batch)
            yield batch, output

    def set_temperature(self, temperature: float) -> None:
        """Set what scores are divided by before they become probabilities.

        temperature (float): Above 0. What is predicted stays the same, but for thresholds.
        RAISES (ValueError): B370 for a component without one; B307 for a value out of range.
        """
        if "temperature" not in self.cfg:
            raise ValueError(Errors.B370.format(name=self.name))
        is_good = is_finite(temperature) and temperature > 0
        check_value(self.name, "The temperature", temperature, "above 0", is_good)
        self.cfg["temperature"] = float(temperature)

    def _check_cfg(self) -> None:
        super()._check_cfg()
        if "temperature" in self.cfg:
            self.set_temperature(self.cfg["temperature"])

    # Training.

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch; Examples without gold for this head are passed over.

        examples (Iterable[Example]): The batch.
        drop (float): Dropout rate of the head.
        sgd (Optimizer): Steps at once if given.
        losses (dict[str, float]): Updated under the component's name.
        RETURNS (dict[str, float]): The losses.
        RAISES (ValueError): B568 if the loss is no finite number. BW217 is warned, once, of
            Docs whose segments the reader has lost.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        if not examples:
            return losses
        if self.shim.module is not None:
            set_dropout(self.shim.module, drop)
        training = self._find_training(examples)
        if training is not None:
            examples = examples * training.copies
        output, backprop = self.model.begin_update([eg.predicted for eg in examples])
        loss = self._find_loss(examples, output, training)
        value = 0.0 if loss is None else float(loss.detach())
        if not math.isfinite(value):
            raise ValueError(Errors.B568.format(name=self.name, value=value))
        if loss is not None and training is not None:
            training.offer(partial(self._learn_again, examples, training))
        backprop(loss)
        losses[self.name] += value
        self._tell_lost_segments(examples)
        if sgd not in (None, False):
            self.finish_update(sgd)
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Step, or do so once the batch has been learnt from again.

        sgd (Optimizer): The optimiser.
        """
        store = None if self.listener is None else self.listener.store
        training = None if store is None else store.training
        if training is not None and training.comes_again:
            training.then(lambda: self.model.finish_update(sgd))
        else:
            self.model.finish_update(sgd)

    def _tell_lost_segments(self, examples: list[Example]) -> None:
        if self._has_told:
            return
        for eg in examples:
            if SEGMENTS in eg.reference.spans and SEGMENTS not in eg.predicted.spans:
                self._has_told = True
                text = eg.reference.text[:80]
                warnings.warn(Warnings.BW217.format(name=self.name, text=text), stacklevel=3)
                return

    def _find_training(self, examples: list[Example]) -> TrainingBatch | None:
        """Return the encoder's batch of these Examples, None if it does not learn from them."""
        store = None if self.listener is None else self.listener.store
        if store is None:
            return None
        training = store.training
        if training is not None:
            if training.matches([eg.predicted for eg in examples] * training.copies):
                return training
        elif store.learns_again:
            warnings.warn(Warnings.BW560.format(name=self.name), stacklevel=3)
        return None

    def _find_loss(
        self, examples: list[Example], output: Any, training: TrainingBatch | None
    ) -> Tensor | None:
        """Return the loss, with R-Drop that of both halves and of how they differ.

        SOURCE: Liang et al. (2021), halved: the loss is a mean over the halves, not a sum.
        """
        loss = (self.taught_loss or self.compute_loss)(examples, output)
        if loss is not None and training is not None and training.r_drop:
            apart = self.compute_divergence(examples[: len(examples) // 2], output)
            loss = loss + training.r_drop / 2 * apart
        return loss

    def _learn_again(
        self, examples: list[Example], training: TrainingBatch, batch: EncoderBatch
    ) -> EncoderGradient:
        """Add the gradients of the head on another output of the encoder; return its own."""
        output, collect = run_head(self.model, batch)
        return collect(self._find_loss(examples, output, training))

    def get_loss(self, examples: Iterable[Example], scores: Any) -> tuple[float, Any]:
        """Return the loss of predictions; the gradient lives in torch."""
        loss = self.compute_loss(list(examples), scores)
        return (0.0 if loss is None else float(loss.detach())), None

    def rehearse(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, float]:
        """Refuse to rehearse.

        RAISES (NotImplementedError): B302 always.
        """
        raise NotImplementedError(Errors.B302.format(name=self.name))

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Learn the labels and make the model; a model that is made already begins anew.

        Then the labels stay, and what was fitted beside the weights is forgotten.

        get_examples (Callable): Returns all training examples.
        nlp (Language): The pipeline.
        labels (Sequence[str]): Labels, in place of those in the examples.
        RAISES (ValueError): B300 or B311 if there is nothing to learn; B204 if there is no encoder.
        """
        for label in labels or ():
            self.add_label(label)
        self.cfg.update({key: copy.copy(_UNFITTED[key]) for key in self.cfg.keys() & _UNFITTED})
        given = list(self.cfg["labels"])
        try:
            self.learn_labels(get_examples())
            make_module(self.model, **self.module_settings())
        except Exception:
            if self.shim.module is None:  # a second try is to learn those of its own examples
                self.cfg["labels"] = given
            raise
