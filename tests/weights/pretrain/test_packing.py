"""Windows hold all text, pairs come as the papers say, and processes share them."""

import numpy as np
import pytest

from bert_spacy.text.pieces import Template
from bert_spacy.weights.pretrain.examples import Examples, Recipe, Share, collate
from bert_spacy.weights.pretrain.masking import Masking
from bert_spacy.weights.pretrain.packing import (
    NO_PAIR,
    make_pair,
    pack_sentences,
    stream_length,
    stream_rows,
)
from bert_spacy.weights.pretrain.prepare import Pieces

MASK, SEP, CLS, FIRST = 4, 3, 2, 10
TEMPLATE = Template(np.array([CLS]), np.array([SEP]), np.array([SEP]), (0, 1), 0)


def make_pieces(documents):
    """Lay out documents, given as the pieces of each sentence; piece i has id FIRST + i."""
    sizes = [size for document in documents for size in document]
    codes = (np.arange(sum(sizes)) + FIRST).astype(np.uint32) | np.uint32(1 << 31)
    bounds = np.append(0, np.cumsum([len(document) for document in documents]))
    return Pieces(codes, np.append(0, np.cumsum(sizes)), bounds)


def make_examples(documents, task="none", window=16, buffer=1000, seed=0, **masking):
    pieces = make_pieces(documents)
    others = np.arange(FIRST, FIRST + len(pieces.codes))
    recipe = Recipe(TEMPLATE, MASK, others, Masking(**masking), task, window, 0.1, buffer, seed)
    return Examples(pieces, recipe)


def original(example):
    """Put the hidden pieces back."""
    ids = example.ids.copy()
    ids[example.places] = example.labels
    return ids


