"""Read multiple choice: SWAG's table, C3's nested JSON, and ARC's lines."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .labels import Options, find_column, locate
from .rows import ChoiceRow, RowError, RowNote
from .tables import drop_blank_end, read_csv_cells
from .text import CleanText, clean_text, is_broken, read_json, read_json_lines

_ENDING = re.compile(r"ending(\d+)")


class _BadRow(ValueError):
    """An item that cannot be used; the message says why."""


def read_swag(path: Path, options: Options) -> Iterator[ChoiceRow | RowError]:
    """Read SWAG's .csv: sent1 is the context, sent2 begins what each ending continues.

    path (Path): The file, with a header. Without a column "label" the rows have no gold.
    options (Options): Nothing to choose.
    YIELDS (ChoiceRow | RowError): Rows and what is wrong with the others.
    RAISES (ValueError): B405 if the header lacks sent1, sent2 or ending0; B428 if a name is there
        twice.
    """
    records = list(read_csv_cells(path))
    drop_blank_end(records)
    header = records.pop(0) if records else None
    if header is None or isinstance(header, RowError):
        yield from [] if header is None else [header]
        return
    names = [name.strip() for name in header[1]]
    first = [find_column(name, names, len(names), path) for name in ("sent1", "sent2", "ending0")]
    numbers = sorted(int(found[1]) for name in names if (found := _ENDING.fullmatch(name)))
    endings = [locate(f"ending{number}", names, path) for number in numbers]
    label = locate("label", names, path) if "label" in names else None
    for record in records:
        if isinstance(record, RowError):
            yield record
            continue
        number, cells = record
        try:
            if len(cells) != len(names):
                raise _BadRow(f"{len(cells)} columns where {len(names)} are expected")
            gold = None if label is None else _read_index(cells[label], len(endings))
            texts = [cells[place] for place in (*first[:2], *endings)]
            yield from _check_item(str(path), number, texts[0], texts[1], texts[2:], gold)
        except _BadRow as err:
            yield RowError(str(path), number, str(err))


def read_c3(path: Path, options: Options) -> Iterator[ChoiceRow | RowError]:
    """Read C3's JSON: a list of [paragraphs, questions, id].

    path (Path): The file. Paragraphs are joined by line feeds. A question without "answer"
        has no gold.
    options (Options): Nothing to choose.
    YIELDS (ChoiceRow | RowError): Rows, each with its place in the file, and what is wrong
        with the others.
    """
    content = read_json(path)
    if isinstance(content, RowError):
        yield content
        return
    if not isinstance(content, list):
        yield RowError(str(path), 1, "not a list of documents")
        return
    for i, document in enumerate(content):
        place = f"[{i}]"
        try:
            paragraphs, questions, name = _get_document(document)
        except _BadRow as err:
            yield RowError(str(path), place, str(err))
            continue
        for j, item in enumerate(questions):
            where = f"{place}[1][{j}] id={name}"
            try:
                if not isinstance(item, dict):
                    raise _BadRow("no question with choices")
                choices = _get_texts(item.get("choice"), "choice")
                gold = None
                if item.get("answer") is not None:
                    gold = _find_answer(item["answer"], choices)
                question = item.get("question")
                yield from _check_item(
                    str(path), where, "\n".join(paragraphs), question, choices, gold
                )
            except _BadRow as err:
                yield RowError(str(path), where, str(err))


def read_arc(path: Path, options: Options) -> Iterator[ChoiceRow | RowError]:
    """Read ARC's .jsonl, which has no contexts.

    path (Path): The file. A row without "answerKey" has no gold.
    options (Options): Nothing to choose.
    YIELDS (ChoiceRow | RowError): Rows and what is wrong with the others.
    """
    for item in read_json_lines(path):
        if isinstance(item, RowError):
            yield item
            continue
        number, row = item
        try:
            question = row.get("question")
            if not isinstance(question, dict):
                raise _BadRow("no question")
            choices = question.get("choices")
            if not isinstance(choices, list) or not all(isinstance(x, dict) for x in choices):
                raise _BadRow("no list of choices in the question")
            texts = _get_texts([choice.get("text") for choice in choices], "question.choices")
            gold = None
            if row.get("answerKey") is not None:
                gold = _find_answer(row["answerKey"], [choice.get("label") for choice in choices])
            yield from _check_item(str(path), number, "", question.get("stem"), texts, gold)
        except _BadRow as err:
            yield RowError(str(path), number, str(err))


def _check_item(
    path: str,
    line: int | str,
    context: str,
    question: Any,
    choices: Sequence[str],
    gold: int | None,
) -> Iterator[ChoiceRow | RowError]:
    """Clean the texts of an item and yield its notes and its row.

    path (str): The file.
    line (int | str): Where it stands.
    context (str): The context, or nothing.
    question (Any): The question, or the beginning of what the choices continue.
    choices (Sequence[str]): The choices.
    gold (int): Which is right; None for no gold.
    RAISES (_BadRow): If it cannot be used.
    """
    if not isinstance(question, str):
        raise _BadRow("the question is missing or no text")
    cleaned: list[CleanText] = []
    for text in (context, question, *choices):
        if is_broken(text):
            raise _BadRow("not valid Unicode: undecodable bytes or lone surrogates")
        cleaned.append(clean_text(text))
    first, second, *rest = (item.text.strip() for item in cleaned)
    if len(rest) < 2:
        raise _BadRow(f"{len(rest)} choices where two or more are needed")
    if "" in rest:
        raise _BadRow(f"choice {rest.index('')} (counted from 0) is empty")
    if not first and not second:
        raise _BadRow("context and question are empty")
    if gold is not None and rest.count(rest[gold]) > 1:
        raise _BadRow(f"the right choice {rest[gold]!r} stands there twice")
    for item in cleaned:
        yield from item.notes(path, line)
    if len(set(rest)) < len(rest):
        reason = "two choices are equal, and neither is right"
        yield RowNote(path, line, reason, kind="equal choices")
    yield ChoiceRow(path, line, first, second, rest, gold)


def _get_document(document: Any) -> tuple[list[str], list[Any], Any]:
    """Return the paragraphs, questions and id of one of C3's documents."""
    if not isinstance(document, list) or len(document) != 3 or not isinstance(document[1], list):
        raise _BadRow("not [paragraphs, questions, id]")
    return _get_texts(document[0], "paragraphs"), document[1], document[2]


def _get_texts(values: Any, name: str) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _BadRow(f"'{name}' is not a list of texts")
    return values


def _find_answer(answer: Any, choices: Sequence[Any]) -> int:
    """Return the place of the one choice that is named."""
    count = choices.count(answer)
    if count != 1:
        often = "none" if not count else f"{count}"
        raise _BadRow(f"answer {answer!r} is {often} of the choices {choices}")
    return choices.index(answer)


def _read_index(value: str, n_choices: int) -> int:
    """Return the number of the right choice."""
    if not re.fullmatch(r"\d+", value.strip(), re.ASCII) or int(value) >= n_choices:
        raise _BadRow(f"label {value!r} is not a number from 0 to {n_choices - 1}")
    return int(value)
