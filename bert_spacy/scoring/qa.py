"""The scorer of question answering, over Examples."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from spacy import registry
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import Errors
from ..types import ANSWERS, BEST_PROBABILITY, CONTEXT, NULL_PROBABILITY, SEGMENTS, WITHHELD
from .calibration import brier_score, expected_error
from .squad import (
    best_no_answer_threshold,
    best_over_golds,
    cmrc_exact,
    cmrc_f1,
    is_mostly_han,
    squad_exact,
    squad_f1,
)

RULES = ("auto", "squad", "cmrc")
QA_SCORES = (
    "qa_em",
    "qa_f1",
    "qa_em_answerable",
    "qa_f1_answerable",
    "qa_no_answer_acc",
    "qa_best_em",
    "qa_best_f1",
    "qa_ece",
    "qa_brier",
    "qa_agreement",
)


@dataclass(frozen=True)
class QuestionScore:
    """What one question earned.

    exact (float): Exact match, 0.0 or 1.0.
    f1 (float): F1, 0..1.
    has_answer (bool): Whether the gold holds an answer.
    """

    exact: float
    f1: float
    has_answer: bool


@registry.scorers("bert-spacy.qa_scorer.v1")
def create_qa_scorer_v1(language_rule: str = "auto") -> Callable[..., dict[str, Any]]:
    """Create the scorer of question answering.

    language_rule (str): "squad" (words, English articles), "cmrc" (Chinese
        characters and words), or "auto": "cmrc" for each question whose gold
        answers and context are mostly Chinese characters, "squad" otherwise.
    RETURNS (Callable): Takes Examples, returns the scores of `score_qa`.
    RAISES (ValueError): B503 for another rule.
    """
    if language_rule not in RULES:
        raise ValueError(Errors.B503.format(rule=language_rule, allowed=", ".join(RULES)))
    return partial(score_qa, language_rule=language_rule)


def find_rule(scorer: Any) -> str:
    """Return the rule by which a scorer of a component compares answers.

    scorer (Callable): The scorer, or None.
    RETURNS (str): Its language rule; "auto" for what `create_qa_scorer_v1` has not made.
    """
    is_ours = isinstance(scorer, partial) and scorer.func is score_qa
    return str(scorer.keywords["language_rule"]) if is_ours else "auto"


def score_qa(
    examples: Iterable[Example], *, language_rule: str = "auto", **cfg: Any
) -> dict[str, Any]:
    """Score the best predicted answer of each Example that has gold answers.

    examples (Iterable[Example]): Those without gold answers are skipped.
    language_rule (str): See `create_qa_scorer_v1`.
    RETURNS (dict[str, Any]): Means in 0..1, None where there is nothing to
        score: qa_em, qa_f1, the same over answerable questions, the share of
        unanswerable ones left unanswered; and qa_n, the number of questions. If there are
        questions of both kinds, qa_best_em and qa_best_f1 are what the best threshold of
        "no answer" would reach, and qa_best_threshold is that of qa_best_f1. Of the
        probability of what is given, an answer or none, the expected calibration error
        qa_ece and the Brier score qa_brier against exact match; and qa_agreement, the
        share of questions where it is also the more probable of the two.
    """
    examples = [eg for eg in examples if has_gold(eg)]
    scores = [score_question(eg, language_rule=language_rule) for eg in examples]
    given = [given_probability(eg.predicted) for eg in examples]
    p = [value for value in given if value is not None]
    hit = [score.exact == 1.0 for score, value in zip(scores, given) if value is not None]
    agree = [agrees(eg.predicted) for eg in examples]
    answerable = [score for score in scores if score.has_answer]
    return {
        "qa_em": _mean([score.exact for score in scores]),
        "qa_f1": _mean([score.f1 for score in scores]),
        "qa_em_answerable": _mean([score.exact for score in answerable]),
        "qa_f1_answerable": _mean([score.f1 for score in answerable]),
        "qa_no_answer_acc": _mean([score.exact for score in scores if not score.has_answer]),
        **_best_scores(examples, scores, language_rule),
        "qa_ece": expected_error(p, hit),
        "qa_brier": brier_score(p, hit),
        "qa_agreement": _mean([float(verdict) for verdict in agree if verdict is not None]),
        "qa_n": len(scores),
    }


def score_question(
    eg: Example, *, language_rule: str = "auto", with_withheld: bool = False
) -> QuestionScore:
    """Score the best predicted answer of one Example with gold answers.

    eg (Example): A predicted Doc without answers counts as "no answer".
    language_rule (str): See `create_qa_scorer_v1`.
    with_withheld (bool): Score the answer to which "no answer" was preferred, if there is one.
    RETURNS (QuestionScore): What it earned.
    """
    golds = answer_texts(eg.reference)
    texts = answer_texts(eg.predicted)
    if with_withheld and not texts:
        texts = withheld_texts(eg.predicted)
    predicted = next(iter(texts), "")
    if language_rule == "auto":
        is_chinese = is_mostly_han([*golds, _context(eg.reference)])
    else:
        is_chinese = language_rule == "cmrc"
    exact, f1 = (cmrc_exact, cmrc_f1) if is_chinese else (squad_exact, squad_f1)
    return QuestionScore(
        exact=best_over_golds(exact, golds, predicted),
        f1=best_over_golds(f1, golds, predicted),
        has_answer=bool(golds),
    )


def has_gold(eg: Example) -> bool:
    """Tell whether the reference of an Example says what the answers are."""
    return ANSWERS in eg.reference.spans


def answer_texts(doc: Doc) -> list[str]:
    """Return the texts of a Doc's answers, best first, empty ones left out."""
    if ANSWERS not in doc.spans:
        return []
    group = doc.spans[ANSWERS]
    answers = group.attrs.get("answers")
    texts = [span.text for span in group] if answers is None else [a["text"] for a in answers]
    return [text for text in texts if text.strip()]


