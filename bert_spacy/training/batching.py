"""`bert-spacy.batch_by_pieces.v1`: batches of similar length."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import registry

from ..errors import Errors
from ..segments import count_choices, read_segments
from ..text.words import HAN
from ..types import ANSWERS, CHOSEN, REGRESSION

# Outside of Chinese; batching needs no better estimate. The second one is for long tokens.
PIECES_PER_TOKEN, LETTERS_PER_PIECE = 1.3, 6

Batcher = Callable[[Iterable[Example]], Iterator[list[Example]]]


@registry.batchers("bert-spacy.batch_by_pieces.v1")
def create_batch_by_pieces_v1(
    size: int = 16,
    max_pieces: int | None = None,
    buffer: int = 64,
    seed: int = 0,
    same_gold: bool = True,
) -> Batcher:
    """Create a batcher that puts Docs of similar length together.

    A buffer of examples is sorted by length and cut into batches, which come
    in random order: little padding, and no order by length.

    Heads that learn from different Docs take turns: in a batch of both the loss with the larger
    gradient, such as that of a CRF, would leave nothing of the other once gradients are clipped.

    size (int): Examples in a batch.
    max_pieces (int): Most pieces in a batch, padding included, estimated from
        the tokens; None for no limit. An example that is longer stands alone.
    buffer (int): Batches sorted together.
    seed (int): Seed of the order of batches.
    same_gold (bool): The Docs of a batch have the same kinds of gold.
    RETURNS (Callable): Takes examples, yields batches.
    RAISES (ValueError): B521 for a size, buffer or max_pieces under 1.

    SOURCE: One task a batch: Liu et al. (2019), Multi-task deep neural networks for natural
        language understanding, algorithm 1.
    """
    for name, value in (("size", size), ("buffer", buffer), ("max_pieces", max_pieces)):
        if value is not None and value < 1:
            raise ValueError(Errors.B521.format(name=name, value=value))
    order = random.Random(seed)  # noqa: S311 - no secret

    def batch(examples: Iterable[Example]) -> Iterator[list[Example]]:
        source = iter(examples)
        while chunk := list(islice(source, size * buffer)):
            chunk.sort(key=lambda eg: estimate_pieces(eg.predicted))
            kinds: dict[Any, list[Example]] = {}
            for eg in chunk:
                kinds.setdefault(find_kinds(eg.reference) if same_gold else None, []).append(eg)
            batches = [part for egs in kinds.values() for part in _cut(egs, size, max_pieces)]
            order.shuffle(batches)
            yield from batches

    return batch


def find_kinds(doc: Doc) -> tuple[bool, ...]:
    """Say of each kind of gold whether a Doc has it: categories, entities, answers and so on."""
    groups = (key in doc.spans for key in (ANSWERS, CHOSEN, REGRESSION))
    return bool(doc.cats), doc.has_annotation("ENT_IOB"), *groups


def estimate_pieces(doc: Doc) -> int:
    """Estimate the pieces of a Doc without a tokenizer: a Han character is one.

    The context and the question of several choices count once for each choice.
    """
    n_pieces = _estimate(doc)
    more = count_choices(doc) - 1
    for span in read_segments(doc)[:2] if more > 0 else []:
        n_pieces += more * _estimate(span)
    return int(n_pieces) + 2


def _estimate(part: Doc | Span) -> float:
    n_han = len(HAN.findall(part.text))
    n_letters, n_words = len(part.text) - n_han, max(0, len(part) - n_han)
    others = max(n_words * PIECES_PER_TOKEN, n_letters / LETTERS_PER_PIECE)
    return n_han + min(n_letters, others)


def _cut(chunk: list[Example], size: int, max_pieces: int | None) -> Iterator[list[Example]]:
    """Yield the batches of some examples, one or more of them, sorted by length."""
    batch: list[Example] = []
    for example in chunk:
        longest = estimate_pieces(example.predicted)
        if batch and (
            len(batch) == size or (max_pieces and longest * (len(batch) + 1) > max_pieces)
        ):
            yield batch
            batch = []
        batch.append(example)
    yield batch
