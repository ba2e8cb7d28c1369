"""How several texts are marked on one Doc."""

from collections.abc import Sequence

from spacy.tokens import Doc, Span, SpanGroup

from .types import CHOICE, CONTEXT, QUESTION, SEGMENTS


def write_segments(doc: Doc, lengths: Sequence[int], labels: Sequence[str]) -> None:
    """Write `doc.spans["segments"]` for texts of the given token counts.

    spaCy cannot copy a Doc with an empty Span: texts without tokens stand in
    the attrs of the group, as pairs of their number and label.

    doc (Doc): The Doc whose tokens are those of the texts, one after the other.
    lengths (Sequence[int]): Tokens per text.
    labels (Sequence[str]): A label per text.
    """
    spans, empty, start = [], [], 0
    for i, (length, label) in enumerate(zip(lengths, labels)):
        if length:
            spans.append(Span(doc, start, start + length, label=label))
        else:
            empty.append([i, label])
        start += length
    attrs = {"empty": empty} if empty else {}
    doc.spans[SEGMENTS] = SpanGroup(doc, name=SEGMENTS, spans=spans, attrs=attrs)


def read_segments(doc: Doc) -> list[Span]:
    """Return the segments of a Doc, empty ones too; nothing where none are marked."""
    if SEGMENTS not in doc.spans:
        return []
    group = doc.spans[SEGMENTS]
    spans = list(group)
    for i, label in group.attrs.get("empty", []):
        at = spans[i - 1].end if i else 0
        spans.insert(i, Span(doc, at, at, label=label))
    return spans


def count_choices(doc: Doc) -> int:
    """Return how many choices a Doc has; 0 if it is no choice item.

    Such a Doc has the segments "context", "question", and one "choice" or more.
    """
    if SEGMENTS not in doc.spans:
        return 0
    labels = [span.label_ for span in read_segments(doc)]
    n = len(labels) - 2
    return n if n > 0 and labels == [CONTEXT, QUESTION, *[CHOICE] * n] else 0
