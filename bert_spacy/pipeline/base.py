"""What all heads share: batches that follow the encoder's, updates, files."""

import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import srsly
from spacy import util
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer
from torch import Tensor

from ..errors import Errors
from ..layers.head import make_module
from ..layers.listener import BertListener, listener_of
from ..layers.shims import HeadShim, set_dropout
from ..util import atomic_file

# The pipelines, by their vocabulary: a Doc knows that alone.
PIPELINES: "weakref.WeakValueDictionary[int, Language]" = weakref.WeakValueDictionary()


class BertHead(TrainablePipe):
    """A trainable component on the shared encoder.

    A subclass names its labels and gold, turns the model's output into a loss
    and into annotations.

    vocab (Vocab): The shared vocabulary.
    model (Model): A model from `bert_spacy.layers.head.build_head`.
    name (str): Name in the pipeline; key of its loss.
    scorer (Callable): Scores Examples, or None.
    """

    def __init__(self, vocab: Vocab, model: Model, name: str, *, scorer: Callable | None = None):
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: dict[str, Any] = {"labels": []}
        # Takes the place of `compute_loss` while the component learns from a teacher.
        self.taught_loss: Callable[[Sequence[Example], Any], Tensor | None] | None = None

    # What a subclass says.

    @abstractmethod
    def module_settings(self) -> dict[str, Any]:
        """Return the settings of the torch module, without its width."""

    @abstractmethod
    def compute_loss(self, examples: Sequence[Example], output: Any) -> Tensor | None:
        """Return the mean loss over Examples with gold, None if none has any."""

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
            raise ValueError(
                Errors.B301.format(label=label, name=self.name, reason="it is not a string")
            )
        if label in self.labels:
            return 0
        if self.shim.module is not None:
            raise ValueError(
                Errors.B301.format(label=label, name=self.name, reason="the model is made")
            )
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
    def shim(self) -> HeadShim:
        """The holder of the torch module."""
        return self.model.shims[0]

    @property
    def listener(self) -> BertListener | None:
        """The listener, None where the component has an encoder of its own."""
        return listener_of(self.model)

    # Prediction.

    def __call__(self, doc: Doc) -> Doc:
        """Annotate one Doc, in place."""
        for _ in self.pipe([doc], batch_size=1):
            pass
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
        listener, docs = self.listener, iter(stream)
        if listener is None or listener.store is None:
            while batch := list(islice(docs, batch_size)):
                yield batch
            return
        batch, current = [], None
        for doc in docs:
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
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        if not examples:
            return losses
        if self.shim.module is not None:
            set_dropout(self.shim.module, drop)
        output, backprop = self.model.begin_update([eg.predicted for eg in examples])
        loss = (self.taught_loss or self.compute_loss)(examples, output)
        backprop(loss)
        if loss is not None:
            losses[self.name] += float(loss.detach())
        if sgd not in (None, False):
            self.finish_update(sgd)
        return losses

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
        """Learn the labels and make the model.

        get_examples (Callable): Returns all training examples.
        nlp (Language): The pipeline.
        labels (Sequence[str]): Labels, in place of those in the examples.
        RAISES (ValueError): B300 if there is no label; B204 if there is no encoder.
        """
        for label in labels or ():
            self.add_label(label)
        if self.shim.module is None:
            self.learn_labels(get_examples())
        make_module(self.model, **self.module_settings())

    # Files.

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component; what stood there survives a failed write.

        path (str | Path): A folder.
        exclude (Iterable[str]): "vocab", "cfg" or "model".
        """

        def write_model(target: Path) -> None:
            with atomic_file(target, "wb") as file_:
                file_.write(self.model.to_bytes())

        serialize = {
            "vocab": lambda p: self.vocab.to_disk(p),
            "cfg": lambda p: write_cfg(p, self.cfg),
            "model": write_model,
        }
        util.to_disk(path, serialize, exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "BertHead":
        """Read the component.

        path (str | Path): A folder that `to_disk` wrote.
        exclude (Iterable[str]): "vocab", "cfg" or "model".
        RAISES (ValueError): B303 if a file is missing or damaged; B304 if the
            labels do not match the weights.
        """

        def read(target: Path, load: Callable[[bytes], Any]) -> Any:
            try:
                return load(Path(target).read_bytes())
            except Exception as err:  # noqa: BLE001 - damaged bytes may raise anything
                reason = f"{type(err).__name__}: {err}".splitlines()[0][:300]
                raise ValueError(Errors.B303.format(path=target, reason=reason)) from err

        deserialize = {
            "vocab": lambda p: self.vocab.from_disk(p),
            "cfg": lambda p: read(p, lambda data: self.cfg.update(srsly.json_loads(data))),
            "model": lambda p: read(p, self.model.from_bytes),
        }
        util.from_disk(path, deserialize, exclude)
        self._check_labels()
        return self

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "BertHead":
        """Load what `to_bytes` wrote.

        RAISES (ValueError): B304 if the labels do not match the weights.
        """
        super().from_bytes(bytes_data, exclude=exclude)
        self._check_labels()
        return self

    def _check_labels(self) -> None:
        settings, labels = self.shim.settings, self.cfg["labels"]
        if settings is None:
            return
        expected = None
        if isinstance(labels, list):
            expected = {"width": settings["width"], **self.module_settings()}
        if expected != settings:
            raise ValueError(
                Errors.B304.format(
                    name=self.name, n_labels=labels, n_outputs=settings.get("n_labels")
                )
            )


def write_cfg(path: Path, cfg: dict[str, Any]) -> None:
    """Write the settings of a component; what stood there survives a failed write."""
    with atomic_file(path) as file_:
        file_.write(srsly.json_dumps(cfg, indent=2))