def withheld_texts(doc: Doc) -> list[str]:
    """Return the texts of the answers to which "no answer" was preferred, best first."""
    return [answer["text"] for answer in _attrs(doc).get(WITHHELD, [])]


def null_score(doc: Doc) -> float | None:
    """Return the score of "no answer" less that of the best answer.

    doc (Doc): A Doc with predicted answers.
    RETURNS (float | None): None if there is only one of the two.
    """
    score: float | None = _attrs(doc).get("null_score")
    return score if score is not None and math.isfinite(score) else None


def given_probability(doc: Doc) -> float | None:
    """Return the probability of what a Doc gives as best, an answer or none.

    doc (Doc): A Doc with predicted answers.
    RETURNS (float | None): None if it holds no probability.
    """
    attrs = _attrs(doc)
    return attrs.get(BEST_PROBABILITY if attrs.get("answers") else NULL_PROBABILITY)


def agrees(doc: Doc) -> bool | None:
    """Tell whether what a Doc gives, an answer or none, is the more probable of the two.

    doc (Doc): A Doc with predicted answers.
    RETURNS (bool | None): None if it does not hold both probabilities.
    """
    attrs = _attrs(doc)
    best, null = attrs.get(BEST_PROBABILITY), attrs.get(NULL_PROBABILITY)
    return None if best is None or null is None else bool(attrs["answers"]) == (best >= null)


def _best_scores(
    examples: Sequence[Example], given: Sequence[QuestionScore], language_rule: str
) -> dict[str, float | None]:
    """Score what the best threshold of "no answer" would reach, by exact match and by F1."""
    found = [null_score(eg.predicted) for eg in examples]
    gaps = {i: gap for i, gap in enumerate(found) if gap is not None}
    # The others earn the same at any threshold: they have no text to find an answer in.
    others = [i for i, gap in enumerate(found) if gap is None]
    has_both = len({score.has_answer for score in given}) == 2
    if not gaps or not has_both or any(answer_texts(examples[i].predicted) for i in others):
        return dict.fromkeys(("qa_best_em", "qa_best_f1", "qa_best_threshold"))
    scores = [
        score_question(eg, language_rule=language_rule, with_withheld=True)
        if withheld_texts(eg.predicted)
        else score
        for eg, score in zip(examples, given)
    ]

    def find_best(earned: list[float]) -> tuple[float, float]:
        threshold, best = best_no_answer_threshold(
            list(gaps.values()),
            [earned[i] for i in gaps],
            [scores[i].has_answer for i in gaps],
        )
        return threshold, (best * len(gaps) + sum(earned[i] for i in others)) / len(earned)

    _, best_em = find_best([score.exact for score in scores])
    threshold, best_f1 = find_best([score.f1 for score in scores])
    return {"qa_best_em": best_em, "qa_best_f1": best_f1, "qa_best_threshold": threshold}


def _attrs(doc: Doc) -> dict[str, Any]:
    return doc.spans[ANSWERS].attrs if ANSWERS in doc.spans else {}


def _context(doc: Doc) -> str:
    segments = doc.spans.get(SEGMENTS, [])
    return next((span.text for span in segments if span.label_ == CONTEXT), doc.text)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
