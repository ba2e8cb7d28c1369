"""The scorer of question answering, over Examples."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from spacy import registry
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import Errors
from ..types import ANSWERS, BEST_PROBABILITY, CONTEXT, NULL_PROBABILITY, SEGMENTS
from .calibration import brier_score, expected_error
from .squad import best_over_golds, cmrc_exact, cmrc_f1, is_mostly_han, squad_exact, squad_f1

RULES = ("auto", "squad", "cmrc")
QA_SCORES = (
    "qa_em",
    "qa_f1",
    "qa_em_answerable",
    "qa_f1_answerable",
    "qa_no_answer_acc",
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


def score_qa(
    examples: Iterable[Example], *, language_rule: str = "auto", **cfg: Any
) -> dict[str, Any]:
    """Score the best predicted answer of each Example that has gold answers.

    examples (Iterable[Example]): Those without gold answers are skipped.
    language_rule (str): See `create_qa_scorer_v1`.
    RETURNS (dict[str, Any]): Means in 0..1, None where there is nothing to
        score: qa_em, qa_f1, the same over answerable questions, the share of
        unanswerable ones left unanswered; and qa_n, the number of questions. Of the
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
        "qa_ece": expected_error(p, hit),
        "qa_brier": brier_score(p, hit),
        "qa_agreement": _mean([float(verdict) for verdict in agree if verdict is not None]),
        "qa_n": len(scores),
    }


def score_question(eg: Example, *, language_rule: str = "auto") -> QuestionScore:
    """Score the best predicted answer of one Example with gold answers.

    eg (Example): A predicted Doc without answers counts as "no answer".
    language_rule (str): See `create_qa_scorer_v1`.
    RETURNS (QuestionScore): What it earned.
    """
    golds = answer_texts(eg.reference)
    predicted = next(iter(answer_texts(eg.predicted)), "")
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


def given_probability(doc: Doc) -> float | None:
    """Return the probability of what a Doc gives as best, an answer or none.

    doc (Doc): A Doc with predicted answers.
    RETURNS (float | None): None if it holds no probability.
    """
    attrs = doc.spans[ANSWERS].attrs if ANSWERS in doc.spans else {}
    return attrs.get(BEST_PROBABILITY if attrs.get("answers") else NULL_PROBABILITY)


def agrees(doc: Doc) -> bool | None:
    """Tell whether what a Doc gives, an answer or none, is the more probable of the two.

    doc (Doc): A Doc with predicted answers.
    RETURNS (bool | None): None if it does not hold both probabilities.
    """
    attrs = doc.spans[ANSWERS].attrs if ANSWERS in doc.spans else {}
    best, null = attrs.get(BEST_PROBABILITY), attrs.get(NULL_PROBABILITY)
    return None if best is None or null is None else bool(attrs["answers"]) == (best >= null)


def _context(doc: Doc) -> str:
    segments = doc.spans.get(SEGMENTS, [])
    return next((span.text for span in segments if span.label_ == CONTEXT), doc.text)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
