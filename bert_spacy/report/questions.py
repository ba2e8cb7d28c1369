"""What question answering got right and wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

from spacy.tokens import Doc
from spacy.training import Example

from ..data.pairs import get_answers, get_question
from ..scoring.qa import answer_texts, has_gold, score_question
from ..types import ANSWERS

# Longest question of each group, in tokens; the last group has no end.
LENGTHS = (5, 10, 15, 20)

# First character, end (exclusive), label.
Place = tuple[int, int, str]


@dataclass(frozen=True)
class QuestionDoc:
    """A question with its context, answers and scores.

    gold_places (list[Place]): Where the gold answers stand in the context.
    predicted_places (list[Place]): Where the best predicted answer stands.
    """

    question: str
    n_tokens: int
    context: str
    golds: list[str]
    predicted: str
    gold_places: list[Place]
    predicted_places: list[Place]
    exact: float
    f1: float


@dataclass(frozen=True)
class QuestionGroup:
    """Mean scores of a group of questions, 0..1."""

    name: str
    exact: float
    f1: float
    count: int


@dataclass(frozen=True)
class QuestionResults:
    """The results of question answering.

    groups (list[QuestionGroup]): All questions, and those with and without answer.
    by_length (list[QuestionGroup]): By length of the question.
    docs (list[QuestionDoc]): Questions that did not get full marks, worst first.
    """

    groups: list[QuestionGroup]
    by_length: list[QuestionGroup]
    docs: list[QuestionDoc]


def question_results(examples: Sequence[Example], language_rule: str) -> QuestionResults | None:
    """Compare predicted with gold answers.

    examples (Sequence[Example]): Those without gold or predicted answers are left out.
    language_rule (str): See `create_qa_scorer_v1`.
    RETURNS (QuestionResults | None): None if none is left.
    """
    docs = [
        _question_doc(eg, language_rule)
        for eg in examples
        if has_gold(eg) and ANSWERS in eg.predicted.spans and get_question(eg.reference)
    ]
    if not docs:
        return None
    groups = [
        _group("all", docs),
        _group("with answer", [doc for doc in docs if doc.golds]),
        _group("without answer", [doc for doc in docs if not doc.golds]),
    ]
    by_length = []
    for low, high in zip((0, *LENGTHS), (*LENGTHS, None)):
        name = f"{low + 1} to {high} tokens" if high else f"over {low} tokens"
        chosen = [d for d in docs if d.n_tokens > low and (high is None or d.n_tokens <= high)]
        by_length.append(_group(name, chosen))
    worst = sorted((doc for doc in docs if doc.f1 < 1), key=lambda doc: doc.f1)
    return QuestionResults(_filled(groups), _filled(by_length), worst)


def _question_doc(eg: Example, language_rule: str) -> QuestionDoc:
    pair = get_question(eg.reference)
    question, context = pair if pair else (eg.reference[:0], eg.reference[:])
    score = score_question(eg, language_rule=language_rule)
    return QuestionDoc(
        question=question.text,
        n_tokens=len(question),
        context=context.text,
        golds=answer_texts(eg.reference),
        predicted=next(iter(answer_texts(eg.predicted)), ""),
        gold_places=_places(eg.reference, "gold")[:1],
        predicted_places=_places(eg.predicted, "predicted")[:1],
        exact=score.exact,
        f1=score.f1,
    )


def _places(doc: Doc, label: str) -> list[Place]:
    return [
        (answer.start_char, answer.end_char, label)
        for answer in get_answers(doc)
        if answer.start_char >= 0
    ]


def _group(name: str, docs: Sequence[QuestionDoc]) -> QuestionGroup:
    count = len(docs)
    exact = sum(doc.exact for doc in docs) / max(count, 1)
    f1 = sum(doc.f1 for doc in docs) / max(count, 1)
    return QuestionGroup(name, exact, f1, count)


def _filled(groups: Sequence[QuestionGroup]) -> list[QuestionGroup]:
    return [group for group in groups if group.count]
