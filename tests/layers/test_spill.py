import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bert_spacy.layers.spill import RowFile


@given(st.permutations(list(range(12))), st.integers(1, 12), st.integers(0, 12), st.integers(0, 12))
def test_rows_come_back_however_they_were_written(order, step, start, end):
    values = torch.randn(12, 3)
    rows = RowFile(12, 3)
    for at in range(0, 12, step):
        part = np.array(order[at : at + step])
        rows.write(part, values[torch.from_numpy(part)])
    start, end = min(start, end), max(start, end)
    assert torch.equal(rows.read(start, end), values[start:end])
    assert rows.shape == (12, 3)
