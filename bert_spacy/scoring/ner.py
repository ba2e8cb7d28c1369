"""The scorer of entity recognition, over Examples of mixed corpora."""

from collections.abc import Callable, Iterable
from typing import Any

from spacy import registry
from spacy.scorer import get_ner_prf
from spacy.training import Example


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
        all None if there is no entity, neither gold nor predicted.
    """
    return get_ner_prf([eg for eg in examples if has_gold(eg)])


def has_gold(eg: Example) -> bool:
    """Tell whether the reference of an Example has entity annotation, if only "none here"."""
    return eg.reference.has_annotation("ENT_IOB")
