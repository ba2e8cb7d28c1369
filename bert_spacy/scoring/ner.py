"""The scorer of entity recognition, over Examples of mixed corpora."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from spacy import registry
from spacy.scorer import get_ner_prf
from spacy.training import Example

from ..scored import read_scored
from ..types import SCORED
from .calibration import brier_score, expected_error


@registry.scorers("bert-spacy.ner_scorer.v1")
def create_ner_scorer_v1() -> Callable[..., dict[str, Any]]:
    """Create the scorer of entity recognition.

    RETURNS (Callable): Takes Examples, returns the scores of `score_ner`.
    """
    return score_ner


def score_ner(examples: Iterable[Example], **cfg: Any) -> dict[str, Any]:
    """Score entities by exact span and label.

    examples (Iterable[Example]): Those whose reference has no entity annotation
        are skipped; a prediction over tokens without it counts neither way.
    RETURNS (dict[str, Any]): ents_p, ents_r, ents_f in 0..1 and ents_per_type;
        all None if there is no entity, neither gold nor predicted. And ents_ece,
        the expected calibration error, and ents_brier, of the probabilities of
        predicted entities; None if they have none.
    """
    scored = [eg for eg in examples if has_gold(eg)]
    p: list[float] = []
    hit: list[bool] = []
    for eg in scored:
        # A later component may have put others in their place.
        ents = {(ent.start, ent.end, ent.label_) for ent in eg.predicted.ents}
        scored_spans = read_scored(eg.predicted, SCORED)
        pairs = [((span.start, span.end, span.label_), score) for span, score in scored_spans]
        known = [(place, score) for place, score in pairs if place in ents]
        for (_, score), verdict in zip(known, judge_spans(eg, [place for place, _ in known])):
            if verdict is not None:
                p.append(score)
                hit.append(verdict)
    scores = {"ents_ece": expected_error(p, hit), "ents_brier": brier_score(p, hit)}
    return {**get_ner_prf(scored), **scores}


def judge_spans(eg: Example, spans: Sequence[tuple[int, int, str]]) -> list[bool | None]:
    """Tell which spans are gold entities, by spaCy's own rule.

    eg (Example): The Example.
    spans (Sequence[tuple[int, int, str]]): First token of the predicted Doc, end, label.
    RETURNS (list[bool | None]): None over tokens without gold annotation, or without
        any gold token.
    """
    gold = {(ent.start, ent.end, ent.label_) for ent in eg.reference.ents}
    align = eg.alignment.x2y
    verdicts: list[bool | None] = []
    for start, end, label in spans:
        index = align[start:end]
        if not len(index):
            verdicts.append(None)
            continue
        first, last = int(index[0]), int(index[-1]) + 1
        if any(token.ent_iob == 0 for token in eg.reference[first:last]):
            verdicts.append(None)
        else:
            verdicts.append((first, last, label) in gold)
    return verdicts


def has_gold(eg: Example) -> bool:
    """Tell whether the reference of an Example has entity annotation, if only "none here"."""
    return eg.reference.has_annotation("ENT_IOB")
