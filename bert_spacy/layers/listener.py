"""How heads get the encoder's output: by the Docs themselves."""

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from spacy.tokens import Doc
from spacy.util import registry
from spacy_transformers.layers.listener import TransformerListener
from thinc.api import Model

from ..errors import Errors
from ..types import EncoderBatch, EncoderGradient
from .foreign import batch_from_data, gradient_to_data

Backprop = Callable[[EncoderGradient], list[Doc]]


@registry.architectures("bert-spacy.BertListener.v1")
def build_bert_listener_v1(upstream: str = "*") -> Model[list[Doc], EncoderBatch]:
    """Build a layer that hands on the output of the pipeline's encoder.

    upstream (str): Name of the encoder component, "*" for any. A stock
        `transformer` component serves too.
    RETURNS (Model[list[Doc], EncoderBatch]): The layer.
    """
    return BertListener(upstream)


class TrainingBatch:
    """One training pass of the encoder, until its backward pass has run.

    The backward pass runs when every listener has reported, or when the
    encoder's own `finish_update` asks for it: a head without gold in a batch
    reports nothing and must not hold up the others.

    docs (Sequence[Doc]): The Docs of the batch; they are its identity.
    batch (EncoderBatch): The output.
    backprop (Callable): Takes the gradient of the output.
    n_listeners (int): How many reports to expect.
    count (Callable[[float], None]): Told the squared norm of each gradient.
    has_loss (bool): Whether the encoder has a loss of its own, which needs no report.
    """

    def __init__(
        self,
        docs: Sequence[Doc],
        batch: EncoderBatch,
        backprop: Backprop,
        n_listeners: int,
        count: Callable[[float], None],
        has_loss: bool = False,
    ):
        self.docs = tuple(docs)
        self.batch = batch
        self.gradient = EncoderGradient()
        self._count = count
        self._backprop: Backprop | None = backprop
        self._waiting = n_listeners
        self._has_loss = has_loss
        self._next: Callable[[], None] | None = None

    def matches(self, docs: Sequence[Doc]) -> bool:
        """Say whether these are the very Docs of this batch, in order."""
        return len(docs) == len(self.docs) and all(a is b for a, b in zip(docs, self.docs))

    def report(self, gradient: EncoderGradient) -> list[Doc]:
        """Add the gradient of one listener; the last one starts the backward pass."""
        for name in ("hidden", "cls", "pooled"):
            new, old = getattr(gradient, name), getattr(self.gradient, name)
            if new is not None:
                self._count(float((new**2).sum()))
                setattr(self.gradient, name, new if old is None else old + new)
        self._waiting -= 1
        if self._waiting <= 0:
            self.finish()
        return []

    @property
    def is_waiting(self) -> bool:
        """Whether the backward pass has yet to come, and no gradient is there for it."""
        g = self.gradient
        has_gradient = self._has_loss or any(x is not None for x in (g.hidden, g.cls, g.pooled))
        return self._backprop is not None and not has_gradient

    def then(self, action: Callable[[], None]) -> None:
        """Do something once the backward pass has run.

        action (Callable[[], None]): Usually a step of the optimiser, which must
            not change weights that the backward pass still needs.
        """
        self._next = action

    def finish(self) -> None:
        """Run the backward pass, once, and what is to follow it."""
        waiting = self.is_waiting
        backprop, self._backprop = self._backprop, None
        if backprop is not None and not waiting:
            backprop(self.gradient)
        self.gradient = EncoderGradient()
        action, self._next = self._next, None
        if action is not None:
            action()


