import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_spacy.text.windows import GROUP_COST, pack_windows, plan_windows

sizes = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 60)), min_size=1, max_size=6)


def plan(docs, window, stride, specials=2):
    head, body = (np.array(x, dtype=np.int64) for x in zip(*docs))
    return plan_windows(head, body, np.full(len(docs), specials), window, stride)


@given(sizes, st.integers(9, 24), st.integers(1, 24))
def test_every_piece_is_given_by_the_window_whose_middle_is_nearest(docs, window, stride):
    found = plan(docs, window, stride)
    for doc, (_, body) in enumerate(docs):
        mine = np.flatnonzero(found.reading == doc)
        start, end = found.start[mine], found.end[mine]
        own = [
            (piece, i)
            for i, window_number in enumerate(mine)
            for piece in range(found.own_start[window_number], found.own_end[window_number])
        ]
        assert [piece for piece, _ in own] == list(range(body))  # once each
        middle = (start + end) / 2
        for piece, i in own:
            assert start[i] <= piece < end[i]
            holding = (start <= piece) & (piece < end)
            nearest = np.abs(middle[holding] - piece - 0.5).min()
            assert abs(middle[i] - piece - 0.5) == nearest


@given(sizes, st.integers(9, 24), st.integers(1, 24))
def test_windows_are_equally_long_and_overlap_as_full_ones_would(docs, window, stride):
    found = plan(docs, window, stride)
    for doc, (head, body) in enumerate(docs):
        room = window - head - 2
        overlap = room - min(stride, room)
        mine = found.reading == doc
        start, end = found.start[mine], found.end[mine]
        n_full = len(range(0, max(body - overlap, 1), room - overlap))
        assert len(start) == n_full
        assert start[0] == 0 and end[-1] == body
        length = end[0] - start[0]
        assert length <= room and (end - start == length).all()
        assert (np.diff(start) > 0).all()
        assert (end[:-1] - start[1:] >= overlap).all()
        # With one piece less in each, some neighbours would share less.
        assert n_full == 1 or n_full * (length - 1) < body + (n_full - 1) * overlap


def test_a_doc_that_fits_or_is_empty_has_one_window():
    found = plan([(0, 0), (0, 6), (0, 7)], window=8, stride=4)
    assert found.reading.tolist() == [0, 1, 2, 2]
    assert found.end.tolist() == [0, 6, 5, 7]
    assert found.start.tolist() == [0, 0, 0, 2]


def test_no_docs_give_no_windows():
    none = np.zeros(0, dtype=np.int64)
    found = plan_windows(none, none, none, 8, 4)
    assert len(found.reading) == len(found.start) == len(found.own_end) == 0


@pytest.mark.parametrize("window, head", [(2, 0), (8, 6), (8, 7)])
def test_a_window_without_room_for_the_last_segment_is_refused(window, head):
    with pytest.raises(ValueError, match=r"\[B001\]"):
        plan([(0, 5), (head, 5)] if window > 2 else [(head, 5)], window=window, stride=4)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_groups_hold_every_window_once_within_the_budget(lengths, budget):
    lengths = np.array(lengths, dtype=np.int64)
    groups = pack_windows(lengths, budget)
    joined = np.concatenate(groups) if groups else np.zeros(0, dtype=np.int64)
    assert sorted(joined.tolist()) == list(range(len(lengths)))
    assert (np.diff(lengths[joined]) <= 0).all()  # longest first
    for group in groups:
        assert len(group) == 1 or len(group) * lengths[group].max() <= budget


@given(st.lists(st.integers(1, 500), min_size=1, max_size=200))
def test_groups_cost_no_more_than_those_that_fill_the_budget(lengths):
    lengths = np.array(lengths, dtype=np.int64)

    def cost(groups):
        return sum(len(g) * int(lengths[g].max()) + GROUP_COST for g in groups)

    falling = np.argsort(-lengths, kind="stable")
    full, at = [], 0
    while at < len(falling):
        size = max(1, 2048 // int(lengths[falling[at]]))
        full.append(falling[at : at + size])
        at += size
    assert cost(pack_windows(lengths, 2048)) <= cost(full) * 1.05


def test_a_short_window_is_not_padded_to_a_long_one():
    groups = pack_windows(np.array([400, 10, 10, 10, 10]), 2048)
    assert [g.tolist() for g in groups] == [[0], [1, 2, 3, 4]]
