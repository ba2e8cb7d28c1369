"""`bert_encoder`: one encoder for every head of the pipeline."""

import math
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from spacy import util
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from thinc.api import Model, Optimizer

from ..errors import Errors
from ..layers.foreign import data_from_batch, gradient_from_data
from ..layers.inputs import cut_stream
from ..layers.listener import BertListener, SecondPass, TrainingBatch
from ..layers.shims import FolderShim, check_model
from ..nn.adversarial import Adversary
from ..nn.backends import Predictor
from ..types import EncoderBatch
from ..util import atomic_dir
from .files import read_cfg, read_model, read_part, write_cfg
from .linked import LinkedEncoder
from .settings import take_old_settings


class BertEncoder(LinkedEncoder):
    """A shared BERT-like encoder.

    Our own heads read its packed output; stock components with a
    `spacy-transformers.TransformerListener` get what a stock `transformer`
    would give them, at a cost that is paid only when there are such.

    nlp (Language): The pipeline, asked which heads are enabled.
    model (Model[list[Doc], EncoderBatch]): From `bert-spacy.BertEncoder.v1`.
    name (str): Name in the pipeline.
    keep_outputs (bool): Leave `doc._.trf_data` on every Doc.
    adversary (Adversary | None): Trains each batch a second time, with moved weights.
    r_drop_alpha (float): Weight of the divergence of two predictions with different dropout.
    RAISES (ValueError): B217 for a model of something else; B565 for a weight out of range.
    """

    adversary: Adversary | None = None
    r_drop_alpha = 0.0

    def __init__(
        self,
        nlp: Language,
        model: Model,
        name: str,
        *,
        keep_outputs: bool = False,
        adversary: Adversary | None = None,
        r_drop_alpha: float = 0.0,
    ):
        check_model(name, model, FolderShim)
        super().__init__(nlp, model, name)
        if not 0 <= r_drop_alpha < math.inf:
            raise ValueError(Errors.B565.format(name=name, value=r_drop_alpha))
        self.keep_outputs = keep_outputs
        self.adversary, self.r_drop_alpha = adversary, r_drop_alpha
        self.store.learns_again = adversary is not None or r_drop_alpha > 0

    # Prediction.

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Encode a stream of Docs, in batches of bounded size.

        stream (Iterable[Doc]): The Docs.
        batch_size (int): Most Docs at once.
        YIELDS (Doc): The Docs, in order.
        """
        readers = self.store.take_expected()
        passed: deque[weakref.ref[Doc]] = deque()
        for part in cut_stream(stream, batch_size):
            yield from self.store.keep_for(self._annotate(part), readers)
            if self.stock_listeners and not self.keep_outputs:
                passed.extend(map(weakref.ref, part))
                self._let_go(passed, batch_size)

    def _annotate(self, docs: list[Doc]) -> list[Doc]:
        """Encode a batch; if that fails, each Doc alone, so that one is lost at most."""
        try:
            self.set_annotations(docs, self.predict(docs))
        except Exception as err:
            if len(docs) > 1:
                return [done for doc in docs for done in self._annotate([doc])]
            self.get_error_handler()(self.name, self, docs, err)
            return []
        return docs

    def _let_go(self, passed: deque[weakref.ref[Doc]], batch_size: int) -> None:
        """Drop `trf_data` of Docs that every later component must have seen by now, and stock ones
        have read: their batches may be larger than ours."""
        nlp = self._nlp()
        awake = self.list_awake(ours=False)
        # Each later component holds back one batch at most.
        held_back = batch_size * (len(nlp.pipe_names) if nlp is not None else 8)
        while len(passed) > held_back:
            doc = passed.popleft()()
            if doc is not None and all(doc in x.read_docs for _, x in awake):
                doc._.trf_data = None

    def __call__(self, doc: Doc) -> Doc:
        """Encode one Doc."""
        self._annotate([doc])
        return doc

    @property
    def predictor(self) -> Predictor:
        """What the encoder predicts with, as its settings and this machine have it."""
        attrs = self.model.attrs
        return self.model.shims[0].predictor(attrs["backend"], attrs["precision"])

    def predict(self, docs: Iterable[Doc]) -> EncoderBatch:
        """Run the encoder over Docs without changing them.

        docs (Iterable[Doc]): The Docs.
        RETURNS (EncoderBatch): Their packed output; see `types.py` for shapes.
        """
        return self.model.predict(list(docs))

    def set_annotations(self, docs: Iterable[Doc], predictions: EncoderBatch) -> None:
        """Keep the output for the heads, and for stock listeners on the Docs.

        docs (Iterable[Doc]): The Docs.
        predictions (EncoderBatch): From `predict`.
        """
        docs = list(docs)
        self.link_enabled(docs)
        self.store.put(docs, predictions)
        if self.keep_outputs or self.stock_listeners:
            tokenizer = self.model.shims[0].encoder.tokenizer
            for doc, data in zip(docs, data_from_batch(docs, predictions, tokenizer)):
                doc._.trf_data = data

    # Training.

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Encode a batch and offer the output, with its gradient, to all listeners.

        examples (Iterable[Example]): The batch; only the predicted Docs count.
        drop (float): Not used: the encoder's dropout is set in its model.
        sgd (Optimizer): Not used: the step comes with `finish_update`.
        losses (dict[str, float]): Gets the squared norm of the gradient, as the
            stock component does.
        RETURNS (dict[str, float]): The losses.
        RAISES (ValueError): B563 if a stock component listens and cannot learn again; B566, B143
            if the encoder cannot.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "BertEncoder.update")
        self._finish_backward()
        docs = [eg.predicted for eg in examples]
        self.link_enabled(docs)
        if not docs:
            return losses
        self._check_passes()
        if self.r_drop_alpha:
            docs = docs * 2
        batch, backprop = self.model.begin_update(docs)

        def count(norm: float) -> None:
            losses[self.name] += norm

        second = None
        if self.adversary is not None and self.adversary.list_targets(self._encoder):
            around = partial(self.adversary.learn, self._encoder)
            second = SecondPass(partial(self.model.begin_update, docs), around)
        teacher = self.model.shims[0].teacher
        if teacher is not None:
            count(teacher.value)
        has_loss = teacher is not None
        make = partial(TrainingBatch, r_drop=self.r_drop_alpha, second=second, has_loss=has_loss)
        training = make(docs, batch, backprop, self.count_learners(docs), count)
        self.store.training = training
        if self.stock_listeners:
            data = data_from_batch(docs, batch, self.model.shims[0].encoder.tokenizer)

            def receive(gradients: list[Any]) -> list[Doc]:
                return training.report(gradient_from_data(batch, gradients))

            for listener in self.stock_listeners:
                listener.receive(listener.get_batch_id(docs), data, receive)
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Run the backward pass if a listener has not reported, and step.

        With `nlp.update(sgd=...)` the heads report after this: then the step
        follows their last report.

        sgd (Optimizer): The optimiser.
        """
        training = self.store.training
        if training is not None and training.is_waiting:
            training.then(lambda: self.model.finish_update(sgd))
            return
        self._finish_backward()
        self.model.finish_update(sgd)

    def _finish_backward(self) -> None:
        training, self.store.training = self.store.training, None
        if training is not None:
            training.finish()

    @property
    def _encoder(self) -> Any:
        return self.model.shims[0].encoder

    def _check_passes(self) -> None:
        """Look whether all that listen, and the encoder itself, can learn from a batch again."""
        if not self.store.learns_again:
            return
        stock = [
            name
            for name, listeners in self.listener_map.items()
            if not all(isinstance(x, BertListener) for x in listeners)
        ]
        if stock:
            raise ValueError(Errors.B563.format(names=", ".join(stock), encoder=self.name))
        if self.model.attrs.get("stateful"):
            raise ValueError(Errors.B566)
        if self.adversary is not None and not self.adversary.list_targets(self._encoder):
            # What sleeps at first is moved from the step on at which it begins to learn.
            with self.model.shims[0].all_awake() as encoder:
                self.adversary.find_targets(encoder)

    def rehearse(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, float]:
        """Refuse to rehearse.

        RAISES (NotImplementedError): B302 always.
        """
        raise NotImplementedError(Errors.B302.format(name=self.name))

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Language | None = None
    ) -> None:
        """Load the weights that the config names and link the listeners.

        get_examples (Callable): Not used.
        nlp (Language): The pipeline.
        RAISES (ValueError): B563, B566, B143 as in `update`.
        """
        self.model.initialize()
        if nlp is not None:
            self._nlp = weakref.ref(nlp)
            self.link_enabled()
        self._check_passes()
        self.tell_width(self.listeners)

    # Files.

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component, its weights as an ordinary Hugging Face folder.

        path (str | Path): A folder; the weights go to `encoder/` in it. What
            stood there survives a failed write.
        exclude (Iterable[str]): "vocab", "cfg" or "model".
        RAISES (ValueError): B308 if there are no weights.
        """
        shim = self.model.shims[0]
        if shim.encoder is None and "model" not in exclude:
            raise ValueError(Errors.B308.format(path=path, reason="never initialized"))

        def write_model(target: Path) -> None:
            with atomic_dir(target) as folder:
                shim.to_disk(folder)

        serialize = {
            "vocab": lambda p: self.vocab.to_disk(p),
            "cfg": lambda p: write_cfg(p, self.cfg),
            "encoder": write_model,
        }
        util.to_disk(path, serialize, ["encoder", *exclude] if "model" in exclude else exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "BertEncoder":
        """Read the component.

        path (str | Path): A folder that `to_disk` wrote.
        exclude (Iterable[str]): "vocab", "cfg" or "model".
        RAISES (ValueError): B303 if a file is missing; B100, B101 if the weights or the
            tokenizer are damaged; B307 for a setting that cannot be.
        """

        def read_model(target: Path) -> None:
            if not Path(target).is_dir():
                raise ValueError(Errors.B303.format(path=target, reason="there is no such folder"))
            self.model.shims[0].from_disk(Path(target))
            self.model.initialize()
            self.tell_width(self.listeners)

        deserialize = {
            "vocab": lambda p: self.vocab.from_disk(p),
            "cfg": lambda p: self._take_cfg(read_part(p, read_cfg)),
            "encoder": read_model,
        }
        util.from_disk(path, deserialize, ["encoder", *exclude] if "model" in exclude else exclude)
        return self

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "BertEncoder":
        """Load what `to_bytes` wrote."""
        deserialize = {
            "vocab": lambda data: self.vocab.from_bytes(data),
            "cfg": lambda data: self._take_cfg(read_cfg(data)),
            "model": lambda data: read_model(self.model, data),
        }
        util.from_bytes(bytes_data, deserialize, exclude)
        if self.model.shims[0].encoder is not None:
            self.model.initialize()
            self.tell_width(self.listeners)
        return self

    def _take_cfg(self, found: dict[str, Any]) -> None:
        take_old_settings(found, self, self._nlp(), {"keep_outputs": False})
