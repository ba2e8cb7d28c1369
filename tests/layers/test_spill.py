import os

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bert_spacy.layers.spill import RowFile
from bert_spacy.types import EncoderBatch, Layout


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


def test_rows_are_read_where_there_is_no_pread(monkeypatch):
    monkeypatch.delattr(os, "pread", raising=False)  # as on Windows
    rows = RowFile(3, 2)
    rows.write(np.arange(3), torch.arange(6.0).view(3, 2))
    assert rows.read(1, 3).tolist() == [[2, 3], [4, 5]]
    assert rows.read(0, 1).tolist() == [[0, 1]]


def test_rows_from_the_disk_go_to_the_device_of_the_batch():
    offsets = np.array([0, 2, 3])
    ids = np.zeros(3, dtype=np.int64)
    layout = Layout(
        doc_pieces=offsets,
        doc_tokens=offsets,
        doc_windows=np.arange(3),
        window_choice=np.zeros(2, dtype=np.int64),
        align_starts=np.arange(4),
        align_rows=np.arange(3),
        piece_segment=ids,
        piece_start=ids,
        piece_end=ids,
        piece_ids=ids,
    )
    rows = RowFile(3, 4)
    rows.write(np.arange(3), torch.randn(3, 4))
    # "meta" stands for a GPU.
    batch = EncoderBatch(layout, rows, torch.empty(2, 4, device="meta"), block=2)
    apply = nn.Linear(4, 1, device="meta")
    assert batch.rows(np.array([2, -1, 0]), apply).device.type == "meta"
    assert batch.select([1]).hidden.device.type == "meta"
    assert EncoderBatch.concat([batch, batch]).hidden.device.type == "meta"
