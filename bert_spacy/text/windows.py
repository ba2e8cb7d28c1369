"""Windows of pieces: where each starts, and which piece it speaks for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import Errors

Ints = NDArray[np.int64]

# In padded pieces; measured with MiniLM in int8, where a group costs most beside its pieces.
GROUP_COST = 192


@dataclass(frozen=True)
class WindowPlan:
    """Windows over the body of each reading, in order.

    reading (Ints): The reading of each window. Shape (B,).
    start (Ints): First piece of the body that the window holds. Shape (B,).
    end (Ints): One past the last one. Shape (B,).
    own_start (Ints): The window gives the hidden states of the pieces from here:
        of several copies of a piece, that nearest the middle of its window
        counts. Shape (B,).
    own_end (Ints): One past the last such piece. Shape (B,).
    """

    reading: Ints
    start: Ints
    end: Ints
    own_start: Ints
    own_end: Ints


def plan_windows(others: Ints, body: Ints, specials: Ints, window: int, stride: int) -> WindowPlan:
    """Cut the body of each reading into windows that overlap.

    Every window repeats the other texts. A body that fits, even an empty one, has one window;
    those of a longer one are as many as the stride asks for, all of the same length, and that
    is the shortest with which neighbours still share as much as full windows would.

    others (Ints): Pieces in all texts of a reading but its body. Shape (R,).
    body (Ints): Pieces in its body. Shape (R,).
    specials (Ints): Special pieces, such as [CLS] and [SEP], that a window of
        this reading needs. Shape (R,).
    window (int): Most pieces in a window, special ones included.
    stride (int): Pieces from the start of one window to the start of the next.
    RETURNS (WindowPlan): The windows of all readings.
    RAISES (ValueError): B001 if a window has no room for the body.
    """
    room = window - others - specials
    if len(room) and int(room.min()) < 1:
        raise ValueError(Errors.B001.format(window=window, need=int((others + specials).max()) + 1))
    step = np.minimum(stride, room)
    counts = np.where(body <= room, 1, 1 + -(-(body - room) // step))
    reading = np.repeat(np.arange(len(body)), counts)
    first = np.concatenate(([0], np.cumsum(counts)))[:-1]
    number = np.arange(len(reading)) - first[reading]
    length = -(-(body + (counts - 1) * (room - step)) // counts)
    start = number * (body - length)[reading] // np.maximum(counts - 1, 1)[reading]
    end = start + length[reading]
    # Half-way between the middles of two neighbours, both of the same length.
    own_start = np.zeros_like(start)
    inner = np.flatnonzero(number > 0)
    own_start[inner] = -(-(start[inner] + end[inner - 1]) // 2)
    own_end = body[reading].copy()
    own_end[inner - 1] = own_start[inner]
    return WindowPlan(reading, start, end, own_start, own_end)


def pack_windows(lengths: Ints, budget: int, group_cost: float = GROUP_COST) -> list[Ints]:
    """Group windows of similar length under a budget of padded pieces.

    A group ends early where the shorter windows after it, in a group of their own, save
    more padding than a group costs.

    lengths (Ints): Pieces in each window. Shape (B,).
    budget (int): Most pieces, padding included, in one group. A single window
        that is larger forms a group of its own.
    group_cost (float): What one more group costs, in padded pieces.
    RETURNS (list[Ints]): Window numbers of each group, longest windows first.
    """
    order = np.argsort(-lengths, kind="stable")
    falling = lengths[order]
    groups, at = [], 0
    while at < len(order):
        longest = int(falling[at])
        part = falling[at : at + max(1, budget // max(1, longest))]
        saved = (longest - part) * np.arange(len(part), 0, -1)
        early = np.flatnonzero(saved > group_cost)
        size = int(early[0]) if len(early) else len(part)
        groups.append(order[at : at + size])
        at += size
    return groups
