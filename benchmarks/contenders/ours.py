"""Our pipeline: `nlp.pipe`, one text at a time, questions, and where its time goes."""

import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import spacy
from spacy.language import Language

from benchmarks.contenders.common import read_inputs
from bert_spacy import make_question


def load(settings: dict[str, Any]) -> Language:
    """Load the pipeline that the settings name, with "config" and "exclude" of theirs.

    RAISES (ValueError): The encoder does not predict in "precision" here ("fp32" where it is not
        set), so that the row would claim what it does not measure.
    """
    nlp = spacy.load(
        settings["pipeline"],
        config=settings.get("config", {}),
        exclude=settings.get("exclude", []),
    )
    encoder: Any = nlp.get_pipe("bert_encoder")
    # An ELMo has one way to predict.
    name = encoder.predictor.name if "precision" in encoder.model.attrs else "fp32"
    wanted = settings.get("precision", "fp32")
    if name.split()[-1] != wanted:
        raise ValueError(f"this machine lacks what {wanted} needs: the encoder predicts in {name}")
    return nlp


class Pipe:
    """`nlp.pipe` over all texts.

    settings (dict): "pipeline"; perhaps "config", "exclude", "texts" (key of the inputs),
        "copies" (times that all texts are annotated) and "n_process".
    """

    def __init__(self, settings: dict[str, Any]):
        self.inputs = read_inputs(settings)
        self.texts = self.inputs[settings.get("texts", "texts")]
        self.copies = settings.get("copies", 1)
        self.pieces = self.inputs["pieces"][settings.get("texts", "texts")] * self.copies
        self.n_process = settings.get("n_process", 1)
        self.nlp = load(settings)

    def answers(self) -> dict[str, np.ndarray]:
        """Give labels and entities of all texts, and hidden states of some."""
        docs = list(self.nlp.pipe(self.texts, n_process=self.n_process))
        found = {}
        if docs[0].cats:
            found["label"] = np.array([max(doc.cats, key=doc.cats.__getitem__) for doc in docs])
        if self.nlp.has_pipe("bert_ner"):
            found["tags"] = np.array([f"{t.ent_iob_}-{t.ent_type_}" for d in docs for t in d])
        check = [self.nlp.make_doc(text) for text in self.inputs["check"]]
        batch = self.nlp.get_pipe("bert_encoder").predict(check)
        rows = zip(batch.layout.doc_pieces[:-1], batch.layout.doc_pieces[1:])
        found["hidden"] = np.stack([batch.hidden[a:b].mean(0).numpy() for a, b in rows])
        return found

    def run(self) -> int:
        """Annotate all texts; return their pieces."""
        for _ in self.nlp.pipe(self.texts * self.copies, n_process=self.n_process):
            pass
        return self.pieces


class Sweep(Pipe):
    """`nlp.pipe` over the texts of one point of a sweep."""

    def __init__(self, settings: dict[str, Any]):
        super().__init__(settings)
        list(self.nlp.pipe(self.texts[:64]))

    def run(  # type: ignore[override]
        self, key: str, copies: int = 1, batch_size: int = 256, budget: int | None = None
    ) -> int:
        """Annotate the texts under a key, several times over; return the pieces."""
        texts = self.inputs[key]
        self.nlp.get_pipe("bert_encoder").model.attrs["max_batch_pieces"] = budget
        stream = (text for _ in range(copies) for text in texts)
        for _ in self.nlp.pipe(stream, batch_size=batch_size):
            pass
        return self.inputs["pieces"][key] * copies


class OneText:
    """`nlp(text)` for one short text after the other."""

    def __init__(self, settings: dict[str, Any]):
        self.texts = read_inputs(settings)["sentences"][: settings["calls"]]
        self.nlp = load(settings)

    def label(self, text: str) -> str:
        """Classify one text."""
        cats = self.nlp(text).cats
        return max(cats, key=cats.__getitem__)

    def answers(self) -> dict[str, np.ndarray]:
        """Give the label of each text."""
        return {"label": np.array([self.label(text) for text in self.texts])}

    def run(self) -> int:
        """Classify all, one by one; return their number."""
        for text in self.texts:
            self.label(text)
        return len(self.texts)


class Questions:
    """Answers to all questions, through `make_question` and `nlp.pipe`."""

    def __init__(self, settings: dict[str, Any]):
        self.pairs = read_inputs(settings)["questions"]
        self.nlp = load(settings)

    def answers(self) -> dict[str, np.ndarray]:
        """Give scores of all pieces of some short contexts, and the answers to all."""
        some = [pair for pair in self.pairs if len(pair["context"]) < 800][:8]
        docs = [make_question(self.nlp, pair["question"], pair["context"]) for pair in some]
        encoder, qa = self.nlp.get_pipe("bert_encoder"), self.nlp.get_pipe("bert_qa")
        encoder.set_annotations(docs, encoder.predict(docs))
        return {"scores": qa.predict(docs).scores.numpy(), "answer": np.array(self._find())}

    def _find(self) -> list[str]:
        docs = (make_question(self.nlp, x["question"], x["context"]) for x in self.pairs)
        found = (doc._.answers for doc in self.nlp.pipe(docs))
        return [answers[0].text if answers else "" for answers in found]

    def run(self) -> int:
        """Answer all; return their number."""
        return len(self._find())


# Where an encoder may be computed: the outermost of these calls counts.
ENCODER_CALLS = (
    ("bert_spacy.nn.encoder", "TransformerEncoder", "forward"),
    ("bert_spacy.nn.fused", "FusedEncoder", "__call__"),
    ("onnxruntime", "InferenceSession", "run"),
    ("onnxruntime", "InferenceSession", "run_with_iobinding"),
)


class Share(Pipe):
    """The share of wall time of `nlp.pipe` in which no encoder computes."""

    def __init__(self, settings: dict[str, Any]):
        super().__init__(settings)
        self.inside = 0.0
        self.depth = threading.local()
        for module, kind, method in ENCODER_CALLS:
            try:
                owner = getattr(import_module(module), kind)
            except ImportError:
                continue
            setattr(owner, method, self._timed(getattr(owner, method)))

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if getattr(self.depth, "n", 0):
                return call(*args, **kwargs)
            self.depth.n = 1
            begin = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.inside += time.perf_counter() - begin
                self.depth.n = 0

        return timed

    def run(self) -> dict[str, float]:  # type: ignore[override]
        """Annotate all texts; return the pieces and the share."""
        self.inside = 0.0
        begin = time.perf_counter()
        units = super().run()
        if not self.inside:
            raise ValueError("no call of an encoder was seen: add it to ENCODER_CALLS")
        return {"units": units, "share": 1 - self.inside / (time.perf_counter() - begin)}
