"""Our packed encoder against the plain Hugging Face model, window by window."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc
from spacy.util import registry

from bert_spacy.data.pairs import get_segments, make_pair, make_segments
from bert_spacy.layers.elmo import build_elmo_encoder_v1
from bert_spacy.layers.encoder import build_bert_encoder_v1, pad_windows
from bert_spacy.layers.inputs import round_width
from bert_spacy.nn.blocks import read_stack
from bert_spacy.nn.encoder import has_bfloat16
from bert_spacy.nn.extras import Extras, load_extras
from bert_spacy.nn.quantize import measure_ranges
from bert_spacy.types import EncoderBatch, EncoderGradient

from ..tiny import ARCHITECTURES
from ..util import cut, gradients, plain_run

NLP = spacy.blank("en")
TEXTS = [
    "Anna was in Paris!",
    "",
    "the team won the game and the city was good",
    "   ",
    "北京 is a big city of 中国",
    "x" * 120,
    "\U0001f600",
    "bob lives in london " * 9,
    "a",
]


def make_encoder(folder, **settings):
    model = build_bert_encoder_v1(str(folder), **settings)
    model.initialize()
    return model


def all_docs():
    return [
        *map(NLP.make_doc, TEXTS),
        make_pair(NLP, "where was anna", "anna was in paris with bob " * 4),
        make_pair(NLP, "", "the city"),
        make_pair(NLP, "the city", ""),
        make_pair(NLP, "", ""),
        make_segments(NLP, ["who", "a team", "the team won the game in london " * 3], ["a"] * 3),
        make_segments(NLP, ["who", "", "won"], ["a"] * 3),
    ]


def texts_of(doc):
    if "segments" not in doc.spans:
        return [doc.text]
    return [span.text for span in get_segments(doc)]


def reference(encoder, doc, window, stride):
    """Encode one Doc with the plain model: one unpadded window at a time."""
    is_roberta = encoder.model.config.model_type == "roberta"
    cls, infix, sep = ([0], [2, 2], [2]) if is_roberta else ([2], [3], [3])
    parts = [encoder.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts_of(doc)]
    head, body, kept = list(cls), parts[-1], []
    for ids in parts[:-1]:
        kept += range(len(head), len(head) + len(ids))
        head += [*ids, *infix]
    room = window - len(head) - len(sep)
    starts, length = cut(len(body), room, stride)
    best, outputs = [(np.inf, None)] * len(body), []
    for start in starts:
        part = body[start : start + length]
        types = [0] * len(head) + [int(len(parts) > 1)] * (len(part) + len(sep))
        outputs.append(plain_run(encoder, [*head, *part, *sep], types))
        states = outputs[-1].last_hidden_state[0]
        for i in range(len(part)):
            far = abs(i + 0.5 - len(part) / 2)
            if far < best[start + i][0]:
                best[start + i] = (far, states[len(head) + i])
    rows = [outputs[0].last_hidden_state[0][at] for at in kept] + [row for _, row in best]
    hidden = torch.stack(rows) if rows else torch.zeros(0, encoder.width)
    vectors = torch.cat([out.last_hidden_state[:, 0] for out in outputs])
    if getattr(outputs[0], "pooler_output", None) is None:
        return hidden, vectors, None
    return hidden, vectors, torch.cat([out.pooler_output for out in outputs])


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("window, stride", [(24, 16), (64, 48)])
def test_output_equals_the_plain_model(tiny_folder, kind, window, stride):
    model = make_encoder(tiny_folder(kind), window=window, stride=stride)
    encoder, docs = model.shims[0].encoder, all_docs()
    batch = model.predict(docs)
    layout = batch.layout
    for i, doc in enumerate(docs):
        hidden, cls, pooled = reference(encoder, doc, window, stride)
        rows = slice(*layout.doc_pieces[i : i + 2])
        windows = slice(*layout.doc_windows[i : i + 2])
        torch.testing.assert_close(batch.hidden[rows], hidden, atol=1e-5, rtol=0)
        torch.testing.assert_close(batch.cls[windows], cls, atol=1e-5, rtol=0)
        if pooled is None:
            assert batch.pooled is None
        else:
            torch.testing.assert_close(batch.pooled[windows], pooled, atol=1e-5, rtol=0)
    assert (batch.pooled is None) == (kind in ("distilbert", "electra", "modernbert"))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_layout_points_at_the_characters_of_pieces_and_tokens(tiny_folder, kind):
    model = make_encoder(tiny_folder(kind), window=24)
    docs = all_docs()
    layout = model.predict(docs).layout
    names = model.shims[0].encoder.tokenizer.convert_ids_to_tokens
    token = 0
    for i, doc in enumerate(docs):
        low, high = layout.doc_pieces[i : i + 2]
        bounds = [(0, len(doc.text))]
        if "segments" in doc.spans:
            bounds = [(span.start_char, span.end_char) for span in get_segments(doc)]
        for row in range(low, high):
            start, end = layout.piece_start[row], layout.piece_end[row]
            first, last = bounds[int(layout.piece_segment[row])]
            assert first <= start <= end <= last
            piece = names([int(layout.piece_ids[row])])[0]
            if kind == "bert" and piece != "[UNK]":
                assert doc.text[start:end].lower() == piece.removeprefix("##")
        for word in doc:
            rows = layout.align_rows[layout.align_starts[token] : layout.align_starts[token + 1]]
            wanted = [
                row
                for row in range(low, high)
                if layout.piece_start[row] < word.idx + len(word)
                and layout.piece_end[row] > word.idx
            ]
            assert rows.tolist() == wanted
            token += 1


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_output_does_not_depend_on_the_batch(tiny_folder, kind):
    docs = all_docs()
    whole = make_encoder(tiny_folder(kind), window=24, stride=16).predict(docs)
    order = np.random.permutation(len(docs)).tolist()
    for budget in (1, 64, 100000):
        model = make_encoder(tiny_folder(kind), window=24, stride=16, max_batch_pieces=budget)
        mixed = model.predict([docs[i] for i in order])
        assert_same(mixed, whole.select(order), 1e-5)
        for size in (1, 7):
            parts = [model.predict(docs[i : i + size]) for i in range(0, len(docs), size)]
            assert_same(EncoderBatch.concat(parts), whole, 1e-5)


def assert_same(a, b, tolerance):
    for name in vars(a.layout):
        np.testing.assert_array_equal(getattr(a.layout, name), getattr(b.layout, name))
    for name in ("hidden", "cls", "pooled"):
        x, y = getattr(a, name), getattr(b, name)
        if x is None or y is None:
            assert x is y
        else:
            x, y = (t if isinstance(t, torch.Tensor) else t.read(0, t.shape[0]) for t in (x, y))
            torch.testing.assert_close(x, y, atol=tolerance, rtol=0)


def test_hidden_states_on_disk_equal_those_in_memory(bert):
    model = make_encoder(bert, window=24, stride=16)
    docs = all_docs()
    memory = model.predict(docs)
    model.attrs["spill_bytes"] = 0
    disk = model.predict(docs)
    assert not isinstance(disk.hidden, torch.Tensor)
    assert_same(disk, memory, 0)
    for order in ([*range(len(docs))][::-1], [3, 0, 8], [1], []):
        assert_same(disk.select(order), memory.select(order), 0)
    assert_same(EncoderBatch.concat([disk, memory]), EncoderBatch.concat([memory, memory]), 0)
    index = np.array([-1, 0, 0, 3, 50, -1, 51])
    disk.block = 3
    assert torch.equal(disk.rows(index), memory.rows(index))
    assert torch.equal(disk.rows(index, torch.neg), -memory.rows(index))
    assert disk.rows(index[:0], lambda rows: rows[:, :2]).shape == (0, 2)
    shared = np.array([7, 8, 7, 8, 9])  # tokens that share pieces
    assert torch.equal(disk.rows(shared), memory.rows(shared))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported(bert, monkeypatch):
    model = make_encoder(bert)
    model.attrs["spill_bytes"] = 0

    device = partial(open, "/dev/full", "w+b")
    monkeypatch.setattr("bert_spacy.layers.spill.tempfile.TemporaryFile", lambda **_: device())
    with pytest.raises(OSError, match=r"\[B203\].*No space left"):
        model.predict([NLP.make_doc("a city")])


def test_select_and_concat_undo_each_other(bert):
    docs = all_docs()
    batch = make_encoder(bert, window=24).predict(docs)
    ones = [batch.select([i]) for i in range(len(docs))]
    assert_same(EncoderBatch.concat(ones), batch, 0)
    assert ones[2].layout.align_starts[0] == 0
    rows = batch.layout.first_rows()
    assert len(rows) == sum(map(len, docs))


@pytest.mark.skipif(not has_bfloat16("cpu"), reason="no bfloat16 in this processor")
def test_bfloat16_is_close_and_given_as_float32(bert):
    docs = [NLP.make_doc(t) for t in TEXTS]
    exact = make_encoder(bert).predict(docs)
    half = make_encoder(bert, precision="bf16").predict(docs)
    assert half.hidden.dtype == half.cls.dtype == half.pooled.dtype == torch.float32
    assert not torch.equal(half.hidden, exact.hidden)
    torch.testing.assert_close(half.hidden, exact.hidden, atol=0.15, rtol=0.1)
    model = make_encoder(bert, mixed_precision=True, dropout=0.0)
    batch, backprop = model.begin_update(docs)
    backprop(EncoderGradient(hidden=torch.ones_like(batch.hidden)))
    grads = [p.grad for p in model.shims[0].encoder.parameters() if p.grad is not None]
    assert grads and all(torch.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_mixed_precision_pads_a_little_more_and_reads_the_same(tiny_folder, kind, monkeypatch):
    # In float32, so that nothing but the padding can make a difference.
    monkeypatch.setattr("bert_spacy.layers.encoder.autocast", lambda *_: nullcontext())
    docs = [
        NLP.make_doc("bob lives in london and anna in paris " * n + "bob") for n in (4, 5, 6, 7)
    ]
    settings = {"window": 55, "stride": 45, "max_batch_pieces": 55, "dropout": 0.0}
    widths, results = [], []
    for half in (False, True):
        model = make_encoder(tiny_folder(kind), mixed_precision=half, **settings)
        seen = []
        model.shims[0].encoder.model.register_forward_pre_hook(
            lambda _, args, given, seen=seen: seen.append(given["input_ids"].shape[1]),
            with_kwargs=True,
        )
        batch, backprop = model.begin_update(docs)
        backprop(EncoderGradient(hidden=torch.ones_like(batch.hidden)))
        widths.append(seen)
        results.append((batch, gradients(model.shims[0].encoder)))
    assert widths[1] == [round_width(width, 55) for width in widths[0]] != widths[0]
    (plain, wanted), (padded, found) = results
    assert_same(padded, plain, 1e-5)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("docs", [[], [Doc(NLP.vocab)], [Doc(NLP.vocab), NLP.make_doc(" ")]])
def test_nothing_to_read_is_no_error(bert, docs):
    model = make_encoder(bert)
    batch = model.predict(docs)
    assert batch.layout.n_docs == len(docs) == len(batch.cls)
    assert batch.hidden.shape == (0, 16)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_gradients_equal_those_of_the_plain_model(tiny_folder, kind):
    model = make_encoder(tiny_folder(kind), window=24, stride=16, max_batch_pieces=60, dropout=0.0)
    encoder, docs = model.shims[0].encoder, all_docs()
    batch, backprop = model.begin_update(docs)
    assert_same(batch, model.predict(docs), 1e-5)
    outputs = [batch.hidden, batch.cls, batch.pooled]
    grads = [None if x is None else torch.randn_like(x) for x in outputs]
    backprop(EncoderGradient(*grads))
    found = gradients(encoder)
    encoder.zero_grad()
    plain = zip(*(reference(encoder, doc, 24, 16) for doc in docs))
    loss = sum((torch.cat(x) * g).sum() for x, g in zip(plain, grads) if g is not None)
    loss.backward()
    wanted = gradients(encoder)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_is_at_work_in_training_alone(bert, dropout):
    model = make_encoder(bert, dropout=dropout)
    docs = all_docs()
    before = model.predict(docs).hidden
    first, second = (model.begin_update(docs)[0].hidden for _ in range(2))
    assert torch.equal(first, second) is (dropout == 0.0)
    assert torch.equal(model.predict(docs).hidden, before)


@pytest.mark.parametrize("optimizer", ["bert-spacy.AdamW.v1", "Adam.v1"])
def test_prediction_follows_what_training_has_changed(bert, optimizer):
    model = make_encoder(bert, dropout=0.0)
    docs = all_docs()
    before = model.predict(docs).hidden
    batch, backprop = model.begin_update(docs)
    backprop(EncoderGradient(hidden=torch.ones_like(batch.hidden)))
    model.finish_update(registry.optimizers.get(optimizer)(learn_rate=0.01))
    after = model.predict(docs).hidden
    again, _ = model.begin_update(docs)
    assert not torch.allclose(after, before, atol=1e-3)
    torch.testing.assert_close(after, again.hidden, atol=1e-5, rtol=1e-5)


def test_what_was_optimized_is_forgotten_once_the_weights_learn(bert, tmp_path):
    model = make_encoder(bert, dropout=0.0)
    shim = model.shims[0]
    ranges = measure_ranges(
        shim.encoder.model, read_stack(shim.encoder.model), pad_windows(model, all_docs())
    )
    shim.set_extras(Extras(ranges))
    shim.to_disk(tmp_path)
    assert load_extras(tmp_path).ranges is not None
    assert model.from_bytes(model.to_bytes()).shims[0].extras.ranges is not None
    batch, backprop = model.begin_update(all_docs())
    backprop(EncoderGradient(hidden=torch.ones_like(batch.hidden)))
    model.finish_update(registry.optimizers.get("bert-spacy.AdamW.v1")(learn_rate=0.01))
    shim.to_disk(tmp_path / "learnt")
    assert load_extras(tmp_path / "learnt").ranges is None


def test_unknown_backend_is_refused(bert):
    with pytest.raises(ValueError, match=r"\[B130\]"):
        build_bert_encoder_v1(str(bert), backend="tpu")
    with pytest.raises(ValueError, match=r"\[B130\]"):
        build_bert_encoder_v1(str(bert), precision="fp8")


@pytest.mark.parametrize("build", [build_bert_encoder_v1, build_elmo_encoder_v1])
@pytest.mark.parametrize("value", [0, -5])
def test_a_budget_without_pieces_is_refused(build, value):
    with pytest.raises(ValueError, match=rf"\[B210\].*{value}"):
        build("name", max_batch_pieces=value)
