"""Run a pipeline on gold Docs and collect its results."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch

from ..data.corpus import make_example
from ..layers.encoder import count_cut
from ..pipeline.encoder import BertEncoder
from ..pipeline.qa import BertQuestionAnswerer
from ..scoring.choice import CHOICE_SCORES, score_choice
from ..scoring.ner import score_ner
from ..scoring.qa import QA_SCORES, find_rule, score_qa
from ..scoring.regression import score_regression
from ..types import SEGMENTS
from .choices import ChoiceResults, choice_results
from .classes import ClassResults, class_results
from .curves import Curves
from .entities import EntityResults, entity_results
from .questions import QuestionResults, question_results
from .targets import TargetResults, target_results
from .trust import TrustResults, trust_results

REGRESSION_SUMMARY = ("regression_pearson", "regression_spearman")
ENTS_SUMMARY = ("ents_p", "ents_r", "ents_f")
# Pairs whose pieces are counted together.
DOCS_AT_ONCE = 1000


@dataclass(frozen=True)
class Analysis:
    """All results of a pipeline; None, or an empty list, where pipeline or gold have nothing.

    name (str): Name of the pipeline.
    pipes (list[str]): Names of its components.
    n_docs (int): Docs read.
    summary (dict[str, float]): Overall scores by spaCy's names, 0..1; those of several classifiers
        with the name of each.
    cut_docs (int): Pairs, questions and choices that the encoder did not read whole.
    cut_pieces (int): Pieces that it left out of them.
    """

    name: str
    pipes: list[str]
    n_docs: int
    summary: dict[str, float]
    classes: list[ClassResults]
    entities: EntityResults | None
    questions: QuestionResults | None
    choices: ChoiceResults | None
    targets: list[TargetResults]
    curves: Curves | None
    trust: list[TrustResults] = field(default_factory=list)
    cut_docs: int = 0
    cut_pieces: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to compare."""
        found = (self.classes, self.entities, self.questions, self.choices, self.targets)
        return not any(found)


def analyse(
    nlp: Language,
    references: Iterable[Doc],
    *,
    curves: Curves | None = None,
    batch_size: int | None = None,
) -> Analysis:
    """Run a pipeline on gold Docs and compare.

    nlp (Language): The pipeline.
    references (Iterable[Doc]): The gold Docs.
    curves (Curves): Learning curves to pass on.
    batch_size (int): Docs per batch; the pipeline's own if None.
    RETURNS (Analysis): The results.
    """
    examples = [make_example(nlp, doc) for doc in references]
    trust = trust_results(nlp, examples)
    predicted = nlp.pipe((eg.predicted for eg in examples), batch_size=batch_size)
    examples = [Example(doc, eg.reference) for eg, doc in zip(examples, predicted)]
    classes = class_results(nlp, examples)
    entities = entity_results(examples)
    # Of several, the last writes the answers that stand.
    heads = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, BertQuestionAnswerer)]
    rule = find_rule(heads[-1].scorer) if heads else "auto"
    questions = question_results(examples, rule)
    choices = choice_results(examples)
    targets = target_results(examples)
    summary: dict[str, float] = {}
    for part in classes:
        end = f" ({part.name})" if len(classes) > 1 else ""
        summary.update({f"{key}{end}": value for key, value in part.summary.items()})
    if entities:
        summary.update(_pick(score_ner(examples), ENTS_SUMMARY))
    if questions:
        summary.update(_pick(score_qa(examples, language_rule=rule), QA_SCORES))
    if choices:
        summary.update(_pick(score_choice(examples), CHOICE_SCORES))
    if targets:
        summary.update(_pick(score_regression(examples), REGRESSION_SUMMARY))
    name = "_".join(filter(None, (nlp.lang, nlp.meta.get("name"))))
    pipes = list(nlp.pipe_names)
    results = (classes, entities, questions, choices, targets)
    cut = _count_cut(nlp, [eg.predicted for eg in examples])
    return Analysis(name, pipes, len(examples), summary, *results, curves, trust, *cut)


def _count_cut(nlp: Language, docs: list[Doc]) -> tuple[int, int]:
    """Count the Docs that an encoder does not read whole, and the pieces it leaves out."""
    encoders = [pipe.model for _, pipe in nlp.pipeline if isinstance(pipe, BertEncoder)]
    n_docs = n_pieces = 0
    for model in encoders:
        if "pair_overflow" not in model.attrs:  # an ELMo has no windows
            continue
        for batch in minibatch((doc for doc in docs if SEGMENTS in doc.spans), DOCS_AT_ONCE):
            n_cut = count_cut(model, batch)
            n_docs += int((n_cut > 0).sum())
            n_pieces += int(n_cut.sum())
    return n_docs, n_pieces


def _pick(scores: dict[str, Any], names: Sequence[str]) -> dict[str, float]:
    return {name: float(scores[name]) for name in names if scores[name] is not None}
