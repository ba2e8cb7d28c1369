"""Read JSON lines: texts with labels or entities, and CLUENER's own layout."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...types import TRUE_FROM
from .labels import BadLabel, LabelMapOptions, Options, read_label, read_label_map
from .rows import PairRow, RowError, RowNote, TextRow
from .text import CleanText, clean_text, is_broken, read_json_lines, read_number

Entity = tuple[int, int, str]
# The field of the second text of a pair, as in rows for `predict`.
TEXT_B = "text_b"
# Offsets do not say in which text they are, nor whether the other one has no entities.
_NO_ENTITIES = (
    "a pair cannot have entities: leave them out, and give each text with its entities in a row "
    "of its own"
)
_ENTITY_FIELDS = ("entities", "spans")
_ENTITY_KEYS = ("start", "end", "label")


class _BadRow(ValueError):
    """A row that cannot be used; the message says why."""


@dataclass(frozen=True)
class JsonlOptions(LabelMapOptions):
    """Options of the format jsonl.

    text_field (str): Name of the field that holds the text; with "text_b" beside it, the first
        text of a pair.
    label_field (str): Name of the field that holds a label, a list of labels, or
        a list of entities as [start, end, label]. An empty list says that there are no
        labels, or no entities if the first row of the file with something in this field
        has entities. A field "cats" (label to value), "entities" or "spans" is read as
        spaCy writes it, and "regression" (target to number) as `predict` does.
    """

    text_field: str = "text"
    label_field: str = "label"


def read_jsonl(path: Path, options: JsonlOptions) -> Iterator[TextRow | PairRow | RowError]:
    """Read a JSON object per line. A pair has the gold of a text, but no entities.

    path (Path): The file.
    options (JsonlOptions): Field names and label map.
    YIELDS (TextRow | PairRow | RowError): Rows and what is wrong with the others.
    RAISES (ValueError): B404 for a bad label map.
    """
    label_map = None if options.label_map is None else read_label_map(options.label_map)
    means_entities: bool | None = None  # what an empty list means; the file is asked if one comes
    for item in read_json_lines(path):
        if isinstance(item, RowError):
            yield item
            continue
        number, row = item
        is_pair = TEXT_B in row and TEXT_B not in (options.text_field, options.label_field)
        try:
            cleaned = _get_text(row, options.text_field, "first text" if is_pair else "text")
            second = _get_text(row, TEXT_B, "second text") if is_pair else None
            targets = _get_targets(row)
            is_entities = _is_entities(value := row.get(options.label_field))
            if value == []:
                if means_entities is None:
                    means_entities = _begins_with_entities(path, options.label_field)
                is_entities = means_entities
            if is_pair and (is_entities or any(row.get(x) is not None for x in _ENTITY_FIELDS)):
                raise _BadRow(_NO_ENTITIES)
            cats, entities = _get_gold(row, cleaned, options.label_field, is_entities, label_map)
        except (_BadRow, BadLabel) as err:
            yield RowError(str(path), number, str(err))
            continue
        yield from cleaned.notes(str(path), number)
        is_partial = isinstance(row.get("cats"), dict)
        if second is None:
            yield TextRow(str(path), number, cleaned.text, cats, entities, targets, is_partial)
            continue
        yield from second.notes(str(path), number)
        texts = cleaned.text.strip(), second.text.strip()
        yield PairRow(str(path), number, *texts, cats, targets, is_partial)


def read_cluener(path: Path, options: Options) -> Iterator[TextRow | RowError]:
    """Read CLUENER's lines, whose offsets are inclusive at both ends.

    path (Path): The file: {"text": ..., "label": {type: {surface: [[first, last]]}}}.
        A row without "label" has no gold.
    options (Options): Nothing to choose.
    YIELDS (TextRow | RowError): Rows, repairs, and the entities and rows that are wrong.
    """
    for item in read_json_lines(path):
        if isinstance(item, RowError):
            yield item
            continue
        number, row = item
        try:
            cleaned = _get_text(row, "text")
            found = _Surfaces() if "label" not in row else _get_surfaces(row["text"], row["label"])
        except _BadRow as err:
            yield RowError(str(path), number, str(err))
            continue
        yield from (RowError(str(path), number, reason) for reason in found.lost)
        yield from (RowNote(str(path), number, reason, "repaired") for reason in found.repaired)
        yield from cleaned.notes(str(path), number)
        entities = [(cleaned.shift(s), cleaned.shift(e), la) for s, e, la in found.entities]
        missing = [(cleaned.shift(s), cleaned.shift(e)) for s, e in found.missing]
        gold = entities if "label" in row else None
        yield TextRow(str(path), number, cleaned.text, None, gold, missing=missing)


@dataclass
class _Surfaces:
    """The entities of a row of CLUENER.

    entities (list[tuple[int, int, str]]): Those that stand where they should, and repaired ones.
    missing (list[tuple[int, int]]): Where a lost entity is said to stand, and where it may stand.
    lost, repaired (list[str]): What is wrong with the others.
    """

    entities: list[Entity] = field(default_factory=list)
    missing: list[tuple[int, int]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)


def _get_surfaces(text: str, labels: Any) -> _Surfaces:
    """Read the entities by label and surface."""
    if not isinstance(labels, dict) or not all(isinstance(v, dict) for v in labels.values()):
        raise _BadRow("'label' is not an object of objects")
    found = _Surfaces()
    for label, surfaces in labels.items():
        if not label or is_broken(label):
            raise _BadRow(f"label {label!r} cannot be used")
        for surface, places in surfaces.items():
            _read_places(text, label, surface, places, found)
    return found


def _read_places(text: str, label: str, surface: str, places: Any, found: _Surfaces) -> None:
    """Add the entities of one surface; a wrong place is repaired if there is only one other."""
    wrong = []
    for place in places if isinstance(places, list) else [places]:
        if not _is_place(place) or place[0] < 0 or text[place[0] : place[1] + 1] != surface:
            wrong.append(place)
        elif surface:
            found.entities.append((place[0], place[1] + 1, label))
    if not wrong:
        return
    standing = _find_all(text, surface)
    only = (*standing[0], label) if len(standing) == 1 else None
    for place in wrong:
        if not _is_place(place):
            found.lost.append(f"{place!r} is not [first, last]; the entity is left out")
            found.missing += standing
            continue
        first, last = max(place[0], 0), place[1]
        reason = f"entity {label} {surface!r} does not stand at {place[0]}..{last}"
        if only is not None and only not in found.entities:
            found.entities.append(only)
            found.repaired.append(f"{reason} but at {only[0]}..{only[1] - 1}")
        else:
            there = text[first : max(last + 1, 0)]
            found.lost.append(f"{reason}, where {there!r} stands; it is left out")
            found.missing += [(first, last + 1), *standing]


def _find_all(text: str, surface: str) -> list[tuple[int, int]]:
    """Return start and end of all places where a surface stands, overlapping ones too."""
    places = []
    start = text.find(surface) if surface else -1
    while start >= 0:
        places.append((start, start + len(surface)))
        start = text.find(surface, start + 1)
    return places


def _is_place(place: Any) -> bool:
    return isinstance(place, list) and len(place) == 2 and all(type(n) is int for n in place)


def _get_text(row: dict[str, Any], field: str, what: str = "text") -> CleanText:
    """Return a cleaned text of a row; `what` names it in messages."""
    text = row.get(field)
    if field in row and not isinstance(text, str):
        raise _BadRow(f"field {field!r} holds no text but {text!r:.40}")
    if not isinstance(text, str):
        fields = ", ".join(row) or "no fields"
        raise _BadRow(f"no text in field {field!r}; the row has {fields}")
    if is_broken(text):
        raise _BadRow(f"the {what} holds a lone surrogate")
    cleaned = clean_text(text)
    if not cleaned.text.strip():
        raise _BadRow(f"the {what} is empty")
    return cleaned


def _begins_with_entities(path: Path, field: str) -> bool:
    """Tell whether the first row with something in a field has entities there."""
    rows = (item[1] for item in read_json_lines(path) if not isinstance(item, RowError))
    return _is_entities(next((v for row in rows if (v := row.get(field)) not in (None, [])), None))


def _is_entities(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, (list, dict)) for item in value)


def _get_gold(
    row: dict[str, Any],
    cleaned: CleanText,
    field: str,
    is_entities: bool,
    label_map: dict[str, str] | None,
) -> tuple[dict[str, float] | None, list[Entity] | None]:
    """Return categories and entities of a row, either of which may be missing.

    The value of `field` is a list of entities if `is_entities`.
    """
    cats: dict[str, float] | None = None
    found = [row[name] for name in _ENTITY_FIELDS if row.get(name) is not None]
    value = None if field in _ENTITY_FIELDS else row.get(field)
    if is_entities and value is not None:
        if value and any(found):
            raise _BadRow(f"entities stand in {field!r} and elsewhere: leave one of them out")
        found, value = (found if any(found) else [value]), None
    entities = [
        _get_entity(item, cleaned, label_map) for items in found for item in _as_list(items)
    ]
    if isinstance(value, dict) and field != "cats":
        raise _BadRow(f"field {field!r} is an object; only 'cats' may be one")
    if value is not None and field != "cats":
        values = value if isinstance(value, list) else [value]
        cats = {read_label(item, label_map): 1.0 for item in values}
    if isinstance(row.get("cats"), dict):
        named = cats
        cats = {read_label(k, label_map): _get_value(k, v) for k, v in row["cats"].items()}
        if named is not None and not _agree(set(named), cats):
            raise _BadRow(f"field {field!r} and 'cats' do not agree: leave one of them out")
    elif value is None and not found and field not in row and "regression" not in row:
        raise _BadRow(f"no {field!r}, 'cats', 'entities', 'spans' or 'regression' in the row")
    return cats, entities if found else None


def _agree(labels: set[str], cats: dict[str, float]) -> bool:
    """Tell whether labels are those that values by label call true, or the likeliest of them."""
    highest = max(cats.values(), default=0.0)
    likeliest = {label for label, value in cats.items() if value == highest}
    return labels in (likeliest, {label for label, value in cats.items() if value >= TRUE_FROM})


def _get_targets(row: dict[str, Any]) -> dict[str, float] | None:
    """Return the targets of a row; null is missing gold."""
    values = row.get("regression")
    if values is None:
        return None
    if not isinstance(values, dict):
        raise _BadRow("'regression' is not an object of numbers")
    targets = {}
    for name, value in values.items():
        number = None if isinstance(value, str) else read_number(value)
        if value is not None and (number is None or not name or is_broken(name)):
            raise _BadRow(f"target {name!r} is {value!r}, which is no finite number")
        if number is not None:
            targets[name] = number
    return targets


def _as_list(items: Any) -> list[Any]:
    if not isinstance(items, list):
        raise _BadRow("entities are not a list")
    return items


def _get_entity(item: Any, cleaned: CleanText, label_map: dict[str, str] | None) -> Entity:
    """Read {"start", "end", "label"} or [start, end, label], characters, end exclusive."""
    values = [item.get(key) for key in _ENTITY_KEYS] if isinstance(item, dict) else item
    if not isinstance(values, list) or len(values) != 3 or None in values:
        raise _BadRow(f"entity {item!r} has no start, end and label")
    start, end, label = values
    size = len(cleaned.text) + len(cleaned.removed)
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= size:
        raise _BadRow(f"entity {item!r} does not lie in the text of {size} characters")
    return cleaned.shift(start), cleaned.shift(end), read_label(label, label_map)


def _get_value(label: str, value: Any) -> float:
    if not isinstance(value, (bool, int, float)) or not 0 <= value <= 1:
        raise _BadRow(f"value {value!r} of label {label!r} is not between 0 and 1")
    return float(value)
