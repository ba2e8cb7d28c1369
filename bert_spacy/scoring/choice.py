"""The scorer of multiple choice, over Examples."""

from collections.abc import Callable, Iterable
from typing import Any

from spacy import registry
from spacy.training import Example

from ..segments import get_choice, get_choice_scores
from .calibration import brier_score, expected_error

CHOICE_SCORES = ("choice_acc", "choice_ece", "choice_brier")


@registry.scorers("bert-spacy.choice_scorer.v1")
def create_choice_scorer_v1() -> Callable[..., dict[str, Any]]:
    """Create the scorer of multiple choice.

    RETURNS (Callable): Takes Examples, returns the scores of `score_choice`.
    """
    return score_choice


def score_choice(examples: Iterable[Example], **cfg: Any) -> dict[str, Any]:
    """Score the chosen one of the choices of each Example that has a gold choice.

    examples (Iterable[Example]): Those without a gold choice are skipped. One without a
        predicted choice counts as wrong.
    RETURNS (dict[str, Any]): choice_acc, the share that is right, in 0..1; choice_n, the
        number of items; choice_ece, the expected calibration error, and choice_brier, of
        the probabilities of what was chosen. None where there is nothing to score.
    """
    hits: list[bool] = []
    p: list[float] = []
    judged: list[bool] = []
    for eg in examples:
        gold, index = get_choice(eg.reference), get_choice(eg.predicted)
        if gold is None:
            continue
        hits.append(index == gold)
        scores = get_choice_scores(eg.predicted)
        if index is not None and scores:
            p.append(scores[index])
            judged.append(index == gold)
    return {
        "choice_acc": sum(hits) / len(hits) if hits else None,
        "choice_n": len(hits),
        "choice_ece": expected_error(p, judged),
        "choice_brier": brier_score(p, judged),
    }
