"""Entity tags as found in column files: which scheme it is, and which spans it marks."""

import re
from collections.abc import Iterable, Sequence

from ...errors import Errors

# What each scheme's letters mean: begin, inside, end, single.
_LETTERS = {
    "iob1": {"B": "B", "I": "I"},
    "bio": {"B": "B", "I": "I"},
    "bioes": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "bmes": {"B": "B", "M": "I", "E": "E", "S": "S"},
    "biluo": {"B": "B", "I": "I", "L": "E", "U": "S"},
    "io": {},
}
SCHEMES = tuple(_LETTERS)
_TAG = re.compile(r"([A-Z])-(.+)")

TokenSpan = tuple[int, int, str]


def detect_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """Find the tag scheme of a whole file.

    sentences (Iterable[Sequence[str]]): The tags of each sentence.
    RETURNS (str): One of `SCHEMES`, but never "io", which could be any column.
    RAISES (ValueError): B407 if most tags that are not O belong to no scheme.
    """
    letters: dict[str, int] = {}
    strange: dict[str, int] = {}
    loose_i = loose_b = 0
    for tags in sentences:
        before = ""
        for tag in tags:
            match = _TAG.fullmatch(tag)
            if match is None or match[1] not in "BIMELSU":
                strange.setdefault(tag, 0)
                strange[tag] += tag != "O"
                before = ""
                continue
            letters[match[1]] = letters.get(match[1], 0) + 1
            loose_i += match[1] == "I" and before != match[2]
            loose_b += match[1] == "B" and before != match[2]
            before = match[2]
    if sum(strange.values()) > sum(letters.values()):
        sample = ", ".join(sorted(tag for tag in strange if tag != "O")[:5])
        raise ValueError(Errors.B407.format(tags=sample, allowed=", ".join(SCHEMES)))
    if "L" in letters or "U" in letters:
        return "biluo"
    if "M" in letters:
        return "bmes"
    if "E" in letters or "S" in letters:
        return "bioes"
    return "iob1" if loose_i and not loose_b else "bio"


def is_tag(tag: str, scheme: str) -> bool:
    """Whether a tag can stand in a scheme."""
    match = _TAG.fullmatch(tag)
    if tag == "O":
        return True
    return bool(tag) if scheme == "io" else bool(match and match[1] in _LETTERS[scheme])


def decode_tags(tags: Sequence[str], scheme: str) -> tuple[list[TokenSpan], list[tuple[int, str]]]:
    """Turn tags into entity spans; a tag that continues nothing opens an entity.

    tags (Sequence[str]): Tags of one sentence, all of the scheme.
    scheme (str): One of `SCHEMES`.
    RETURNS (tuple[list[tuple[int, int, str]], list[tuple[int, str]]]): Spans as
        first token, end (exclusive), label; and oddities as token and reason.
    """
    letters = _LETTERS[scheme]
    has_ends = "E" in letters.values()
    spans: list[TokenSpan] = []
    oddities: list[tuple[int, str]] = []
    start, label = 0, ""

    def close(end: int, is_ended: bool) -> None:
        if label:
            spans.append((start, end, label))
            if has_ends and not is_ended:
                oddities.append((end - 1, f"entity {label} has no end tag"))

    for place, tag in enumerate(tags):
        if tag == "O":
            close(place, False)
            label = ""
            continue
        kind, name = ("I", tag) if scheme == "io" else (letters[tag[0]], tag[2:])
        if kind in "BS" or name != label:
            close(place, False)
            if kind in "IE" and scheme not in ("io", "iob1"):
                oddities.append((place, f"tag {tag} continues no entity and opens one"))
            start, label = place, name
        if kind in "ES":
            close(place + 1, True)
            label = ""
    close(len(tags), False)
    return spans, oddities
