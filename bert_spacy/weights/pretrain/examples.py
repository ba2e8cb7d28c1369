"""Examples by their number: the same for any number of processes, and after any stop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...text.pieces import Ints, Template
from .masking import Masking, choose, hide
from .packing import (
    NO_PAIR,
    Chunks,
    make_pair,
    pack_sentences,
    stream_length,
    stream_rows,
)
from .prepare import Pieces

# The same seed gives other draws for these.
_ORDER, _CHUNKS, _EXAMPLE = 0, 1, 2


@dataclass(frozen=True)
class Example:
    """One window.

    ids (Ints): Pieces with masks. Shape (P,).
    types (Ints): Segment of each. Shape (P,).
    places (Ints): Where pieces are hidden. Shape (N,).
    labels (Ints): The hidden pieces. Shape (N,).
    pair (int): Label of the sentence task, or NO_PAIR.
    """

    ids: Ints
    types: Ints
    places: Ints
    labels: Ints
    pair: int


@dataclass(frozen=True)
class Recipe:
    """How examples are made.

    template (Template): Special pieces of the tokenizer.
    mask_id (int): Id of the mask.
    others (Ints): Ids that may take the place of a piece.
    masking (Masking): What is hidden.
    task (str): "none", "next" or "order".
    window (int): Pieces of a window, special ones included.
    short (float): Share of shorter windows, for pairs.
    buffer (int): Windows that are shuffled together.
    seed (int): All draws come from it.
    """

    template: Template
    mask_id: int
    others: Ints
    masking: Masking
    task: str
    window: int
    short: float
    buffer: int
    seed: int

    @property
    def room(self) -> int:
        """Pieces of the texts of a window."""
        n_segments = 1 if self.task == "none" else 2
        return self.window - int(self.template.count(np.array(n_segments)))


class Examples(Dataset):
    """Windows of a prepared corpus without end: number N + i is window i of the next epoch.

    What example `number` is, its masks too, depends on the seed and on `number` alone.

    pieces (Pieces): The prepared corpus.
    recipe (Recipe): How examples are made.
    """

    def __init__(self, pieces: Pieces, recipe: Recipe):
        self.pieces, self.recipe = pieces, recipe
        self._order: tuple[int, Ints] = (-1, np.zeros(0, dtype=np.int64))

    @cached_property
    def chunks(self) -> Chunks:
        """Windows of sentences, for pairs."""
        pieces, recipe = self.pieces, self.recipe
        rng = np.random.default_rng([recipe.seed, _CHUNKS])
        return pack_sentences(pieces.sentences, pieces.documents, recipe.room, recipe.short, rng)

    @cached_property
    def ends(self) -> Ints:
        """One past the last piece of each document."""
        return self.pieces.sentences[self.pieces.documents[1:]]

    @cached_property
    def unit_documents(self) -> Ints:
        """First unit of each document, and the end."""
        return np.searchsorted(self.chunks.owners, np.arange(self.pieces.n_documents + 1))

    @cached_property
    def n_windows(self) -> int:
        """Windows of one epoch."""
        if self.recipe.task == "none":
            return -(-stream_length(self.ends) // self.recipe.room)
        return len(self.chunks.first)

    def __getitem__(self, number: int) -> Example:
        epoch, place = divmod(number, self.n_windows)
        return self.make(epoch, int(self.order(epoch)[place]))

    def order(self, epoch: int) -> Ints:
        """Return the windows in the order of one epoch.

        Blocks of `buffer` windows come in a random order, and windows are shuffled in
        each, so that a large corpus is read from the disk block by block.
        """
        if self._order[0] != epoch:
            self._order = (
                epoch,
                self._shuffle(np.random.default_rng([self.recipe.seed, _ORDER, epoch])),
            )
        return self._order[1]

    def _shuffle(self, rng: np.random.Generator) -> Ints:
        starts = np.arange(0, self.n_windows, self.recipe.buffer)
        blocks = [
            rng.permutation(np.arange(start, min(start + self.recipe.buffer, self.n_windows)))
            for start in rng.permutation(starts).tolist()
        ]
        return np.concatenate(blocks)

    def make(self, epoch: int, window: int) -> Example:
        """Make one window as it is in one epoch."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, _EXAMPLE, epoch, window])
        template = recipe.template
        if recipe.task == "none":
            segments = [stream_rows(window, recipe.room, self.ends)]
            pair = NO_PAIR
        else:
            a, b, pair = make_pair(
                self.chunks, window, recipe.task, recipe.room, self.unit_documents, rng
            )
            segments = [part for part in (a, b) if len(part)]
        ids, starts, types = [template.prefix], [], [np.zeros(len(template.prefix), dtype=np.int64)]
        is_text = [np.zeros(len(template.prefix), dtype=bool)]
        for number, rows in enumerate(segments):
            close = template.infix if number + 1 < len(segments) else template.suffix
            codes, word_starts = self.pieces.read(rows.clip(min=0))
            word_starts[:1] = True
            # Separators stand between documents, and a word ends there.
            is_piece = rows >= 0
            ids += [np.where(is_piece, codes, template.suffix[0]), close]
            starts.append((word_starts | np.append(True, ~is_piece[:-1])[: len(rows)])[is_piece])
            is_text += [is_piece, np.zeros(len(close), dtype=bool)]
            types.append(np.full(len(rows) + len(close), template.types[number]))
        all_ids, text = np.concatenate(ids), np.concatenate(is_text)
        chosen, units = choose(recipe.masking, np.concatenate(starts), rng)
        old = all_ids[text]
        all_ids[text] = hide(recipe.masking, old, chosen, units, recipe.mask_id, recipe.others, rng)
        return Example(
            all_ids, np.concatenate(types), np.flatnonzero(text)[chosen], old[chosen], pair
        )


@dataclass(frozen=True)
class Share:
    """The numbers of one process: every n-th, from one of its own on.

    first (int): Number of the process.
    step (int): Number of processes.
    total (int): All numbers.
    """

    first: int
    step: int
    total: int

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.total, self.step))

    def __len__(self) -> int:
        return len(range(self.first, self.total, self.step))


def collate(examples: Sequence[Example], pad_id: int) -> dict[str, Tensor]:
    """Pad windows to the longest.

    examples (Sequence[Example]): B windows.
    pad_id (int): Id of the padding piece.
    RETURNS (dict[str, Tensor]): "ids", "mask" and "types" of shape (B, P); "places" of the
        N hidden pieces in the flat (B * P) and their "labels", shape (N,); "pairs",
        shape (B,).
    """
    lengths = np.array([len(example.ids) for example in examples])
    width = int(lengths.max())
    mask = np.arange(width) < lengths[:, None]
    arrays: dict[str, Any] = {
        "ids": np.full(mask.shape, pad_id, dtype=np.int64),
        "types": np.zeros(mask.shape, dtype=np.int64),
    }
    arrays["ids"][mask] = np.concatenate([example.ids for example in examples])
    arrays["types"][mask] = np.concatenate([example.types for example in examples])
    arrays["mask"] = mask.astype(np.int64)
    arrays["places"] = np.concatenate(
        [example.places + row * width for row, example in enumerate(examples)]
    )
    arrays["labels"] = np.concatenate([example.labels for example in examples])
    arrays["pairs"] = np.array([example.pair for example in examples])
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
