"""Tag schemes: turn spans into tags, tags into spans, and say which tags may follow each other.

Tag ids are fixed: 0 is "O", then come the prefixes of each label in order.

    bio     O  B-x I-x          B-y I-y ...
    bioes   O  B-x I-x E-x S-x  B-y I-y E-y S-y ...
    biox    as bio; beside it each piece that does not begin a token has the tag X

X is no part of the sequence of tags: it stands for every piece that is not the first of its token,
whatever that token is, so a chain through X would forget whether an entity is open. The tags of
tokens follow each other instead, and X is learned beside them (`layers/ner.py`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Errors

PREFIXES = {"bio": "BI", "bioes": "BIES", "biox": "BI"}


def tag_names(labels: Sequence[str], scheme: str) -> list[str]:
    """List the tag names in the order of their ids.

    labels (Sequence[str]): Entity labels in the order of their ids.
    scheme (str): "bio", "bioes" or "biox".
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
    scheme (str): "bio", "bioes" or "biox".
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
    scheme (str): "bio", "bioes" or "biox".
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
    scheme (str): "bio", "bioes" or "biox".
    RETURNS (tuple[NDArray, NDArray, NDArray]): transitions, True at [i, j] where tag j may follow
        tag i, shape (L, L); start and end, True where a text may start or end with the tag,
        shape (L,). L = 1 + prefixes * labels.
    RAISES (ValueError): B020 unknown scheme.
    """
    prefixes = _get_prefixes(scheme)
    prefix = np.array(["O", *(p for _ in range(n_labels) for p in prefixes)])
    label = np.concatenate([[-1], np.repeat(np.arange(n_labels), len(prefixes))])
    start = ~np.isin(prefix, ["I", "E"])
    # Without E and S a span may stop after any of its tags; in bioes B and I ask for more.
    is_open = np.isin(prefix, ["B", "I"])
    end = ~is_open if scheme == "bioes" else np.ones_like(start)
    carries_on = is_open[:, None] & ~start[None, :] & (label[:, None] == label[None, :])
    return carries_on | (end[:, None] & start[None, :]), start, end


def allow_around(
    n_tokens: int, spans: Sequence[tuple[int, int, int]], n_labels: int, scheme: str
) -> NDArray[np.bool_]:
    """Say which tags each token may have where some spans are given.

    The tokens of a given span keep its tags, and no other span reaches into it. Where there is no
    span, every tag that may stand beside them is allowed.

    n_tokens (int): Number of tokens.
    spans (Sequence[tuple[int, int, int]]): (start, end, label id) in tokens, end exclusive, in any
        order. Label -1 is a span without a label: none of its tokens is in an entity. With
        start == end no token is in the span, but no entity may reach across this place.
    n_labels (int): Number of entity labels.
    scheme (str): "bio", "bioes" or "biox".
    RETURNS (NDArray[np.bool_]): Shape (n_tokens, 1 + prefixes * labels).
    RAISES (ValueError): B020 unknown scheme; B021, B022 as `spans_to_tags`.
    """
    prefixes = _get_prefixes(scheme)
    width = len(prefixes)
    allowed = np.ones((n_tokens, 1 + n_labels * width), dtype=bool)
    filled = [span for span in spans if span[0] != span[1]]
    named = [span for span in filled if span[2] >= 0]
    for place in {start for start, end, _ in spans if start == end < n_tokens}:
        for prefix in "IE":
            if prefix in prefixes:
                allowed[place, 1 + prefixes.index(prefix) :: width] = False
    if scheme != "bioes":
        # Without an end tag the next token says where a span ends.
        for _, end, label in named:
            if end < n_tokens:
                allowed[end, 2 + label * width] = False
    tags = spans_to_tags(n_tokens, named, scheme)
    rows = np.flatnonzero(spans_to_tags(n_tokens, [(a, b, 0) for a, b, _ in filled], scheme))
    allowed[rows] = False
    allowed[rows, tags[rows]] = True
    return allowed


def count_steps(
    tags: ArrayLike, known: ArrayLike, n_tags: int, offsets: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count which tags follow each other, start a text and end it.

    tags (ArrayLike): Tag ids, all texts concatenated. Shape (T,).
    known (ArrayLike): True where the tag is known; a step is counted if both of its tags are.
        Shape (T,).
    n_tags (int): Number of tags L.
    offsets (ArrayLike): Where each text starts, and T at the end. Shape (D + 1,).
    RETURNS (tuple[NDArray, NDArray, NDArray]): Shapes (L, L), (L,) and (L,), as
        `allowed_transitions`.
    RAISES (ValueError): B024 the offsets do not run from 0 to T.
    """
    ids, is_known = np.asarray(tags, dtype=np.int64), np.asarray(known, dtype=bool)
    bounds = np.asarray(offsets, dtype=np.int64)
    _check_offsets(bounds, ids.size)
    filled = bounds[1:] > bounds[:-1]
    first, last = bounds[:-1][filled], bounds[1:][filled] - 1
    inner = np.ones(ids.size, dtype=bool)
    inner[last] = False
    here = np.flatnonzero(inner)
    here = here[is_known[here] & is_known[here + 1]]
    pairs = np.bincount(ids[here] * n_tags + ids[here + 1], minlength=n_tags * n_tags)
    start, end = (np.bincount(ids[x[is_known[x]]], minlength=n_tags) for x in (first, last))
    return pairs.reshape(n_tags, n_tags), start, end


