"""What an entity recogniser got right and wrong."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from spacy.tokens import Doc
from spacy.training import Example

from ..scoring.ner import has_gold, score_ner
from .classes import ClassRow

# First character, end (exclusive), label.
Entity = tuple[int, int, str]


@dataclass(frozen=True)
class EntityError:
    """An entity that one side has and the other has not, or not so.

    kind (str): "type" (same place), "boundary" (same label, places overlap),
        "boundary and type", "missed" or "spurious".
    gold (Entity): The gold entity, None if spurious.
    predicted (Entity): The predicted entity, None if missed.
    """

    kind: str
    gold: Entity | None
    predicted: Entity | None


@dataclass(frozen=True)
class Confusion:
    """Errors of one kind between two labels, "" for none.

    example (str): The text of one of them.
    """

    kind: str
    gold: str
    predicted: str
    count: int
    example: str


@dataclass(frozen=True)
class EntityDoc:
    """A text with its entities and errors."""

    text: str
    gold: list[Entity]
    predicted: list[Entity]
    errors: list[EntityError]


@dataclass(frozen=True)
class EntityResults:
    """The results of an entity recogniser.

    rows (list[ClassRow]): Per type, by support, the commonest first.
    confusions (list[Confusion]): The commonest first.
    docs (list[EntityDoc]): Texts with errors, most errors first.
    """

    rows: list[ClassRow]
    confusions: list[Confusion]
    docs: list[EntityDoc]


def entity_results(examples: Sequence[Example]) -> EntityResults | None:
    """Compare predicted with gold entities.

    examples (Sequence[Example]): Those without gold entity annotation, or not
        annotated by the pipeline, are left out.
    RETURNS (EntityResults | None): None if there is no entity on either side.
    """
    scored = [eg for eg in examples if has_gold(eg) and eg.predicted.has_annotation("ENT_IOB")]
    per_type = score_ner(scored)["ents_per_type"]
    if not per_type:
        return None
    support = Counter(ent.label_ for eg in scored for ent in eg.reference.ents)
    rows = [
        ClassRow(label, prf["p"], prf["r"], prf["f"], support[label])
        for label, prf in per_type.items()
    ]
    rows.sort(key=lambda row: (-row.support, row.label))
    docs = []
    for eg in scored:
        gold = _entities(eg.reference)
        predicted = [ent for ent in _entities(eg.predicted) if _is_annotated(eg.reference, ent)]
        docs.append(EntityDoc(eg.reference.text, gold, predicted, compare(gold, predicted)))
    wrong = sorted((doc for doc in docs if doc.errors), key=lambda doc: -len(doc.errors))
    return EntityResults(rows, _confusions(docs), wrong)


def compare(gold: Sequence[Entity], predicted: Sequence[Entity]) -> list[EntityError]:
    """Pair the entities that differ, those with the longest overlap first.

    gold (Sequence[Entity]): Entities of a text.
    predicted (Sequence[Entity]): Predicted entities of the same text.
    RETURNS (list[EntityError]): One for each pair or left-over, in text order.
    """
    left = [ent for ent in gold if ent not in predicted]
    right = [ent for ent in predicted if ent not in gold]
    overlaps = sorted(
        ((_overlap(a, b), a, b) for a in left for b in right if _overlap(a, b) > 0),
        key=lambda item: (-item[0], item[1:]),
    )
    errors = []
    for _, a, b in overlaps:
        if a in left and b in right:
            left.remove(a)
            right.remove(b)
            errors.append(EntityError(_kind(a, b), a, b))
    errors += [EntityError("missed", ent, None) for ent in left]
    errors += [EntityError("spurious", None, ent) for ent in right]
    return sorted(errors, key=lambda error: (error.gold or error.predicted or (0, 0, ""))[:2])


def _kind(gold: Entity, predicted: Entity) -> str:
    if gold[:2] == predicted[:2]:
        return "type"
    return "boundary" if gold[2] == predicted[2] else "boundary and type"


def _overlap(a: Entity, b: Entity) -> int:
    return min(a[1], b[1]) - max(a[0], b[0])


def _entities(doc: Doc) -> list[Entity]:
    return [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]


def _is_annotated(reference: Doc, entity: Entity) -> bool:
    """Whether the gold says of all tokens there whether they are entities."""
    span = reference.char_span(entity[0], entity[1], alignment_mode="expand")
    return span is None or all(token.ent_iob != 0 for token in span)


def _confusions(docs: Sequence[EntityDoc]) -> list[Confusion]:
    counts: Counter[tuple[str, str, str]] = Counter()
    examples: dict[tuple[str, str, str], str] = {}
    for doc in docs:
        for error in doc.errors:
            gold = error.gold[2] if error.gold else ""
            predicted = error.predicted[2] if error.predicted else ""
            key = (error.kind, gold, predicted)
            places = [ent for ent in (error.gold, error.predicted) if ent]
            texts = dict.fromkeys(doc.text[start:end] for start, end, _ in places)
            counts[key] += 1
            examples.setdefault(key, " → ".join(texts))
    return [Confusion(*key, count, examples[key]) for key, count in counts.most_common()]
