"""Find texts that stand there twice with different gold."""

from collections.abc import Iterable, Iterator
from typing import Any

from .rows import ChoiceRow, PairRow, QuestionRow, Row, RowError, RowNote, TextRow, WordsRow

# What is compared in another way than other gold.
_ANSWER, _ENTITIES = "answer is", "entities are"


def note_contradictions(
    rows: Iterable[Row | RowError], lang: str | None
) -> Iterator[Row | RowError]:
    """Pass rows on, each that contradicts an earlier one after a note that says so.

    Categories, targets, entities, answers and the right choice are compared, over all files; gold
    that is missing contradicts nothing, nor do answers of which one is the same.

    rows (Iterable[Row | RowError]): Rows and problems, in the order of the files.
    lang (str | None): Language code; it tells whether words are shown with spaces between them.
    YIELDS (Row | RowError): All of them, and the notes.
    """
    seen: dict[tuple[str, ...], dict[str, tuple[Any, str]]] = {}
    for row in rows:
        if not isinstance(row, RowError) and (gold := _read_gold(row)):
            earlier = seen.setdefault(read_texts(row), {})
            for name, value in gold.items():
                before, place = earlier.setdefault(name, (value, f"{row.path}:{row.line}"))
                if _differs(name, before, value):
                    there = _show(name, row, before, value, lang)
                    here = _show(name, row, value, before, lang)
                    reason = f"{name} {there} for the same text at {place}, and {here} here"
                    yield RowNote(row.path, row.line, reason, "contradiction", is_shown=True)
        yield row


def read_texts(row: Row) -> tuple[str, ...]:
    """Return the texts of a row, a single one without white space around it, or its words."""
    if isinstance(row, TextRow):
        return (row.text.strip(),)
    if isinstance(row, PairRow):
        return row.text_a, row.text_b
    if isinstance(row, WordsRow):
        return tuple(row.words)
    if isinstance(row, QuestionRow):
        return row.question, row.context
    return row.context, row.question, *row.choices


def _read_gold(row: Row) -> dict[str, Any]:
    """Return what the row has for gold, by the words that name it in a note."""
    if isinstance(row, ChoiceRow):
        return {} if row.gold is None else {"choice is": row.gold}
    if isinstance(row, QuestionRow):
        return {_ANSWER: tuple(dict.fromkeys(answer["text"].strip() for answer in row.answers))}
    if isinstance(row, WordsRow):
        return {_ENTITIES: tuple(sorted(row.entities))}
    gold: dict[str, Any] = {f"target {name!r} is": x for name, x in (row.targets or {}).items()}
    if row.cats is not None:
        labels = {label: value for label, value in row.cats.items() if value}
        is_plain = all(value == 1 for value in labels.values())
        if not row.is_partial:
            gold["label is"] = ", ".join(sorted(labels)) if is_plain else labels
        # What a partial row does not name may be so or not.
        if row.is_partial or is_plain:
            each = row.cats if row.is_partial else labels
            gold |= {f"label {label!r} is": value for label, value in each.items()}
    # Where an entity was lost, others say nothing of what a row has in all.
    if isinstance(row, TextRow) and row.entities is not None and not row.missing:
        before = len(row.text) - len(row.text.lstrip())
        gold[_ENTITIES] = tuple(sorted({(s - before, e - before, la) for s, e, la in row.entities}))
    return gold


def _differs(name: str, before: Any, value: Any) -> bool:
    """Whether gold contradicts that of an earlier row."""
    if name == _ANSWER and before and value:
        return not set(before) & set(value)
    return bool(before != value)


def _show(name: str, row: Row, value: Any, other: Any, lang: str | None) -> str:
    """Return gold for a note; of entities those that the other gold does not have."""
    if name == _ANSWER:
        return ", ".join(map(repr, value)) or "none"
    if name != _ENTITIES:
        return repr(value)
    text = read_texts(row)[0]
    shown, known = [], set(other)
    for start, end, label in value:
        if (start, end, label) not in known:
            surface = text[start:end]
            if isinstance(row, WordsRow):
                spaces = row.find_spaces(lang) or [True] * len(row.words)
                words = zip(row.words[start:end], spaces[start:end])
                surface = "".join(word + " " * space for word, space in words).rstrip()
            shown.append(f"{label} {start}:{end} {surface!r}")
    return ", ".join(shown) or "none"
