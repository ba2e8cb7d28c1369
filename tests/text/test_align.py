import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bert_spacy.text.align import align_tokens


@st.composite
def spans(draw, *, overlap):
    """Draw spans with ascending starts and ends; tokens never overlap, pieces may."""
    made, low, high = [], 0, 0
    for _ in range(draw(st.integers(0, 12))):
        start = draw(st.integers(low, low + 3)) if overlap else high + draw(st.integers(0, 2))
        end = max(start + draw(st.integers(0, 4)), high if overlap else 0)
        made.append((start, end))
        low, high = start, end
    return np.array(made, dtype=np.int64).reshape(-1, 2)


def overlapping(tokens, pieces):
    """Compare every token with every piece, as the definition says."""
    return [
        [row for row, (a, b) in enumerate(pieces.tolist()) if start < end and a < end and b > start]
        for start, end in tokens.tolist()
    ]


@given(spans(overlap=False), spans(overlap=True))
def test_alignment_equals_brute_force(tokens, pieces):
    starts, rows = align_tokens(tokens[:, 0], tokens[:, 1], pieces[:, 0], pieces[:, 1])
    found = [rows[a:b].tolist() for a, b in zip(starts[:-1], starts[1:])]
    assert found == overlapping(tokens, pieces)
    assert starts.dtype == rows.dtype == np.int64


def test_one_piece_may_serve_several_tokens_and_a_token_none():
    # tokens: "a", "b", " "; one piece "ab"
    starts, rows = align_tokens(
        np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([0]), np.array([2])
    )
    assert starts.tolist() == [0, 1, 2, 2]
    assert rows.tolist() == [0, 0]
