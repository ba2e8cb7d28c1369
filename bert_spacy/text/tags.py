"""Tag schemes: turn spans into tags, tags into spans, and say which tags may follow each other.

Tag ids are fixed: 0 is "O", then come the prefixes of each label in order.

    bio     O  B-x I-x          B-y I-y ...
    bioes   O  B-x I-x E-x S-x  B-y I-y E-y S-y ...
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Errors

PREFIXES = {"bio": "BI", "bioes": "BIES"}


def tag_names(labels: Sequence[str], scheme: str) -> list[str]:
    """List the tag names in the order of their ids.

    labels (Sequence[str]): Entity labels in the order of their ids.
    scheme (str): "bio" or "bioes".
    RETURNS (list[str]): One name per tag. Shape (1 + prefixes * labels,).
    RAISES (ValueError): B020 unknown scheme.
    """
    prefixes = _get_prefixes(scheme)
    return ["O", *(f"{prefix}-{label}" for label in labels for prefix in prefixes)]


def spans_to_tags(
    n_tokens: int, spans: Sequence[tuple[int, int, int]], scheme: str
) -> NDArray[np.int64]:
    """Write non-overlapping spans as one tag id per token.

    n_tokens (int): Number of tokens.
    spans (Sequence[tuple[int, int, int]]): (start, end, label id) in tokens, end exclusive, in
        any order.
    scheme (str): "bio" or "bioes".
    RETURNS (NDArray[np.int64]): Tag ids. Shape (n_tokens,).
    RAISES (ValueError): B020 unknown scheme; B021 a span is empty, outside the tokens or has a
        negative label id; B022 two spans overlap.
    """
    prefixes = _get_prefixes(scheme)
    tags = np.zeros(n_tokens, dtype=np.int64)
    if len(spans) == 0:
        return tags
    table = np.asarray(spans, dtype=np.int64)
    start, end, label = table[np.argsort(table[:, 0], kind="stable")].T
    bad = (start < 0) | (end <= start) | (end > n_tokens) | (label < 0)
    if bad.any():
        i = int(bad.argmax())
        span = (int(start[i]), int(end[i]), int(label[i]))
        raise ValueError(Errors.B021.format(span=span, n_tokens=n_tokens))
    overlap = start[1:] < end[:-1]
    if overlap.any():
        i = int(overlap.argmax())
        first, second = (int(start[i]), int(end[i])), (int(start[i + 1]), int(end[i + 1]))
        raise ValueError(Errors.B022.format(first=first, second=second))
    length = end - start
    begin = 1 + label * len(prefixes)
    inside = np.repeat(begin + 1, length)
    # Positions of all covered tokens: count up from each span's start.
    offset = np.cumsum(length) - length
    tags[np.arange(length.sum()) + np.repeat(start - offset, length)] = inside
    tags[start] = begin
    if scheme == "bioes":
        tags[end - 1] = begin + 2
        single = length == 1
        tags[start[single]] = begin[single] + 3
    return tags


def tags_to_spans(
    tags: ArrayLike, n_labels: int, scheme: str, offsets: ArrayLike | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Read the spans out of one tag id per token, for one text or many in a row.

    Legal sequences give exactly their spans. Others are repaired as conlleval reads them:
    - an I- or E- tag opens a span at the start of a text, after O, after another label, and after
      a tag that has closed its span (E- or S-);
    - a B- or S- tag always opens a span;
    - a span that is never closed ends before the next O, the next opening, or the end of the text.

    tags (ArrayLike): Tag ids, all texts concatenated. Shape (T,).
    n_labels (int): Number of entity labels.
    scheme (str): "bio" or "bioes".
    offsets (ArrayLike | None): Where each text starts, and T at the end; no span crosses them.
        None means one text. Shape (D + 1,).
    RETURNS (tuple[NDArray, NDArray, NDArray]): start, end (exclusive) and label id of each span in
        order; positions count over all texts, so the text of a span is
        `np.searchsorted(offsets, start, side="right") - 1`. Each int64, shape (spans,).
    RAISES (ValueError): B020 unknown scheme; B023 a tag id is not in the scheme; B024 the offsets
        do not run from 0 to T.

    SOURCE: Tjong Kim Sang & De Meulder (2003), evaluation by conlleval; the rules restated.
    """
    n_prefixes = len(_get_prefixes(scheme))
    ids = np.asarray(tags, dtype=np.int64)
    n_tags = 1 + n_labels * n_prefixes
    if ids.ndim != 1 or (ids.size and (ids.min() < 0 or ids.max() >= n_tags)):
        bad = ids.shape if ids.ndim != 1 else ids[(ids < 0) | (ids >= n_tags)][0]
        raise ValueError(Errors.B023.format(value=bad, max_id=n_tags - 1, scheme=scheme))
    first = np.zeros(ids.size + 1, dtype=bool)
    first[0] = True
    if offsets is not None:
        bounds = np.asarray(offsets, dtype=np.int64)
        _check_offsets(bounds, ids.size)
        first[bounds] = True
    # B 0, I 1, E 2, S 3; outside is label -1
    label, prefix = np.divmod(ids - 1, n_prefixes)
    entity = ids > 0
    previous = np.concatenate([[-1], label[:-1]])[: ids.size]
    closed = np.concatenate([[True], prefix[:-1] >= 2])[: ids.size]
    breaks = first[:-1] | (previous != label) | closed
    opens = entity & (breaks | (prefix == 0) | (prefix == 3))
    # A span ends where the next token does not carry on with it.
    goes_on = np.append((entity & ~opens)[1:], False)[: ids.size]
    start = np.flatnonzero(opens)
    return start, np.flatnonzero(entity & ~goes_on) + 1, label[start]


def allowed_transitions(
    n_labels: int, scheme: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which tags may follow each other, start a text and end it.

    n_labels (int): Number of entity labels.
    scheme (str): "bio" or "bioes".
    RETURNS (tuple[NDArray, NDArray, NDArray]): transitions, True at [i, j] where tag j may follow
        tag i, shape (L, L); start and end, True where a text may start or end with the tag,
        shape (L,). L = 1 + prefixes * labels.
    RAISES (ValueError): B020 unknown scheme.
    """
    prefixes = _get_prefixes(scheme)
    prefix = np.array(["O", *(p for _ in range(n_labels) for p in prefixes)])
    label = np.concatenate([[-1], np.repeat(np.arange(n_labels), len(prefixes))])
    start = ~np.isin(prefix, ["I", "E"])
    # In bio a span may stop after any of its tags; in bioes B and I ask for more.
    is_open = np.isin(prefix, ["B", "I"])
    end = np.ones_like(start) if scheme == "bio" else ~is_open
    carries_on = is_open[:, None] & ~start[None, :] & (label[:, None] == label[None, :])
    return carries_on | (end[:, None] & start[None, :]), start, end


def _get_prefixes(scheme: str) -> str:
    if scheme not in PREFIXES:
        raise ValueError(Errors.B020.format(scheme=scheme, allowed=sorted(PREFIXES)))
    return PREFIXES[scheme]


def _check_offsets(offsets: NDArray[np.int64], n_tokens: int) -> None:
    shape_ok = offsets.ndim == 1 and offsets.size > 0
    if not shape_ok or offsets[0] != 0 or offsets[-1] != n_tokens or (np.diff(offsets) < 0).any():
        raise ValueError(Errors.B024.format(offsets=offsets, n_tokens=n_tokens))
