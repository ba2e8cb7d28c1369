"""Answers from scores that are given by hand."""

import math

import numpy as np
import pytest
import torch

from bert_spacy.layers.qa import SpanScores
from bert_spacy.pipeline import answers
from bert_spacy.pipeline.answers import SpanTable, find_answers


@pytest.mark.parametrize("cells", [1, 8, answers.TABLE_CELLS])
def test_probabilities_of_blocks_are_sums_over_their_spans(monkeypatch, cells):
    monkeypatch.setattr(answers, "TABLE_CELLS", cells)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 6, 4))
    edges, null = np.zeros((2, 6, 2)), rng.normal(size=(2, 2))
    table = SpanTable(*(torch.tensor(x) for x in (edges, scores, null)), temperature=1.5)
    shares = np.exp(scores / 1.5)
    mass = shares.sum((1, 2)) + np.exp(null.sum(1) / 1.5)
    rows = np.array([0, 1, 1, 0])
    first = np.array([[0, 3], [2, 6], [1, 1], [4, 5]])
    last = np.array([[1, 4], [0, 6], [0, 6], [4, 6]])
    wanted = [
        sum(
            shares[row, p, q - p]
            for p in range(*starts)
            for q in range(*ends)
            if 0 <= q - p < scores.shape[2]
        )
        / mass[row]
        for row, starts, ends in zip(rows, first, last)
    ]
    np.testing.assert_allclose(table.sum_blocks(rows, first, last), wanted)


def test_answers_that_share_half_of_their_characters_are_the_same():
    """The first character is the best answer; one more makes it another cut, two more not."""
    text = "\u5317\u4eac\u5927"
    places = np.arange(3)
    scores = torch.tensor([[9.0, 9.0], [-9.0, 8.0], [-9.0, 7.0]])
    found = find_answers(
        [(text, 0)],
        SpanScores(scores, np.array([0, 3]), torch.zeros(1, 2), places, places + 1, places),
        most_tokens=3,
        n_best=2,
        knows_null=False,
    )
    assert [answer["text"] for answer in found[0].answers] == [text[:1], text]
    assert found[0].gap == -math.inf
