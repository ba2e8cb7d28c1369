"""What changes when a pipeline's encoder predicts in another way: states, labels, scores, speed."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example
from torch import Tensor

from ..nn.extras import Extras
from ..pipeline.encoder import BertEncoder
from ..pipeline.textcat import BertTextCategorizer
from ..pipeline.textcat_multilabel import BertMultilabelTextCategorizer
from ..targets import get_targets
from ..types import ANSWERS

# What a predicted target may move and still count as the same, in standard deviations.
TARGET_STEP = 0.05
# Docs that hidden states and speed are compared on, and how often speed is.
COMPARED_DOCS, ROUNDS = 200, 3


@dataclass(frozen=True)
class Setting:
    """How an encoder predicts.

    backend (str): "torch", "onnx" or "auto".
    precision (str): "fp32", "bf16", "int8" or "auto".
    extras (Extras): Files that the backend needs.
    """

    backend: str
    precision: str
    extras: Extras

    @staticmethod
    def of(encoder: BertEncoder) -> "Setting":
        """Return the present setting of an encoder."""
        attrs = encoder.model.attrs
        return Setting(attrs["backend"], attrs["precision"], encoder.model.shims[0].extras)

    def apply(self, encoder: BertEncoder) -> None:
        """Let an encoder predict in this way."""
        encoder.model.attrs.update(backend=self.backend, precision=self.precision)
        encoder.model.shims[0].set_extras(self.extras)


@dataclass(frozen=True)
class Measurement:
    """What a pipeline gives on the sample.

    scores (dict[str, float]): Of each head that the sample has gold for, as a rule 0..1; those
        that are no finite number are left out.
    without_gold (list[str]): Names of the components that have scores, none of which is there.
    labels (list[Any]): What the heads say of each Doc.
    targets (list[dict[str, float]]): The numbers that regressors give each Doc.
    hidden (Tensor): Hidden states of the pieces of the first Docs. Shape (P, H).
    """

    scores: dict[str, float]
    without_gold: list[str]
    labels: list[Any]
    targets: list[dict[str, float]]
    hidden: Tensor


@dataclass(frozen=True)
class Parity:
    """One setting compared with the pipeline as it was.

    name (str): Backend and precision that really ran.
    speed (float): Speed of `nlp.pipe` as a multiple of the old one, median of rounds.
    docs_per_second (tuple[float, float]): The old speed and the new one, medians, on this machine.
    max_difference (float): Largest difference of a hidden state.
    relative_error (float): Norm of the difference over the norm of the hidden states.
    agreement (float): Share of Docs for which every head says the same, 0..1; predicted targets
        may differ by TARGET_STEP of their spread.
    before, after (dict[str, float]): Scores of the heads, as a rule 0..1; empty without gold.
    """

    name: str
    speed: float
    docs_per_second: tuple[float, float]
    max_difference: float
    relative_error: float
    agreement: float
    before: dict[str, float]
    after: dict[str, float]

    @property
    def worst_drop(self) -> float:
        """Points (of 100) that the worst head loses; 0 if none does.

        A score that can be computed no more, or hidden states that are no numbers, are a loss of
        all 100.
        """
        if not math.isfinite(self.relative_error):
            return 100.0
        drops = (
            100 * (score - self.after[name]) if name in self.after else 100.0
            for name, score in self.before.items()
        )
        return max([0.0, *drops])


class Trial:
    """A pipeline and a sample to compare settings of its encoder on.

    nlp (Language): The pipeline.
    encoder (BertEncoder): Its encoder.
    read (Callable): Returns the sample, each time with Docs of its own.
    """

    def __init__(self, nlp: Language, encoder: BertEncoder, read: Callable[[], Iterable[Example]]):
        self.nlp = nlp
        self.encoder = encoder
        self.read = read
        self.old = Setting.of(encoder)
        self._before = self._measure()

    @property
    def without_gold(self) -> list[str]:
        """Names of the components that have scores, none of which the sample has gold for."""
        return self._before.without_gold

    def compare(self, new: Setting) -> Parity:
        """Measure a setting against the pipeline as it was, which is then set again."""
        new.apply(self.encoder)
        after = self._measure()
        name = self.encoder.predictor.name
        speed, docs_per_second = self._race(new)
        self.old.apply(self.encoder)
        difference = after.hidden - self._before.hidden
        same = np.array([a == b for a, b in zip(self._before.labels, after.labels)], dtype=bool)
        same &= _are_near(self._before.targets, after.targets)
        return Parity(
            name=name,
            speed=speed,
            docs_per_second=docs_per_second,
            max_difference=float(difference.abs().max()) if difference.numel() else 0.0,
            relative_error=float(difference.norm() / self._before.hidden.norm().clamp(min=1e-12)),
            agreement=float(same.mean()) if len(same) else 1.0,
            before=self._before.scores,
            after=after.scores,
        )

    def _docs(self) -> Iterator[Doc]:
        return (example.predicted for example in islice(self.read(), COMPARED_DOCS))

    def _measure(self) -> Measurement:
        examples = list(self.read())
        for example, doc in zip(examples, self.nlp.pipe([eg.predicted for eg in examples])):
            example.predicted = doc
        found = Scorer(nlp=self.nlp).score(examples)
        wanted = _main_scores(self.nlp, found)
        scores = {
            name: float(found[name])
            for name in sorted({name for part in wanted.values() for name in part})
            if isinstance(found.get(name), float | int) and math.isfinite(found[name])
        }
        without = [pipe for pipe, names in wanted.items() if names and not scores.keys() & names]
        batch = self.encoder.predict(self._docs())
        rows = np.arange(int(batch.layout.doc_pieces[-1]))
        docs = [example.predicted for example in examples]
        labels = [labels_of(self.nlp, doc) for doc in docs]
        targets = [get_targets(doc) for doc in docs]
        return Measurement(scores, without, labels, targets, batch.rows(rows))

    def _race(self, new: Setting) -> tuple[float, tuple[float, float]]:
        """Return how many times as fast a setting is, and the Docs per second, old and new."""
        rounds = []
        for _ in range(ROUNDS):
            seconds = []
            for setting in (self.old, new):
                setting.apply(self.encoder)
                docs = list(self._docs())
                # The first Docs lay out weights and open sessions.
                list(self.nlp.pipe(doc.copy() for doc in docs[:8]))
                began = time.perf_counter()
                for _ in self.nlp.pipe(docs):
                    pass
                seconds.append(max(time.perf_counter() - began, 1e-9))
            rounds.append(seconds)
        old, late = (round(len(docs) / statistics.median(side), 1) for side in zip(*rounds))
        return statistics.median(before / after for before, after in rounds), (old, late)


def labels_of(nlp: Language, doc: Doc) -> tuple[Any, ...]:
    """Return what the components of a pipeline have said of a Doc, without probabilities.

    nlp (Language): The pipeline.
    doc (Doc): A Doc that has gone through it.
    RETURNS (tuple): The labels of each classifier, the best answer, entities, other spans, such
        as the chosen one, and the annotation of tokens.
    """
    classes = tuple(_classes_of(pipe, doc) for _, pipe in nlp.pipeline)
    entities = tuple((ent.start, ent.end, ent.label_) for ent in doc.ents)
    answers = doc._.answers if doc.has_extension("answers") else []
    spans = tuple(
        (key, tuple((span.start, span.end, span.label_) for span in group))
        for key, group in sorted(doc.spans.items())
        if key != ANSWERS
    )
    tokens = tuple((token.tag_, token.dep_, token.head.i) for token in doc)
    answer = answers[0].text if answers else None
    return classes, answer, entities, spans, tokens


def _classes_of(pipe: Any, doc: Doc) -> tuple[str, ...]:
    """Return the labels that a classifier gives a Doc; none for other components."""
    if isinstance(pipe, BertMultilabelTextCategorizer):
        return tuple(pipe.given_labels(doc))
    if not isinstance(pipe, BertTextCategorizer | TextCategorizer):
        return ()
    known = [label for label in pipe.labels if label in doc.cats]
    if isinstance(pipe, MultiLabel_TextCategorizer):
        return tuple(x for x in known if doc.cats[x] >= pipe.cfg["threshold"])
    return (max(known, key=doc.cats.__getitem__),) if known else ()


def _are_near(
    before: Sequence[dict[str, float]], after: Sequence[dict[str, float]]
) -> NDArray[np.bool_]:
    """Say of which Docs all targets have stayed where they were.

    before, after (Sequence[dict[str, float]]): Predicted targets of each Doc.
    RETURNS (NDArray): Whether each differs by at most TARGET_STEP of its spread over all Docs.
        Shape (D,).
    """
    near = np.array([a.keys() == b.keys() for a, b in zip(before, after)], dtype=bool)
    for name in {name for row in before for name in row}:
        x, y = (np.array([r.get(name, np.nan) for r in rows]) for rows in (before, after))
        known = ~np.isnan(x)
        near &= ~known | (np.abs(x - y) <= TARGET_STEP * x[known].std() + 1e-6)
    return near


def _main_scores(nlp: Language, found: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return for each component of a pipeline the names of the scores that count.

    nlp (Language): The pipeline.
    found (Mapping[str, Any]): All scores. Of several components of one kind each has its own,
        whose name begins with that of the component.
    """
    weights = {name: nlp.get_pipe_meta(name).default_score_weights for name in nlp.pipe_names}
    return {
        pipe: {
            own if (own := f"{pipe}_{name}") in found else name
            for name, weight in (part or {}).items()
            if weight
        }
        for pipe, part in weights.items()
    }