@pytest.mark.parametrize("sizes", [[1], [5, 1, 9], [16] * 4, [40], [1] * 30, [7, 6, 7, 6]])
@pytest.mark.parametrize("room", [6, 7, 14])
def test_a_stream_holds_every_piece_once_and_in_order(sizes, room):
    ends = np.cumsum(sizes)
    plain = []
    for document, size in enumerate(sizes):
        plain += [-1] * (document > 0) + list(range(ends[document] - size, ends[document]))
    assert stream_length(ends) == len(plain)
    n_windows = -(-len(plain) // room)
    for number in range(n_windows):
        want = plain[number * room : (number + 1) * room]
        want = want[1:] if want[0] < 0 else want
        assert stream_rows(number, room, ends).tolist() == want


def test_windows_of_sentences_stay_in_documents_and_lose_nothing():
    random = np.random.default_rng(0)
    for seed in range(50):
        documents = [
            random.integers(1, 30, size=random.integers(1, 9)).tolist()
            for _ in range(random.integers(1, 8))
        ]
        pieces = make_pieces(documents)
        room = 13
        chunks = pack_sentences(
            pieces.sentences, pieces.documents, room, 0.3, np.random.default_rng(seed)
        )
        assert chunks.units[0] == 0
        assert chunks.units[-1] == len(pieces.codes)
        assert (np.diff(chunks.units) <= room // 2).all()
        assert set(pieces.sentences.tolist()) <= set(chunks.units.tolist())
        assert chunks.first[0] == 0
        assert chunks.last.tolist() == [*chunks.first[1:].tolist(), len(chunks.owners)]
        ends = pieces.sentences[pieces.documents[1:]]
        for first, last in zip(chunks.first, chunks.last):
            assert len(set(chunks.owners[first:last].tolist())) == 1
            assert chunks.units[last] - chunks.units[first] <= room
            assert chunks.owners[first] == np.searchsorted(ends, chunks.units[first], side="right")


def pairs_of(documents, task, room=20):
    pieces = make_pieces(documents)
    chunks = pack_sentences(pieces.sentences, pieces.documents, room, 0.0, np.random.default_rng(0))
    bounds = np.searchsorted(chunks.owners, np.arange(len(documents) + 1))
    for seed in range(400):
        for number in range(len(chunks.first)):
            random = np.random.default_rng([seed, number])
            yield chunks, number, *make_pair(chunks, number, task, room, bounds, random)


DOCUMENTS = [[4, 5, 6, 3], [5, 5, 5, 5, 5], [8, 9]]


def test_pairs_of_next_sentences():
    labels = []
    for chunks, number, a, b, label in pairs_of(DOCUMENTS, "next"):
        labels.append(label)
        assert len(a)
        assert 0 < len(a) + len(b) <= 20
        first, last = chunks.units[[chunks.first[number], chunks.last[number]]]
        assert a[0] == first
        assert {a[0], a[-1] + 1} <= set(chunks.units.tolist())
        if label == 0:
            assert b.tolist() == list(range(a[-1] + 1, last))
        else:
            owners = np.searchsorted(np.cumsum([18, 25, 17]), [a[0], b[0]], side="right")
            assert owners[0] != owners[1]
            assert b[0] in chunks.units
    # Windows of one unit, 1 of 4, always get another text.
    n_single = sum(chunks.last - chunks.first == 1)
    share = (n_single + 0.5 * (len(chunks.first) - n_single)) / len(chunks.first)
    assert np.mean(labels) == pytest.approx(share, abs=0.04)


def test_the_length_does_not_tell_which_pairs_are_true():
    random = np.random.default_rng(0)
    documents = [random.integers(3, 12, size=30).tolist() for _ in range(20)]
    pairs = [(len(a) + len(b), label) for *_, a, b, label in pairs_of(documents, "next", 50)]
    totals, labels = np.array(pairs[:4000]).T
    base = max(labels.mean(), 1 - labels.mean())
    for limit in range(2, 52):
        right = ((totals >= limit) == labels).mean()
        assert max(right, 1 - right) < base + 0.1


def test_pairs_of_the_order_of_sentences():
    labels = []
    for chunks, number, a, b, label in pairs_of(DOCUMENTS, "order"):
        first, last = chunks.units[[chunks.first[number], chunks.last[number]]]
        if label == NO_PAIR:
            assert chunks.last[number] - chunks.first[number] == 1
            assert not len(b)
            continue
        labels.append(label)
        one, two = (b, a) if label else (a, b)
        assert [*one.tolist(), *two.tolist()] == list(range(first, last))
    assert np.mean(labels) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("task", ["none", "next", "order"])
@pytest.mark.parametrize("unit", ["piece", "word", "span"])
def test_special_pieces_are_never_hidden(task, unit):
    examples = make_examples(DOCUMENTS * 5, task, unit=unit, rate=0.4)
    for number in range(2 * examples.n_windows):
        example = examples[number]
        ids = original(example)
        assert len(ids) <= 16
        assert ids[0] == CLS
        assert ids[-1] == SEP
        assert (example.labels >= FIRST).all()
        special = ids < FIRST
        assert (example.ids[special] == ids[special]).all()
        assert len(example.places) >= 1
        if task != "none" and example.pair != NO_PAIR:
            cut = np.flatnonzero(ids == SEP)[0] + 1
            assert example.types.tolist() == [0] * cut + [1] * (len(ids) - cut)


def test_an_epoch_holds_all_text_and_masks_change_with_it():
    examples = make_examples(DOCUMENTS * 7, buffer=4)
    n = examples.n_windows
    epochs = [[examples[epoch * n + i] for i in range(n)] for epoch in (0, 1)]
    for epoch in epochs:
        seen = np.concatenate([original(example) for example in epoch])
        seen = np.sort(seen[seen >= FIRST])
        assert (seen == np.arange(len(examples.pieces.codes)) + FIRST).all()
    orders = [examples.order(epoch).tolist() for epoch in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(n))
    assert orders[0] != orders[1]
    for window in range(n):
        a, b = (examples.make(epoch, window) for epoch in (0, 1))
        assert (original(a) == original(b)).all()
    assert any(
        examples.make(0, window).places.tolist() != examples.make(1, window).places.tolist()
        for window in range(n)
    )
    # Windows of one block of the buffer come together.
    for start in range(0, n - 4, 4):
        assert len({window // 4 for window in orders[0][start : start + 4]}) <= 2


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_processes_share_each_step(n):
    total, batch = 120, 12
    shares = [list(Share(process, n, total)) for process in range(n)]
    own = batch // n
    for step in range(total // batch):
        found = [x for share in shares for x in share[step * own : (step + 1) * own]]
        assert sorted(found) == list(range(step * batch, (step + 1) * batch))
    assert len(Share(0, n, total)) == len(shares[0])


def test_collating_keeps_every_place():
    examples = make_examples(DOCUMENTS, "order")
    rows = [examples[i] for i in range(3)]
    batch = collate(rows, pad_id=0)
    ids = batch["ids"].flatten()
    ids[batch["places"]] = batch["labels"]
    for row, example in zip(ids.reshape(batch["ids"].shape), rows):
        n = len(example.ids)
        assert row[:n].tolist() == original(example).tolist()
        assert not row[n:].any()
    assert batch["mask"].sum(1).tolist() == [len(example.ids) for example in rows]
    assert batch["pairs"].tolist() == [example.pair for example in rows]
