"""The gold of an entity recogniser: tags of tokens, and how often they follow each other."""

import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from spacy.training import Example

from ..errors import Warnings
from ..text.tags import count_steps, spans_to_tags, tag_names
from ..types import Ints

# A tag for each token, and where it is known.
Gold = tuple[Ints, NDArray[np.bool_]]
Steps = tuple[Ints, Ints, Ints]


def read_gold(
    example: Example,
    tokens: Ints,
    labels: Sequence[str],
    scheme: str,
    name: str | None = None,
    others: Collection[str] = (),
) -> Gold | None:
    """Return the gold tag of some tokens, and where it is known.

    example (Example): The Example.
    tokens (Ints): Tokens of its predicted Doc, ascending. Shape (N,).
    labels (Sequence[str]): Labels in the order of the tags.
    scheme (str): Tag scheme.
    name (str | None): Name of the component, for the warning BW301 about a label that is not among
        them; None for no warning. Entities with such a label are missing gold.
    others (Collection[str]): Labels of other components, which are not warned of.
    RETURNS (Gold | None): Both of shape (N,); None if nothing is known.
    """
    biluo = example.get_aligned_ner()
    known = np.array([tag is not None for tag in biluo], dtype=bool)[tokens]
    number = {label: i for i, label in enumerate(labels)}
    place = np.searchsorted(tokens, np.arange(len(biluo) + 1))
    spans = []
    for start, end, label in _biluo_spans(biluo):
        a, b = int(place[start]), int(place[end])
        if label not in number:
            if name is not None and label not in others:
                values = {"label": label, "name": name, "labels": list(labels)}
                warnings.warn(Warnings.BW301.format(**values), stacklevel=2)
            known[a:b] = False
        elif b > a:
            spans.append((a, b, number[label]))
    return (spans_to_tags(len(tokens), spans, scheme), known) if known.any() else None


def pass_on(examples: Iterable[Example], name: str) -> Iterator[Example]:
    """Hand Examples on, and warn at the end of gold entities that begin or end inside a token.

    examples (Iterable[Example]): Gold.
    name (str): Name of the component, for the warning BW303.
    YIELDS (Example): Each of them.
    """
    total, cut = 0, list[dict[str, str]]()
    for example in examples:
        ents = example.reference.ents
        total += len(ents)
        # Whether all align is asked first, as it is quicker than which.
        if ents and len(example.get_aligned_spans_y2x(ents)) < len(ents):
            cut += _find_cut(example)
        yield example
    if cut:
        counts = {"n": len(cut), "total": total, "name": name}
        warnings.warn(Warnings.BW303.format(**counts, **cut[0]), stacklevel=2)


def _find_cut(example: Example) -> Iterator[dict[str, str]]:
    for ent in example.reference.ents:
        places = example.alignment.y2x[ent.start : ent.end]
        if len(places) and not example.get_aligned_spans_y2x([ent]):
            around = example.predicted[int(places[0]) : int(places[-1]) + 1]
            yield {"entity": ent.text, "tokens": "|".join(token.text for token in around)}


def count_gold_steps(examples: Iterable[Example], labels: Sequence[str], scheme: str) -> Steps:
    """Count how often tags follow each other, start a text and end it.

    Labels that are not known are warned of in training alone: before, later components have none.

    examples (Iterable[Example]): Gold; tokens of white space, which have no pieces, are left out.
    labels, scheme: As `read_gold`.
    RETURNS (Steps): Shapes (L, L), (L,) and (L,).
    """
    n_tags = len(tag_names(labels, scheme))
    found: list[Gold] = []
    for example in examples:
        tokens = np.flatnonzero([not token.is_space for token in example.predicted])
        gold = read_gold(example, tokens, labels, scheme)
        if gold is not None:
            found.append(gold)
    offsets = np.cumsum([0, *(len(tags) for tags, _ in found)])
    none = np.zeros(0, dtype=np.int64)
    tags = np.concatenate([none, *(tags for tags, _ in found)])
    known = np.concatenate([none, *(known for _, known in found)])
    return count_steps(tags, known, n_tags, offsets)


def count_tokens(examples: Iterable[Example], labels: Sequence[str]) -> list[int]:
    """Count the tokens of each label in the gold.

    examples (Iterable[Example]): Gold.
    labels (Sequence[str]): Labels of entities, and at the end "O" for tokens outside of them.
    RETURNS (list[int]): One count a label.
    """
    counts = dict.fromkeys(labels, 0)
    for example in examples:
        doc = example.reference
        for ent in doc.ents:
            if ent.label_ in counts:
                counts[ent.label_] += len(ent)
        counts["O"] += int((doc.to_array("ENT_IOB") == 2).sum())
    return list(counts.values())


def _biluo_spans(tags: Sequence[str | None]) -> Iterator[tuple[int, int, str]]:
    # Entities that align lie whole in the tags; a rest without its begin or end
    # has lost a part to misalignment, which is missing already.
    start = None
    for i, tag in enumerate(tags):
        prefix = tag[0] if tag else ""
        if prefix == "U":
            yield i, i + 1, tag[2:]  # type: ignore[index]
        elif prefix == "B":
            start = i
        elif prefix == "L" and start is not None:
            yield start, i + 1, tag[2:]  # type: ignore[index]
            start = None
