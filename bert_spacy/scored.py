"""Spans with scores on a Doc, in the attrs of a span group, by their characters.

A DocBin keeps them without user data, and so do copies and processes. Where tokens are merged or
split, characters stay what they are. spaCy does not move the Spans of a group, and can neither
copy nor save such a Doc; so only spans that are to be seen stand in the group itself.
"""

import weakref
from collections.abc import Sequence
from typing import Any

from spacy.tokens import Doc, Span
from spacy.tokens.span_group import SpanGroup

from .types import CANDIDATES, SCORED

PLACES = "places"
SCORES = "scores"
SOURCES = "sources"  # the component that each span is from, or is meant for

# The number of each span by its characters and label.
Numbers = dict[tuple[int, int, str], int]
# Of Docs that were asked for scores: for each group its list of scores, and the numbers of then.
_NUMBERS: weakref.WeakKeyDictionary[Doc, dict[str, tuple[list[float], Numbers]]]
_NUMBERS = weakref.WeakKeyDictionary()


def write_spans(
    doc: Doc, key: str, spans: Sequence[Span], *, is_shown: bool = False, **attrs: Any
) -> None:
    """Put spans on a Doc, in place of what stood there.

    doc (Doc): The Doc.
    key (str): Name of the group.
    spans (Sequence[Span]): Spans of this Doc.
    is_shown (bool): Whether they stand in the group too.
    attrs: Further attrs of the group.
    """
    attrs[PLACES] = [[span.start_char, span.end_char, span.label_] for span in spans]
    doc.spans[key] = SpanGroup(doc, name=key, attrs=attrs, spans=spans if is_shown else [])


def find_spans(doc: Doc, key: str) -> list[Span | None]:
    """Return what `write_spans` has put on a Doc, as long as the attrs beside it.

    doc (Doc): The Doc.
    key (str): Name of the group.
    RETURNS (list[Span | None]): None for a span that cuts a token now.
    """
    places = doc.spans[key].attrs.get(PLACES, []) if key in doc.spans else []
    return [doc.char_span(start, end, label=label) for start, end, label in places]


def write_scored(
    doc: Doc,
    key: str,
    spans: Sequence[Span],
    scores: Sequence[float],
    *,
    is_shown: bool = False,
    **attrs: Any,
) -> None:
    """Put spans and their scores on a Doc, in place of what stood there.

    doc (Doc): The Doc.
    key (str): Name of the group.
    spans (Sequence[Span]): Spans of this Doc.
    scores (Sequence[float]): One for each.
    is_shown (bool): Whether they stand in the group too.
    attrs: Further attrs of the group.
    """
    attrs[SCORES] = [float(score) for score in scores]
    write_spans(doc, key, spans, is_shown=is_shown, **attrs)


def read_scored(doc: Doc, key: str) -> list[tuple[Span, float]]:
    """Return the spans of a group with their scores.

    doc (Doc): The Doc.
    key (str): Name of the group.
    RETURNS (list[tuple[Span, float]]): Empty without the group or its attrs; without spans that
        cut a token now.
    """
    scores = doc.spans[key].attrs.get(SCORES, []) if key in doc.spans else []
    return [(span, score) for span, score in zip(find_spans(doc, key), scores) if span is not None]


def get_score(span: Span) -> float | None:
    """Return the probability of an entity or candidate, for `span._.score`.

    span (Span): A Span of a Doc.
    RETURNS (float | None): None if nothing with these bounds and this label was scored.
    """
    doc, where = span.doc, (span.start_char, span.end_char, span.label_)
    for key in (SCORED, CANDIDATES):
        number = _number_spans(doc, key).get(where)
        if number is not None:
            return doc.spans[key].attrs[SCORES][number]
    return None


def _number_spans(doc: Doc, key: str) -> Numbers:
    """Return the number of each span with a score, found once for all spans that ask."""
    attrs = doc.spans[key].attrs if key in doc.spans else {}
    if SCORES not in attrs:
        return {}
    known = _NUMBERS.setdefault(doc, {})
    # Each writing of a group has a list of its own.
    if key not in known or known[key][0] is not attrs[SCORES]:
        places = reversed(list(enumerate(attrs.get(PLACES, []))))  # of equal ones the first counts
        numbers = {(start, end, label): i for i, (start, end, label) in places}
        known[key] = attrs[SCORES], numbers
    return known[key][1]


def install_extension() -> None:
    """Add `span._.score`."""
    if not Span.has_extension("score"):
        Span.set_extension("score", getter=get_score)
