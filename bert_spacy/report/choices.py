"""Which of several choices a pipeline took, and which was right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from spacy.training import Example

from ..segments import get_choice, get_choice_scores, get_choices, read_segments


@dataclass(frozen=True)
class ChoiceGroup:
    """The items with one number of choices.

    n_choices (int): That number, n.
    accuracy (float): Share that is right, 0..1.
    count (int): Number of items.
    matrix (NDArray): Items by place of the right choice and of the one taken. Shape (n, n).
    """

    n_choices: int
    accuracy: float
    count: int
    matrix: NDArray[np.int64]


@dataclass(frozen=True)
class ChoiceMistake:
    """An item whose choice is wrong, with the probability of that choice, 0..1, if it has one."""

    context: str
    question: str
    gold: str
    predicted: str
    probability: float | None


@dataclass(frozen=True)
class ChoiceResults:
    """The results of multiple choice.

    accuracy (float): Share of items that are right, 0..1.
    count (int): Number of items.
    groups (list[ChoiceGroup]): By number of choices, ascending.
    mistakes (list[ChoiceMistake]): The most confident ones first.
    """

    accuracy: float
    count: int
    groups: list[ChoiceGroup]
    mistakes: list[ChoiceMistake]


def choice_results(examples: Sequence[Example]) -> ChoiceResults | None:
    """Compare predicted with gold choices.

    examples (Sequence[Example]): Those without a gold or predicted choice are left out.
    RETURNS (ChoiceResults | None): None if none is left.
    """
    matrices: dict[int, NDArray[np.int64]] = {}
    mistakes = []
    for eg in examples:
        gold, index = get_choice(eg.reference), get_choice(eg.predicted)
        if gold is None or index is None:
            continue
        choices = get_choices(eg.reference)
        n = len(choices)
        matrices.setdefault(n, np.zeros((n, n), dtype=np.int64))[gold, index] += 1
        if index != gold:
            context, question = (span.text for span in read_segments(eg.reference)[:2])
            scores = get_choice_scores(eg.predicted)
            p = scores[index] if scores else None
            right, taken = choices[gold].text, choices[index].text
            mistakes.append(ChoiceMistake(context, question, right, taken, p))
    if not matrices:
        return None
    groups = [
        ChoiceGroup(n, float(matrix.trace() / matrix.sum()), int(matrix.sum()), matrix)
        for n, matrix in sorted(matrices.items())
    ]
    count = sum(group.count for group in groups)
    hits = sum(int(group.matrix.trace()) for group in groups)
    mistakes.sort(key=lambda mistake: -(mistake.probability or 0.0))
    return ChoiceResults(hits / count, count, groups, mistakes)
