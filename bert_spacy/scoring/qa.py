"""The scorer of question answering, over Examples."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from spacy import registry
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import Errors
from ..types import ANSWERS, CONTEXT, SEGMENTS
from .squad import best_over_golds, cmrc_exact, cmrc_f1, is_mostly_han, squad_exact, squad_f1

RULES = ("auto", "squad", "cmrc")
QA_SCORES = (
    "qa_em",
    "qa_f1",
    "qa_em_answerable",
    "qa_f1_answerable",
    "qa_no_answer_acc",
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
        unanswerable ones left unanswered; and qa_n, the number of questions.
    """
    scores = [score_question(eg, language_rule=language_rule) for eg in examples if has_gold(eg)]
    answerable = [score for score in scores if score.has_answer]
    return {
        "qa_em": _mean([score.exact for score in scores]),
        "qa_f1": _mean([score.f1 for score in scores]),
        "qa_em_answerable": _mean([score.exact for score in answerable]),
        "qa_f1_answerable": _mean([score.f1 for score in answerable]),
        "qa_no_answer_acc": _mean([score.exact for score in scores if not score.has_answer]),
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


def _context(doc: Doc) -> str:
    segments = doc.spans.get(SEGMENTS, [])
    return next((span.text for span in segments if span.label_ == CONTEXT), doc.text)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
