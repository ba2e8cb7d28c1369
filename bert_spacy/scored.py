"""Spans with scores on a Doc: a span group, and one score for each span in its attrs.

A DocBin keeps both without user data, and so do copies and processes.
"""

import weakref
from collections.abc import Sequence
from typing import Any

from spacy.tokens import Doc, Span
from spacy.tokens.span_group import SpanGroup

from .types import CANDIDATES, SCORED

SCORES = "scores"

# Where a span stands in a group by its characters, which retokenizing leaves alone.
Places = dict[tuple[int, int, int], int]
# Of Docs that were asked for scores: for each group its list of scores, and the places of then.
_PLACES: weakref.WeakKeyDictionary[Doc, dict[str, tuple[list[float], Places]]]
_PLACES = weakref.WeakKeyDictionary()


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
    doc, where = span.doc, (span.start_char, span.end_char, span.label)
    for key in (SCORED, CANDIDATES):
        at = _find_places(doc, key).get(where)
        if at is not None:
            return doc.spans[key].attrs[SCORES][at]
    return None


def _find_places(doc: Doc, key: str) -> Places:
    """Return where each span stands in a group, found once for all spans that ask."""
    if key not in doc.spans:
        return {}
    group = doc.spans[key]
    scores = group.attrs.get(SCORES, [])
    if len(scores) != len(group):
        return {}
    known = _PLACES.setdefault(doc, {})
    # Each writing of a group has a list of its own.
    if key not in known or known[key][0] is not scores:
        spans = reversed(list(enumerate(group)))  # of equal ones the first counts
        places = {(span.start_char, span.end_char, span.label): i for i, span in spans}
        known[key] = scores, places
    return known[key][1]


def install_extension() -> None:
    """Add `span._.score`."""
    if not Span.has_extension("score"):
        Span.set_extension("score", getter=get_score)
