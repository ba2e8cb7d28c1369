"""Pack documents into windows, and make pairs of sentences. Pure, in numpy."""

from dataclasses import dataclass

import numpy as np

from ...text.pieces import Ints

TASKS = ("none", "next", "order")
NO_PAIR = -100  # what torch's cross entropy passes over


@dataclass(frozen=True)
class Chunks:
    """Windows of whole sentences, each within one document.

    units (Ints): First piece of each sentence or part of a long one, and the end. Shape (U + 1,).
    owners (Ints): Document of each unit. Shape (U,).
    first (Ints): First unit of each window. Shape (W,).
    last (Ints): One past its last unit. Shape (W,).
    targets (Ints): Most pieces that whole units may give it; a single longer one may stand alone.
        Shape (W,).
    """

    units: Ints
    owners: Ints
    first: Ints
    last: Ints
    targets: Ints


def stream_rows(number: int, room: int, ends: Ints) -> Ints:
    """Return the pieces of one window of a stream of documents.

    Documents are laid end to end with a separator between two, and cut every `room` places.

    number (int): Number of the window.
    room (int): Places of a window.
    ends (Ints): One past the last piece of each document. Shape (D,).
    RETURNS (Ints): Places of pieces in the corpus, -1 for a separator. None stands at the start.
    """
    total = stream_length(ends)
    places = np.arange(number * room, min((number + 1) * room, total))
    # A separator follows each document but the last; before it stand as many as documents.
    separators = ends + np.arange(len(ends))
    document = np.searchsorted(separators, places, side="left")
    rows = np.where(separators[document.clip(max=len(ends) - 1)] == places, -1, places - document)
    return rows[1:] if len(rows) and rows[0] < 0 else rows


def stream_length(ends: Ints) -> int:
    """Return how many places a stream of documents takes, with its separators."""
    return int(ends[-1]) + len(ends) - 1 if len(ends) else 0


def pack_sentences(
    sentences: Ints, documents: Ints, room: int, short: float, rng: np.random.Generator
) -> Chunks:
    """Fill windows with the sentences of each document, one after the other.

    A sentence of more than half of a window is cut into parts, so that there is room for
    two. Nothing is left out.

    sentences (Ints): First piece of each sentence, and the end. Shape (S + 1,).
    documents (Ints): First sentence of each document, and the end. Shape (D + 1,).
    room (int): Pieces of a window, without special ones.
    short (float): Share of windows that get a random smaller size, 0..1.
    rng (Generator): Its state gives these sizes.
    RETURNS (Chunks): The windows.
    SOURCE: https://arxiv.org/abs/1810.04805, appendix A.2
    """
    most = room // 2
    parts = -(-np.diff(sentences) // most)
    owners = np.repeat(np.repeat(np.arange(len(documents) - 1), np.diff(documents)), parts)
    within = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    units = np.append(np.repeat(sentences[:-1], parts) + within * most, sentences[-1:])
    first: list[int] = []
    targets: list[int] = []
    size = target = 0
    sizes = np.diff(units).tolist()
    new_document = np.append(True, owners[1:] != owners[:-1])[: len(owners)].tolist()
    for unit, (length, is_new) in enumerate(zip(sizes, new_document)):
        if is_new or size + length > target:
            first.append(unit)
            size = 0
            target = int(rng.integers(2, room + 1)) if rng.random() < short else room
            targets.append(target)
        size += length
    starts = np.array(first, dtype=np.int64)
    return Chunks(units, owners, starts, np.append(starts[1:], len(owners)), np.array(targets))


def make_pair(
    chunks: Chunks, number: int, task: str, room: int, documents: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints, int]:
    """Make two texts of one window, and say how they belong together.

    "next": half of the second texts come from another document, as in BERT; then the
    rest of the window waits for an epoch that draws otherwise. "order": half of the texts
    change places, as in ALBERT.

    chunks (Chunks): The windows.
    number (int): Number of the window.
    task (str): "next" or "order".
    room (int): Pieces of a window, without special ones.
    documents (Ints): First unit of each document, and the end. Shape (D + 1,).
    rng (Generator): Its state gives the pair.
    RETURNS (tuple[Ints, Ints, int]): Places of the pieces of both texts in the corpus,
        and the label: 0 for a text and what follows it, 1 for another text or the other
        order. A single unit with "order" gives an empty second text and NO_PAIR.
    SOURCE: https://arxiv.org/abs/1810.04805 and https://arxiv.org/abs/1909.11942
    """
    first, last = int(chunks.first[number]), int(chunks.last[number])
    n_units = last - first
    cut = first + 1 if n_units < 2 else first + int(rng.integers(1, n_units))
    a = _pieces(chunks, first, cut)
    is_other = bool(rng.random() < 0.5)
    if task == "order":
        if n_units < 2:
            return a, a[:0], NO_PAIR
        b = _pieces(chunks, cut, last)
        return (b, a, 1) if is_other else (a, b, 0)
    if n_units > 1 and not is_other:
        return a, _pieces(chunks, cut, last), 0
    owner = int(chunks.owners[first])
    other = int(rng.integers(len(documents) - 2))
    other += other >= owner
    start, stop = int(documents[other]), int(documents[other + 1])
    begin = int(rng.integers(start, stop))
    # Whole units, as many as fit, as in a true pair: the length must not tell which it is.
    left = int(chunks.targets[number]) - len(a)
    left = left if left > 0 else room - len(a)
    ends = chunks.units[begin + 1 : stop + 1] - chunks.units[begin]
    n_whole = int(np.searchsorted(ends, left, side="right"))
    return a, _pieces(chunks, begin, begin + max(n_whole, 1))[:left], 1


def _pieces(chunks: Chunks, first: int, last: int) -> Ints:
    return np.arange(chunks.units[first], chunks.units[last])
