"""Real-valued targets on a Doc, in the attrs of a span group without spans.

A DocBin keeps them without user data, and so do copies and processes.
"""

from collections.abc import Mapping

from spacy.tokens import Doc, SpanGroup

from .errors import Errors
from .types import REGRESSION
from .util import is_finite

TARGETS = "targets"


def set_targets(doc: Doc, targets: Mapping[str, float]) -> None:
    """Write gold values; a target that is left out is missing gold.

    doc (Doc): Any Doc.
    targets (Mapping[str, float]): Finite values by the names of the targets; in place of
        those that stood there.
    RAISES (ValueError): B440 for a value that is no finite number, or a name that is no string.
    """
    if not isinstance(targets, Mapping):
        raise ValueError(Errors.B440.format(name="", value=targets))
    for name, value in targets.items():
        if not isinstance(name, str) or not name or not is_finite(value):
            raise ValueError(Errors.B440.format(name=name, value=value))
    write_targets(doc, targets)


def write_targets(doc: Doc, targets: Mapping[str, float]) -> None:
    """Write values as they are, in place of those that stood there."""
    attrs = {TARGETS: {name: float(value) for name, value in targets.items()}}
    doc.spans[REGRESSION] = SpanGroup(doc, name=REGRESSION, attrs=attrs)


def get_targets(doc: Doc) -> dict[str, float]:
    """Return the values of a Doc by target, gold or predicted; empty if there are none."""
    if REGRESSION not in doc.spans:
        return {}
    return dict(doc.spans[REGRESSION].attrs.get(TARGETS, {}))


def install_extension() -> None:
    """Add `doc._.regression`."""
    if not Doc.has_extension("regression"):
        Doc.set_extension("regression", getter=get_targets)
