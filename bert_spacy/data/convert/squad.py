"""Read questions and answers from SQuAD's JSON layout, which CMRC and DRCD share."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .labels import Options
from .rows import QuestionRow, RowError, RowNote
from .text import CleanText, clean_text, is_broken, read_json

REPAIR_DISTANCE = 50


@dataclass(frozen=True)
class SquadOptions(Options):
    """Options of the format squad.

    keep_unaligned (bool): Whether to keep answers that do not stand in the context,
        with start -1: they count for scoring but cannot be trained on.
    """

    keep_unaligned: bool = False


class _BadRow(ValueError):
    """A question that cannot be used; the message says why."""


def read_squad(path: Path, options: SquadOptions) -> Iterator[QuestionRow | RowError]:
    """Read one question after the other.

    path (Path): The file.
    options (SquadOptions): See there.
    YIELDS (QuestionRow | RowError): Rows, repairs, and what is wrong with the others.
    """
    content = read_json(path)
    if isinstance(content, RowError):
        yield content
        return
    articles = content.get("data") if isinstance(content, dict) else content
    for place, paragraph in _walk(articles, "data", "paragraphs"):
        if not isinstance(paragraph, dict) or not isinstance(paragraph.get("context"), str):
            yield RowError(str(path), place, "no paragraph with a context")
            continue
        if is_broken(paragraph["context"]):
            yield RowError(str(path), place, "the context holds a lone surrogate")
            continue
        context = clean_text(paragraph["context"])
        yield from context.notes(str(path), place)
        for k, qa in enumerate(_as_list(paragraph.get("qas"))):
            yield from _read_question(str(path), f"{place}.qas[{k}]", context, qa, options)
        if not isinstance(paragraph.get("qas"), list):
            yield RowError(str(path), place, "no list of questions 'qas'")


def _walk(articles: Any, name: str, inner: str) -> Iterator[tuple[str, Any]]:
    """Go through the paragraphs of all articles, each with its place in the file."""
    if not isinstance(articles, list):
        yield name, None
    for i, article in enumerate(_as_list(articles)):
        paragraphs = article.get(inner) if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            yield f"{name}[{i}]", None
        for j, paragraph in enumerate(_as_list(paragraphs)):
            yield f"{name}[{i}].{inner}[{j}]", paragraph


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _read_question(
    path: str, place: str, context: CleanText, qa: Any, options: SquadOptions
) -> Iterator[QuestionRow | RowError]:
    """Check one question and align its answers."""
    qid = None
    if isinstance(qa, dict) and qa.get("id") is not None:
        qid = str(qa["id"])
        place = f"{place} id={qid}"
    try:
        question = _get_question(qa)
        given = _get_answers(qa)
    except _BadRow as err:
        yield RowError(path, place, str(err))
        return
    answers = []
    for answer in given:
        text = clean_text(answer["text"]).text
        stated = answer["answer_start"]
        shifted = context.shift(stated) if stated >= 0 else stated
        start = find_answer(context.text, text, shifted)
        if start is None:
            reason = f"answer {text!r} does not stand at {stated} or near it"
            if not options.keep_unaligned:
                yield RowError(path, place, f"{reason}; it is left out")
                continue
            yield RowNote(path, place, f"{reason}; kept for scoring", kind="unaligned")
            answers.append({"text": text, "start": -1, "end": -1})
            continue
        if start != shifted:
            reason = f"answer {text!r} stands at {start}, not at {shifted}"
            yield RowNote(path, place, reason, kind="repaired")
        answers.append({"text": text, "start": start, "end": start + len(text)})
    if answers or not given:
        yield QuestionRow(path, place, question, context.text, answers, qid)


def find_answer(context: str, text: str, start: int) -> int | None:
    """Find where an answer stands in its context.

    context (str): The context.
    text (str): The answer.
    start (int): Where it is said to stand, in characters.
    RETURNS (int): `start` if it is right; else the only occurrence, or the nearest
        one within 50 characters of `start`; None if there is none.
    """
    if start >= 0 and context.startswith(text, start):
        return start
    places = []
    place = context.find(text)
    while place >= 0:
        places.append(place)
        place = context.find(text, place + 1)
    if len(places) == 1:
        return places[0]
    near = [place for place in places if start >= 0 and abs(place - start) <= REPAIR_DISTANCE]
    return min(near, key=lambda place: abs(place - start), default=None)


def _get_question(qa: Any) -> str:
    """Return the question, cleaned and without white space around it."""
    if not isinstance(qa, dict) or not isinstance(qa.get("question"), str):
        raise _BadRow("no question")
    if is_broken(qa["question"]):
        raise _BadRow("the question holds a lone surrogate")
    question = clean_text(qa["question"]).text.strip()
    if not question:
        raise _BadRow("the question is empty")
    return question


def _get_answers(qa: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the answers as given; none for a question marked impossible."""
    if qa.get("is_impossible") is True:
        return []
    answers = qa.get("answers")
    if not isinstance(answers, list) or not answers:
        raise _BadRow("no answers, and not marked impossible")
    for answer in answers:
        text = answer.get("text") if isinstance(answer, dict) else None
        if not isinstance(text, str) or not clean_text(text).text.strip() or is_broken(text):
            raise _BadRow(f"answer {answer!r} has no text that can be used")
        if type(answer.get("answer_start")) is not int:
            raise _BadRow(f"answer {text!r} has no whole number 'answer_start'")
    return answers
