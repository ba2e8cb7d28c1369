"""Read questions and answers in SQuAD's JSON layout, which CMRC and DRCD share, and its kin."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from .labels import Options
from .rows import QuestionRow, RowError, RowNote
from .text import (
    CleanText,
    clean_text,
    is_broken,
    parse_json_line,
    read_json,
    read_json_lines,
    read_lines,
)

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


@dataclass(frozen=True)
class _Paragraph:
    """A context and its questions, each with its place in the file.

    place (int | str): A line, or a place in a JSON file.
    context (Any): Should be text.
    questions (list[tuple[int | str, Any]] | None): None where a list should be.
    """

    place: int | str
    context: Any
    questions: list[tuple[int | str, Any]] | None


def read_squad(path: Path, options: SquadOptions) -> Iterator[QuestionRow | RowError]:
    """Read one question after the other.

    path (Path): The file, in SQuAD's layout; or questions that have each its context, as Hugging
        Face's data sets write them, in a list or one a line; or in the first layout of CMRC 2018.
    options (SquadOptions): See there.
    YIELDS (QuestionRow | RowError): Rows, repairs, and what is wrong with the others.
    """
    for item in _read_lines(path) if _has_rows(path) else _read_whole(path):
        if isinstance(item, RowError):
            yield item
            continue
        if not isinstance(item.context, str):
            yield RowError(str(path), item.place, "no paragraph with a context")
            continue
        if is_broken(item.context):
            yield RowError(str(path), item.place, "the context holds a lone surrogate")
            continue
        context = clean_text(item.context)
        yield from context.notes(str(path), item.place)
        for place, qa in item.questions or []:
            yield from _read_question(str(path), place, context, qa, options)
        if item.questions is None:
            yield RowError(str(path), item.place, "no list of questions 'qas'")


def _has_rows(path: Path) -> bool:
    """Tell whether a file has one question a line."""
    if path.suffix.lower() == ".jsonl":
        return True
    lines = ((number, line) for number, line in read_lines(path) if line.strip())
    first = list(islice(lines, 2))
    # SQuAD's own layout is one long line, which is not to be parsed twice.
    row = parse_json_line(path, *first[0]) if len(first) == 2 else None
    return isinstance(row, dict) and "question" in row


def _read_lines(path: Path) -> Iterator[_Paragraph | RowError]:
    for item in read_json_lines(path):
        yield item if isinstance(item, RowError) else _read_row(*item)


def _read_whole(path: Path) -> Iterator[_Paragraph | RowError]:
    """Go through the paragraphs of all articles."""
    content = read_json(path)
    if isinstance(content, RowError):
        yield content
        return
    if isinstance(content, dict) and "question" in content:
        yield _read_row(1, content)
        return
    articles = content.get("data") if isinstance(content, dict) else content
    if not isinstance(articles, list):
        yield _Paragraph("data", None, None)
    for i, article in enumerate(_as_list(articles)):
        place = f"data[{i}]"
        if not isinstance(article, dict):
            yield _Paragraph(place, None, None)
        elif "question" in article:
            yield _read_row(place, article)
        elif "context_text" in article:
            yield _read_paragraph(place, article, "context_text")
        elif not isinstance(article.get("paragraphs"), list):
            yield _Paragraph(place, None, None)
        else:
            for j, paragraph in enumerate(article["paragraphs"]):
                yield _read_paragraph(f"{place}.paragraphs[{j}]", paragraph, "context")


def _read_row(place: int | str, row: dict[str, Any]) -> _Paragraph:
    return _Paragraph(place, row.get("context"), [(place, row)])


def _read_paragraph(place: str, paragraph: Any, field: str) -> _Paragraph:
    """Read a paragraph; CMRC's first layout has other names, and answers without offsets."""
    if not isinstance(paragraph, dict):
        return _Paragraph(place, None, None)
    qas = paragraph.get("qas")
    questions: list[tuple[int | str, Any]] = []
    for k, qa in enumerate(_as_list(qas)):
        if isinstance(qa, dict) and "query_text" in qa:
            answers = [
                {"text": text, "answer_start": None} if isinstance(text, str) else text
                for text in _as_list(qa.get("answers"))
            ]
            qa = {"question": qa["query_text"], "id": qa.get("query_id"), "answers": answers}
        questions.append((f"{place}.qas[{k}]", qa))
    return _Paragraph(place, paragraph.get(field), questions if isinstance(qas, list) else None)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _read_question(
    path: str, place: int | str, context: CleanText, qa: Any, options: SquadOptions
) -> Iterator[QuestionRow | RowError]:
    """Check one question and align its answers."""
    qid = None
    if isinstance(qa, dict) and qa.get("id") is not None:
        qid = str(qa["id"])
        if is_broken(qid):
            yield RowError(path, place, "the id holds a lone surrogate")
            return
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
        if stated is None:
            # Without an offset the first place is taken, as the baselines of CMRC do.
            shifted, where = context.text.find(text), "in the context"
            count = context.text.count(text)
            if count > 1:
                reason = f"answer {text!r} has no 'answer_start'; the first of {count} places"
                yield RowNote(path, place, f"{reason} is taken", kind="first place")
        else:
            where = f"at {stated} or near it"
            shifted = context.shift(stated) if stated >= 0 else stated
        start = find_answer(context.text, text, shifted)
        if start is None:
            reason = f"answer {text!r} does not stand {where}"
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
    """Return the answers as given; none for a question marked impossible.

    A start of None says that it is not known.
    """
    if qa.get("is_impossible") is True:
        return []
    answers = qa.get("answers")
    if isinstance(answers, dict):  # Hugging Face's layout says by empty lists that there is none
        texts, starts = answers.get("text"), answers.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise _BadRow("'answers' has not as many 'text' as 'answer_start'")
        if not texts:
            return []
        answers = [{"text": text, "answer_start": n} for text, n in zip(texts, starts)]
    if not isinstance(answers, list) or not answers:
        raise _BadRow("no answers, and not marked impossible")
    for answer in answers:
        text = answer.get("text") if isinstance(answer, dict) else None
        if not isinstance(text, str) or not clean_text(text).text.strip() or is_broken(text):
            raise _BadRow(f"answer {answer!r} has no text that can be used")
        if type(answer.get("answer_start", "")) not in (int, type(None)):
            raise _BadRow(f"answer {text!r} has no whole number 'answer_start'")
    return answers
