"""Find texts that stand there twice with different gold."""

from collections.abc import Iterable, Iterator
from typing import Any

from .rows import ChoiceRow, PairRow, Row, RowError, RowNote, TextRow


def note_contradictions(rows: Iterable[Row | RowError]) -> Iterator[Row | RowError]:
    """Pass rows on, each that contradicts an earlier one after a note that says so.

    Categories, targets and the right choice are compared, over all files; gold that is missing
    contradicts nothing.

    rows (Iterable[Row | RowError]): Rows and problems, in the order of the files.
    YIELDS (Row | RowError): All of them, and the notes.
    """
    seen: dict[tuple[str, ...], dict[str, tuple[Any, str]]] = {}
    for row in rows:
        if isinstance(row, TextRow | PairRow | ChoiceRow) and (gold := _read_gold(row)):
            earlier = seen.setdefault(_read_texts(row), {})
            for name, value in gold.items():
                before, place = earlier.setdefault(name, (value, f"{row.path}:{row.line}"))
                if before != value:
                    reason = (
                        f"{name} is {before!r} for the same text at {place}, and {value!r} here"
                    )
                    yield RowNote(row.path, row.line, reason, "contradiction", is_shown=True)
        yield row


def _read_texts(row: TextRow | PairRow | ChoiceRow) -> tuple[str, ...]:
    if isinstance(row, TextRow):
        return (row.text.strip(),)
    if isinstance(row, PairRow):
        return row.text_a, row.text_b
    return row.context, row.question, *row.choices


def _read_gold(row: TextRow | PairRow | ChoiceRow) -> dict[str, Any]:
    """Return what the row has for gold, by a name for the note."""
    if isinstance(row, ChoiceRow):
        return {} if row.gold is None else {"choice": row.gold}
    gold: dict[str, Any] = {f"target {name!r}": x for name, x in (row.targets or {}).items()}
    if row.cats is not None:
        labels = {label: value for label, value in row.cats.items() if value}
        is_plain = all(value == 1 for value in labels.values())
        gold["label"] = ", ".join(sorted(labels)) if is_plain else labels
    return gold
