"""How heads get the encoder's output: by the Docs themselves."""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spacy.tokens import Doc
from spacy.util import registry
from spacy_transformers.layers.listener import TransformerListener
from thinc.api import Model

from ..errors import Errors
from ..types import EncoderBatch, EncoderGradient
from .foreign import batch_from_data, gradient_to_data

Backprop = Callable[[EncoderGradient], list[Doc]]
# Computes the loss of a head again, on another output of the encoder for the same Docs.
Again = Callable[[EncoderBatch], EncoderGradient]


@dataclass(frozen=True)
class SecondPass:
    """How a training batch is learnt from once more.

    encode (Callable): Runs the encoder over the Docs of the batch again.
    around (Callable): Takes the backward pass and the second pass, and calls them one after
        the other, the second with changed weights.
    """

    encode: Callable[[], tuple[EncoderBatch, Backprop]]
    around: Callable[[Callable[[], object], Callable[[], object]], None]


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

    docs (Sequence[Doc]): The Docs of the batch; they are its identity. With R-Drop all of them
        stand there twice, one half after the other.
    batch (EncoderBatch): The output.
    backprop (Callable): Takes the gradient of the output.
    n_listeners (int): How many reports to expect.
    count (Callable[[float], None]): Told the squared norm of each gradient.
    r_drop (float): Weight of the divergence of the two halves, 0 where there is one of each Doc.
    second (SecondPass | None): Follows the backward pass. Every head that has learnt from the
        batch must have offered to do so again.
    has_loss (bool): Whether the encoder has a loss of its own, which needs no report.
    """

    def __init__(
        self,
        docs: Sequence[Doc],
        batch: EncoderBatch,
        backprop: Backprop,
        n_listeners: int,
        count: Callable[[float], None],
        r_drop: float = 0.0,
        second: SecondPass | None = None,
        has_loss: bool = False,
    ):
        self.docs = tuple(docs)
        self.batch = batch
        self.gradient = EncoderGradient()
        self.r_drop = r_drop
        self._count = count
        self._backprop: Backprop | None = backprop
        self._second = second
        self._offers: list[Again] = []
        self._n_learnt = 0
        self._waiting = n_listeners
        self._has_loss = has_loss
        self._next: list[Callable[[], None]] = []

    @property
    def copies(self) -> int:
        """How often each Doc stands in the batch."""
        return 2 if self.r_drop else 1

    def matches(self, docs: Sequence[Doc]) -> bool:
        """Say whether these are the very Docs of this batch, in order."""
        return len(docs) == len(self.docs) and all(a is b for a, b in zip(docs, self.docs))

    def offer(self, again: Again) -> None:
        """Be ready to learn from the batch again; called before the report, if there is gold."""
        self._offers.append(again)

    def report(self, gradient: EncoderGradient) -> list[Doc]:
        """Add the gradient of one listener; the last one starts the backward pass."""
        parts = gradient.parts()
        for part in parts.values():
            self._count(float((part**2).sum()))
        self.gradient.add(gradient)
        self._n_learnt += bool(parts)
        self._waiting -= 1
        if self._waiting <= 0:
            self.finish()
        return []

    @property
    def is_waiting(self) -> bool:
        """Whether the backward pass has yet to come, and no gradient is there for it."""
        return self._backprop is not None and not (self._has_loss or self.gradient.parts())

    @property
    def comes_again(self) -> bool:
        """Whether the heads are still to learn from the batch again, with their present weights."""
        return self._backprop is not None and self._second is not None

    def then(self, action: Callable[[], None]) -> None:
        """Do something once the backward pass has run, and what else is learnt from the batch.

        action (Callable[[], None]): Usually a step of the optimiser, which must
            not change weights that the backward pass still needs.
        """
        self._next.append(action)

    def finish(self) -> None:
        """Run the backward pass, once, the second pass if there is one, and what is to follow.

        RAISES (ValueError): B563 if a component cannot learn from the batch again.
        """
        waiting = self.is_waiting
        backprop, self._backprop = self._backprop, None
        if backprop is not None and not waiting:
            if self._second is None:
                backprop(self.gradient)
            else:
                self._second.around(lambda: backprop(self.gradient), self._learn_again)
        self.gradient = EncoderGradient()
        actions, self._next = self._next, []
        for action in actions:
            action()

    def _learn_again(self) -> None:
        if self._second is None or len(self._offers) < self._n_learnt:
            raise ValueError(Errors.B563.format(names="one of them", encoder="bert_encoder"))
        batch, backprop = self._second.encode()
        gradient = EncoderGradient()
        for again in self._offers:
            gradient.add(again(batch))
        backprop(gradient)


class OutputStore:
    """The encoder's output for Docs that are on their way through the pipeline.

    A Doc's rows are let go when every head that is awake has read them, and at
    the latest when the Doc itself is gone.

    readers (Callable[[], set[str]]): Names the components that listen and are
        enabled at the moment.
    """

    def __init__(self, readers: Callable[[], set[str]]):
        self.training: TrainingBatch | None = None
        # Whether heads are to learn from a batch in more than one way.
        self.learns_again = False
        self._readers = readers
        # By thread, so that streams of several do not mix.
        self._expected = threading.local()
        self._live: weakref.WeakKeyDictionary[Doc, _Entry] = weakref.WeakKeyDictionary()

    def bind(self, readers: Callable[[], set[str]]) -> None:
        """Ask another encoder component for the readers; for one sent to a process."""
        self._readers = readers

    def __reduce__(self) -> tuple[Any, ...]:
        # Docs on their way stay in this process; the encoder binds itself anew.
        return OutputStore, (set,), {"learns_again": self.learns_again}

    def __len__(self) -> int:
        return len(self._live)

    def put(self, docs: Iterable[Doc], batch: EncoderBatch) -> None:
        """Keep the output of some Docs until the heads have read it."""
        if self._readers():
            for i, doc in enumerate(docs):
                self._live[doc] = _Entry(batch, i)

    def announce(self, stream: Iterable[Doc], reader: str) -> Iterator[Doc]:
        """Hand on a stream, having told the encoder in it that a component reads it.

        Streams are pulled from their end, so that every head asks before the encoder begins.

        stream (Iterable[Doc]): The Docs.
        reader (str): The component.
        YIELDS (Doc): The same.
        """
        vars(self._expected).setdefault("names", set()).add(reader)
        try:
            for doc in stream:
                self._withdraw(reader)
                yield doc
        finally:
            self._withdraw(reader)

    def _withdraw(self, reader: str) -> None:
        # Where no encoder is in the stream, the next one must not take the note for its own.
        vars(self._expected).get("names", set()).discard(reader)

    def take_expected(self) -> set[str] | None:
        """Return the components that read the stream that begins; None if none has said so."""
        return vars(self._expected).pop("names", None) or None

    def keep_for(self, docs: list[Doc], readers: set[str] | None) -> list[Doc]:
        """Let go of some Docs' output when these have read it, and not only when all have.

        `nlp.pipe(disable=...)` leaves heads out without a word to the encoder.

        docs (list[Doc]): The Docs.
        readers (set[str] | None): From `take_expected`.
        RETURNS (list[Doc]): The same.
        """
        for doc in docs if readers is not None else ():
            entry = self._live.get(doc)
            if entry is not None:
                entry.readers = readers
        return docs

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
                wanted = awake if entry.readers is None else awake & entry.readers
                if wanted <= entry.seen:
                    del self._live[doc]


class _Entry:
    __slots__ = ("batch", "index", "readers", "seen")

    def __init__(self, batch: EncoderBatch, index: int):
        self.batch = batch
        self.index = index
        self.readers: set[str] | None = None
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
    return model.store.get(docs, model.reader), no_gradient


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


def no_gradient(gradient: EncoderGradient) -> list[Doc]:
    """Take a gradient that goes nowhere."""
    return []


def listener_of(model: Model) -> BertListener | None:
    """Return the listener inside a head's model, None if it has its own encoder."""
    for node in model.walk():
        if isinstance(node, BertListener):
            return node
    return None


def replace_listener(model: Model, listener: Any, encoder: Any) -> Model:
    """Let `nlp.replace_listeners` put an encoder in the place of a listener; spaCy calls this.

    model (Model): A copy of the encoder's model.
    listener (Model): What it is to replace.
    encoder (BertEncoder): The component.
    RETURNS (Model): The copy as it is.
    RAISES (ValueError): B216 in a stock component, whose layers take other output.
    """
    if not isinstance(listener, BertListener):
        found = encoder.listener_map.items()
        names = ", ".join(name for name, known in found if any(x is listener for x in known))
        raise ValueError(Errors.B216.format(name=names, encoder=encoder.name))
    return model
