"""The encoder's side of its listeners: which there are, and which of them it serves."""

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab
from spacy_transformers.pipeline_component import Transformer
from thinc.api import Model

from ..layers.foreign import note_reads
from ..layers.listener import BertListener, OutputStore
from .known import list_later, register_pipeline


class LinkedEncoder(Transformer):
    """A `transformer` whose listeners may be ours or stock ones.

    nlp (Language): The pipeline, asked which components are enabled and which come later.
    model (Model[list[Doc], EncoderBatch]): From `bert-spacy.BertEncoder.v1`.
    name (str): Name in the pipeline.
    """

    def __init__(self, nlp: Language, model: Model, name: str):
        super().__init__(nlp.vocab, model, name=name)
        self.cfg: dict[str, Any] = {}
        self._nlp: Callable[[], Language | None] = weakref.ref(nlp)
        self.store = OutputStore(self._find_readers)

    def __reduce__(self) -> tuple[Any, ...]:
        # For copies, and `nlp.pipe(n_process=...)` with spawned processes, where the pipeline goes
        # along anyway; a weak reference cannot.
        state = {**self.__dict__, "_nlp": self._nlp()}
        return _revive, (type(self), self.vocab, self.model, self.name), state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _nlp=lambda: None)
        if (nlp := state["_nlp"]) is not None:
            self._nlp = weakref.ref(nlp)
            register_pipeline(nlp)
        self.store.bind(self._find_readers)

    @property
    def stock_listeners(self) -> list[Any]:
        """Listeners of components that are not ours."""
        return [x for x in self.listeners if not isinstance(x, BertListener)]

    def add_listener(self, listener: Any, component_name: str) -> None:
        """Link a listener of a later component, or let the encoder do so that serves it.

        listener (Model): One of ours, or a `TransformerListener`.
        component_name (str): Name of the component that holds it.
        """
        nlp = self._nlp()
        encoder = self._find_nearest(listener) if isinstance(listener, BertListener) else self
        Transformer.add_listener(encoder, listener, component_name)
        if isinstance(listener, BertListener):
            listener.link(encoder.store, component_name)
            encoder.tell_width([listener])
        else:
            note_reads(listener)
        if nlp is not None:
            register_pipeline(nlp)

    def _find_nearest(self, listener: BertListener) -> "LinkedEncoder":
        """Return the last encoder before a head, this one or a later one, disabled or not.

        spaCy links what is enabled: with a frozen encoder `initialize` would take the one before.
        """
        found = self
        for _, pipe in list_later(self, self._nlp()):
            if getattr(pipe, "listener", None) is listener:
                return found
            if isinstance(pipe, LinkedEncoder) and listener.upstream_name in ("*", pipe.name):
                found = pipe
        return self

    def tell_width(self, listeners: Iterable[BertListener]) -> None:
        """Let listeners that this encoder serves know its width, once it is known."""
        if self.model.has_dim("nO") is True:
            for listener in filter(self.serves, listeners):
                listener.set_dim("nO", self.model.get_dim("nO"), force=True)

    def list_awake(self, ours: bool) -> list[tuple[str, Any]]:
        """List the listeners of components that are enabled.

        ours (bool): Whether to list ours or stock ones.
        RETURNS (list[tuple[str, Model]]): Names of the components, and the listeners.
        """
        nlp = self._nlp()
        off = nlp.disabled if nlp is not None else ()
        found = [(name, x) for name, row in self.listener_map.items() for x in row]
        return [(n, x) for n, x in found if n not in off and isinstance(x, BertListener) == ours]

    def serves(self, listener: Any) -> bool:
        """Say whether a listener of `listener_map` has not been linked to another encoder since."""
        return getattr(listener, "store", self.store) is self.store

    def link_enabled(self, docs: Sequence[Doc] = ()) -> None:
        """Link components that were disabled when the pipeline was put together, and those that
        another pipeline has taken by `source=` and linked since.

        docs (Sequence[Doc]): What is to be read, if anything is.
        """
        later = list_later(self, self._nlp())
        nlp = self._pipeline_of(docs)
        if nlp is not None:
            for name, component in later:
                if name not in self.listener_map and name not in nlp.disabled:
                    self.find_listeners(component)
        stores = [getattr(pipe, "store", None) for _, pipe in later]
        for name, listeners in self.listener_map.items():
            for listener in listeners:
                # In one pipeline the last encoder before a head serves it.
                if not self.serves(listener) and all(x is not listener.store for x in stores):
                    listener.link(self.store, name)

    def count_learners(self, docs: Sequence[Doc]) -> int:
        """Count the listeners, ours and stock ones, that learn from Docs."""
        nlp = self._pipeline_of(docs)
        off = nlp.disabled if nlp is not None else ()
        rows = [row for name, row in self.listener_map.items() if name not in off]
        return sum(self.serves(x) for row in rows for x in row)

    def _pipeline_of(self, docs: Sequence[Doc]) -> Language | None:
        # Docs of another vocabulary are in another pipeline, that has taken parts by `source=`: it
        # has linked what it has, and what is disabled here may learn there.
        nlp = self._nlp()
        return nlp if nlp is not None and (not docs or docs[0].vocab is nlp.vocab) else None

    def _find_readers(self) -> set[str]:
        return {name for name, x in self.list_awake(ours=True) if self.serves(x)}


def _revive(kind: type[LinkedEncoder], vocab: Vocab, model: Model, name: str) -> LinkedEncoder:
    encoder = kind.__new__(kind)
    Transformer.__init__(encoder, vocab, model, name=name)
    return encoder
