"""What a head learns from the scores of the teacher's head."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from spacy.tokens import Doc
from spacy.training import Example
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...layers.ner import TagScores
from ...layers.qa import SpanScores, has_question
from ...nn.distill import soft_labels_loss, soft_loss
from ...pipeline.lattice import make_mask, pad
from ...pipeline.ner import BertEntityRecognizer
from ...pipeline.qa import BertQuestionAnswerer
from ...pipeline.textcat_multilabel import BertMultilabelTextCategorizer

# Gives the teacher's scores of Docs, see `split_scores`.
Lookup = Callable[[Sequence[Doc]], list[Tensor]]


def split_scores(head: Any, output: Any, docs: Sequence[Doc]) -> list[Tensor]:
    """Cut the output of a head into the scores of each Doc.

    head (BertHead): The head.
    output (Any): Its output for the Docs.
    docs (Sequence[Doc]): The Docs.
    RETURNS (list[Tensor]): Classes, shape (1, L); tags of each token that has pieces, shape
        (n, L); or start and end, of "no answer" and of each piece of the context, shape
        (1 + n, 2), with no rows where there is no question.
    """
    if isinstance(output, TagScores):
        return list(output.emissions.split(output.lengths.tolist()))
    if isinstance(output, SpanScores):
        null = output.null
        if not head.cfg["knows_null"]:
            null = torch.full_like(null, float("-inf"))
        parts = output.scores.split(np.diff(output.offsets).tolist())
        return [
            torch.cat([null[i : i + 1], part]) if has_question(doc) and len(part) else part[:0]
            for i, (doc, part) in enumerate(zip(docs, parts))
        ]
    return list(output[:, None])


def shift_scores(head: Any, scores: Tensor) -> Tensor:
    """Move the highest score of each distribution to 0, which changes none of them.

    head (BertHead): The head.
    scores (Tensor): Of one Doc, see `split_scores`.
    RETURNS (Tensor): Of the same shape; labels that do not exclude each other stay as they are.
    """
    if isinstance(head, BertMultilabelTextCategorizer) or not len(scores):
        return scores
    axis = 0 if isinstance(head, BertQuestionAnswerer) else 1
    return scores - scores.amax(axis, keepdim=True)


def make_loss(
    head: Any, teacher: Any, lookup: Lookup, gold: float, temperature: float
) -> Callable[[Sequence[Example], Any], Tensor | None]:
    """Make the loss of a head that learns from gold and from a teacher.

    Every Doc teaches what the teacher says of it, those without gold too.

    head (BertHead): The student's head.
    teacher (BertHead): The teacher's.
    lookup (Callable): Gives the teacher's scores of some Docs.
    gold (float): Share of the gold, 0 to 1.
    temperature (float): Divides the scores of both.
    RETURNS (Callable): Takes Examples and the head's output; None if there is nothing to learn.
    """

    def loss(examples: Sequence[Example], output: Any) -> Tensor | None:
        docs = [eg.predicted for eg in examples]
        parts = []
        if gold > 0:
            parts.append((gold, head.compute_loss(examples, output)))
        if gold < 1:
            scores = split_scores(head, output, docs)
            given = lookup(docs)
            # A classifier may have drawn dropout several times for each Doc.
            given = given * (len(scores) // max(len(given), 1))
            goal = [x.to(y.device) for x, y in zip(given, scores, strict=True)]
            parts.append((1 - gold, compare(head, teacher, scores, goal, temperature)))
        found = [weight * part for weight, part in parts if part is not None]
        return torch.stack(found).sum() if found else None

    return loss


def compare(
    head: Any, teacher: Any, scores: list[Tensor], goal: list[Tensor], temperature: float = 1.0
) -> Tensor | None:
    """Compute how far the scores of a head are from those of a teacher.

    head, teacher (BertHead): Both heads, of one kind and with the same labels.
    scores, goal (list[Tensor]): Their scores of each Doc, see `split_scores`.
    temperature (float): Divides the scores of both.
    RETURNS (Tensor | None): A mean over Docs, or over tokens where there is no CRF; 0 for equal
        heads, None where no Doc has scores.
    """
    pairs = [(ours, other) for ours, other in zip(scores, goal) if len(ours)]
    if not pairs:
        return None
    ours, goals = (torch.cat(rows) for rows in zip(*pairs))
    if isinstance(head, BertMultilabelTextCategorizer):
        return soft_labels_loss(ours, goals, temperature)
    if isinstance(head, BertQuestionAnswerer):
        return _compare_answers(pairs, temperature)
    crf = head.shim.module.crf if isinstance(head, BertEntityRecognizer) else None
    if crf is None:
        return soft_loss(ours, goals, temperature)
    mask = make_mask(np.array([len(row) for row, _ in pairs]), ours.device)
    teacher_crf = teacher.shim.module.crf.to(ours.device)
    gap = crf.divergence(pad(ours, mask), mask, teacher_crf, pad(goals, mask), temperature)
    return gap * temperature**2


def _compare_answers(pairs: list[tuple[Tensor, Tensor]], temperature: float) -> Tensor:
    tables = (
        pad_sequence(list(rows), batch_first=True, padding_value=float("-inf"))
        for rows in zip(*pairs)
    )
    ours, goal = (table.transpose(1, 2).flatten(0, 1) for table in tables)  # (2 D, 1 + n)
    return soft_loss(ours, goal, temperature)