def log_frequencies(
    counts: tuple[NDArray, NDArray, NDArray], allowed: tuple[NDArray, NDArray, NDArray]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Turn counts of steps into logs of relative frequencies, each count one higher than it is.

    After each tag come the tags that may follow it and the end of the text; their frequencies add
    up to 1, as those of the tags at the start do. What is not allowed gets 0, which is not read.

    counts (tuple[NDArray, NDArray, NDArray]): From `count_steps`.
    allowed (tuple[NDArray, NDArray, NDArray]): From `allowed_transitions`, or True everywhere.
    RETURNS (tuple[NDArray, NDArray, NDArray]): Natural logs. Shapes (L, L), (L,) and (L,).
    """
    pairs, start, end = (np.where(ok, n + 1.0, 0.0) for n, ok in zip(counts, allowed))
    total = pairs.sum(1) + end
    parts = (pairs / total[:, None], start / start.sum(), end / total)
    logs = (np.log(np.where(ok, part, 1.0)) for part, ok in zip(parts, allowed))
    transitions, first, last = logs
    return transitions, first, last


def find_pieces(starts: ArrayLike, rows: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    """Tell the first pieces of tokens from those that get X.

    A piece that is the first of one token and a later one of another, where tokens share it, is a
    first piece.

    starts (ArrayLike): Token t has the pieces rows[starts[t]:starts[t + 1]]. Shape (T + 1,).
    rows (ArrayLike): Rows of pieces, token by token, ascending.
    RETURNS (tuple[NDArray, NDArray, NDArray]): Rows of all pieces that some token has, each once,
        ascending; the first token of each; and True where it is X. Each of shape (P,).
    """
    bounds, pieces = np.asarray(starts, dtype=np.int64), np.asarray(rows, dtype=np.int64)
    counts = np.diff(bounds)
    found, at = np.unique(pieces, return_index=True)
    token = np.repeat(np.arange(len(counts)), counts)[at]
    return found, token, ~np.isin(found, pieces[bounds[:-1][counts > 0]])


def _get_prefixes(scheme: str) -> str:
    if scheme not in PREFIXES:
        raise ValueError(Errors.B020.format(scheme=scheme, allowed=sorted(PREFIXES)))
    return PREFIXES[scheme]


def _check_offsets(offsets: NDArray[np.int64], n_tokens: int) -> None:
    shape_ok = offsets.ndim == 1 and offsets.size > 0
    if not shape_ok or offsets[0] != 0 or offsets[-1] != n_tokens or (np.diff(offsets) < 0).any():
        raise ValueError(Errors.B024.format(offsets=offsets, n_tokens=n_tokens))