class OutputStore:
    """The encoder's output for Docs that are on their way through the pipeline.

    A Doc's rows are let go when every head that is awake has read them, and at
    the latest when the Doc itself is gone.

    readers (Callable[[], set[str]]): Names the components that listen and are
        enabled at the moment.
    """

    def __init__(self, readers: Callable[[], set[str]]):
        self.training: TrainingBatch | None = None
        self._readers = readers
        self._live: weakref.WeakKeyDictionary[Doc, _Entry] = weakref.WeakKeyDictionary()

    def bind(self, readers: Callable[[], set[str]]) -> None:
        """Ask another encoder component for the readers; for one sent to a process."""
        self._readers = readers

    def __reduce__(self) -> tuple[Any, ...]:
        # Docs on their way stay in this process; the encoder binds itself anew.
        return OutputStore, (set,)

    def __len__(self) -> int:
        return len(self._live)

    def put(self, docs: Iterable[Doc], batch: EncoderBatch) -> None:
        """Keep the output of some Docs until the heads have read it."""
        if self._readers():
            for i, doc in enumerate(docs):
                self._live[doc] = _Entry(batch, i)

    def batch_of(self, doc: Doc) -> EncoderBatch | None:
        """Return the batch that a Doc was encoded in, None if it was not."""
        entry = self._live.get(doc)
        return None if entry is None else entry.batch

    def get(self, docs: Sequence[Doc], reader: str) -> EncoderBatch:
        """Return one batch with the output of exactly these Docs.

        docs (Sequence[Doc]): The Docs, in the order wanted.
        reader (str): The component that asks.
        RAISES (ValueError): B201 if the encoder has not seen one of them.
        """
        runs: list[tuple[EncoderBatch, list[int]]] = []
        for doc in docs:
            entry = self._live.get(doc)
            if entry is None:
                raise ValueError(Errors.B201.format(text=doc.text[:80], name=reader))
            if not runs or runs[-1][0] is not entry.batch:
                runs.append((entry.batch, []))
            runs[-1][1].append(entry.index)
        parts = [
            batch if index == list(range(batch.layout.n_docs)) else batch.select(index)
            for batch, index in runs
        ]
        return EncoderBatch.concat(parts)

    def mark_read(self, docs: Iterable[Doc], reader: str) -> None:
        """Note that a component has read some Docs; let go of what all have read."""
        awake = self._readers()
        for doc in docs:
            entry = self._live.get(doc)
            if entry is not None:
                entry.seen.add(reader)
                if awake <= entry.seen:
                    del self._live[doc]


class _Entry:
    __slots__ = ("batch", "index", "seen")

    def __init__(self, batch: EncoderBatch, index: int):
        self.batch = batch
        self.index = index
        self.seen: set[str] = set()


class BertListener(TransformerListener):
    """Hands on the output of the encoder that it is linked to.

    Being a TransformerListener, it is found by a stock `transformer` component
    as well, whose per-Doc output it then packs.

    upstream_name (str): Name of the encoder component, "*" for any.
    """

    name = "bert-listener"

    def __init__(self, upstream_name: str):
        super().__init__(upstream_name)
        self._func = forward
        self.store: OutputStore | None = None
        self.reader = self.name

    def link(self, store: OutputStore, reader: str) -> None:
        """Read from this store, under the name of the component."""
        self.store = store
        self.reader = reader

    def mark_read(self, docs: Iterable[Doc]) -> None:
        """Tell the encoder that these Docs' output is no longer needed here."""
        if self.store is not None:
            self.store.mark_read(docs, self.reader)


def forward(model: BertListener, docs: Sequence[Doc], is_train: bool) -> tuple[EncoderBatch, Any]:
    """Return the encoder's output for these Docs, and where to send its gradient."""
    if model.store is None:
        return _forward_foreign(model, docs, is_train)
    training = model.store.training
    if is_train and training is not None and training.matches(docs):
        return training.batch, training.report
    return model.store.get(docs, model.reader), _no_gradient


def _forward_foreign(
    model: BertListener, docs: Sequence[Doc], is_train: bool
) -> tuple[EncoderBatch, Any]:
    outputs, send = None, None
    if is_train and model._outputs is not None:
        model.verify_inputs(docs)
        outputs, send = model._outputs, model.backprop_and_clear
    elif all(doc.has_extension("trf_data") and doc._.trf_data is not None for doc in docs):
        outputs = [doc._.trf_data for doc in docs]
    if outputs is None:
        raise ValueError(Errors.B201.format(text=docs[0].text[:80], name=model.reader))
    batch = batch_from_data(docs, outputs, model.get_dim("nO"))

    def backprop(gradient: EncoderGradient) -> list[Doc]:
        if send is not None:
            send(gradient_to_data(docs, outputs, gradient))
        return []

    return batch, backprop


def _no_gradient(gradient: EncoderGradient) -> list[Doc]:
    return []


def listener_of(model: Model) -> BertListener | None:
    """Return the listener inside a head's model, None if it has its own encoder."""
    for node in model.walk():
        if isinstance(node, BertListener):
            return node
    return None
