"""Spans with scores on a Doc: a span group, and one score for each span in its attrs.

A DocBin keeps both without user data, and so do copies and processes.
"""

from collections.abc import Sequence
from typing import Any

from spacy.tokens import Doc, Span
from spacy.tokens.span_group import SpanGroup

from .types import CANDIDATES, SCORED

SCORES = "scores"


def write_scored(
    doc: Doc, key: str, spans: Sequence[Span], scores: Sequence[float], **attrs: Any
) -> None:
    """Put spans and their scores on a Doc, in place of what stood there.

    doc (Doc): The Doc.
    key (str): Name of the group.
    spans (Sequence[Span]): Spans of this Doc.
    scores (Sequence[float]): One for each.
    attrs: Further attrs of the group.
    """
    attrs[SCORES] = [float(score) for score in scores]
    doc.spans[key] = SpanGroup(doc, name=key, attrs=attrs, spans=spans)


def read_scored(doc: Doc, key: str) -> list[tuple[Span, float]]:
    """Return the spans of a group with their scores.

    doc (Doc): The Doc.
    key (str): Name of the group.
    RETURNS (list[tuple[Span, float]]): Empty without the group, and where the group was joined
        with others, so that scores and spans do not belong together any more.
    """
    if key not in doc.spans:
        return []
    group = doc.spans[key]
    scores = group.attrs.get(SCORES, [])
    return list(zip(group, scores)) if len(scores) == len(group) else []


def get_score(span: Span) -> float | None:
    """Return the probability of an entity or candidate, for `span._.score`.

    span (Span): A Span of a Doc.
    RETURNS (float | None): None if nothing with these bounds and this label was scored.
    """
    for key in (SCORED, CANDIDATES):
        for other, score in read_scored(span.doc, key):
            if (other.start, other.end, other.label) == (span.start, span.end, span.label):
                return score
    return None


def install_extension() -> None:
    """Add `span._.score`."""
    if not Span.has_extension("score"):
        Span.set_extension("score", getter=get_score)
