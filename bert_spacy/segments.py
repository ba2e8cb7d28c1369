"""How several texts are marked on one Doc, and which of several choices is chosen."""

from collections.abc import Sequence

import numpy as np
from spacy.tokens import Doc, Span, SpanGroup

from .errors import Errors
from .types import CHOICE, CHOSEN, CONTEXT, QUESTION, SEGMENTS


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


def is_pair(doc: Doc) -> bool:
    """Say whether a Doc has two texts that are no question, or other text, with its context."""
    if SEGMENTS not in doc.spans:
        return False
    segments = read_segments(doc)
    return len(segments) == 2 and segments[1].label_ != CONTEXT


def count_choices(doc: Doc) -> int:
    """Return how many choices a Doc has; 0 if it is no choice item.

    Such a Doc has the segments "context", "question", and one "choice" or more.
    """
    if SEGMENTS not in doc.spans:
        return 0
    labels = [span.label_ for span in read_segments(doc)]
    n = len(labels) - 2
    return n if n > 0 and labels == [CONTEXT, QUESTION, *[CHOICE] * n] else 0


def get_choices(doc: Doc) -> list[Span]:
    """Return the choices of a Doc in order; none if it is no choice item."""
    return read_segments(doc)[2:] if count_choices(doc) else []


def set_choice(doc: Doc, index: int, scores: Sequence[float] | None = None) -> None:
    """Write the gold or predicted choice to `doc.spans["chosen"]`.

    doc (Doc): A Doc from `make_choice`.
    index (int): Which choice, counted from 0.
    scores (Sequence[float]): Probability of each choice; None for gold.
    RAISES (ValueError): B422 if there is no such choice.
    """
    choices = get_choices(doc)
    if isinstance(index, np.integer):
        index = int(index)
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(choices):
        values = {"index": index, "n": len(choices), "text": doc.text[:80]}
        raise ValueError(Errors.B422.format(**values))
    attrs: dict[str, object] = {"index": index}
    if scores is not None:
        attrs["scores"] = [float(score) for score in scores]
    spans = [choices[index]] if len(choices[index]) else []
    doc.spans[CHOSEN] = SpanGroup(doc, name=CHOSEN, spans=spans, attrs=attrs)


def get_choice(doc: Doc) -> int | None:
    """Return the index of the gold or predicted choice of a Doc; None if it has none, or its attrs
    are lost, as by `Doc.to_json` and `Doc.from_docs`.

    RAISES (ValueError): B422 if it is not one of the Doc's choices.
    """
    if CHOSEN not in doc.spans or "index" not in doc.spans[CHOSEN].attrs:
        return None
    index = doc.spans[CHOSEN].attrs["index"]
    if not isinstance(index, int) or not 0 <= index < count_choices(doc):
        values = {"index": index, "n": count_choices(doc), "text": doc.text[:80]}
        raise ValueError(Errors.B422.format(**values))
    return index


def get_choice_scores(doc: Doc) -> list[float]:
    """Return the probability of each choice of a Doc; none if they were not predicted."""
    return list(doc.spans[CHOSEN].attrs.get("scores", [])) if CHOSEN in doc.spans else []
