"""The ELMo layer against a plain reading, Doc by Doc and token by token."""

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc

from bert_spacy.data.pairs import make_pair, make_question
from bert_spacy.layers.elmo import build_elmo_encoder_v1
from bert_spacy.types import EncoderBatch, EncoderGradient

from ..elmo import TINY, make_elmo, plain_elmo, plain_mix

LONG = "anna lives in paris and bob won the game in london " * 30
TEXTS = [
    "the team won the game",
    "",
    " \n ",
    "anna  was\n\nin paris ",
    LONG,
    "北京是中国的首都",
    "a",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_elmo(tmp_path_factory.mktemp("elmo"))


def make_model(folder, **settings):
    model = build_elmo_encoder_v1(str(folder), **settings)
    model.initialize()
    return model


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


def read_plainly(model, doc, state=None):
    """Return the vectors of the tokens that are not white space, and of the Doc."""
    encoder = model.shims[0].encoder
    words = [token.text for token in doc if token.text.strip()]
    mixed = plain_mix(encoder, plain_elmo(encoder, words, state))
    half = TINY.projection_width
    return mixed[1:-1], torch.cat([mixed[-1, :half], mixed[0, half:]])


def compare(model, docs, batch, tolerance=5e-6):
    layout = batch.layout
    assert layout.n_docs == len(docs) and batch.pooled is None
    first = layout.first_rows()
    at = 0
    for n, doc in enumerate(docs):
        hidden, cls = read_plainly(model, doc)
        low, high = layout.doc_pieces[n : n + 2]
        torch.testing.assert_close(batch.rows(np.arange(low, high)), hidden, atol=tolerance, rtol=0)
        torch.testing.assert_close(batch.cls[n], cls, atol=tolerance, rtol=0)
        row = low
        for token in doc:
            has_piece = bool(token.text.strip())
            assert first[at] == (row if has_piece else -1)
            if has_piece:
                ends = layout.piece_start[row], layout.piece_end[row]
                assert doc.text[ends[0] : ends[1]] == token.text
            row += has_piece
            at += 1
        assert row == high


@pytest.mark.parametrize("budget", [None, 1, 40])
@pytest.mark.parametrize("spill", [2**28, 1])
def test_every_doc_gets_what_it_gets_alone(folder, nlp, budget, spill):
    model = make_model(folder, max_batch_pieces=budget)
    model.attrs["spill_bytes"] = spill
    docs = [nlp.make_doc(text) for text in TEXTS]
    compare(model, docs, model.predict(docs))
    for doc in docs:
        compare(model, [doc], model.predict([doc]))
    compare(model, docs[::-1], model.predict(docs[::-1]))


def test_no_docs_give_an_empty_batch(folder):
    batch = make_model(folder).predict([])
    assert batch.hidden.shape == (0, 16) and batch.layout.n_docs == 0


def test_docs_of_other_vocabularies_and_tokens_of_their_own(folder, nlp):
    other = spacy.blank("xx")
    docs = [
        Doc(nlp.vocab, words=["New York", "\n", "x"], spaces=[True, False, False]),
        Doc(other.vocab, words=["only", "here"]),
    ]
    model = make_model(folder)
    compare(model, docs, model.predict(docs))


def test_layouts_may_be_picked_and_joined(folder, nlp):
    model = make_model(folder)
    docs = [nlp.make_doc(text) for text in TEXTS]
    batch = model.predict(docs)
    order = [3, 1, 0]
    compare(model, [docs[i] for i in order], batch.select(order))
    joined = EncoderBatch.concat([batch.select([0]), batch.select([2, 3])])
    compare(model, [docs[i] for i in (0, 2, 3)], joined)


def test_words_that_are_too_long_are_cut_and_said_once(folder, nlp):
    model = make_model(folder)
    doc = Doc(nlp.vocab, words=["a", "y" * 100_000, "z" * 29, "fine"])
    with pytest.warns(UserWarning, match=r"\[BW216\] 2 words have more than 28 bytes") as caught:
        batch = model.predict([doc])
        compare(model, [doc], model.predict([doc]))
    assert len(caught) == 1
    compare(model, [doc], batch)
    short = Doc(nlp.vocab, words=["a", "y" * 28, "z" * 28, "fine"])
    torch.testing.assert_close(batch.hidden, model.predict([short]).hidden)


def test_segments_are_numbered(folder, nlp):
    model = make_model(folder)
    docs = [
        make_question(nlp, "who won", "the team"),
        make_question(nlp, "", "the team"),
        make_pair(nlp, "a b", ""),
        nlp.make_doc("plain"),
    ]
    batch = model.predict(docs)
    compare(model, docs, batch)
    assert batch.layout.piece_segment.tolist() == [0, 0, 1, 1, 1, 1, 0, 0, 0]
    docs[0].spans["segments"] = [docs[0][1:2]]
    with pytest.raises(ValueError, match=r"\[B202\]"):
        model.predict(docs)


@pytest.mark.parametrize("budget", [None, 1])
def test_stateful_docs_go_on_where_their_place_ended(folder, nlp, budget):
    model = make_model(folder, stateful=True, max_batch_pieces=budget)
    batches = [
        ["the team won", "anna"],
        ["in paris", "bob lives in london", "a film"],
        ["again"],
        ["a", "b"],
    ]
    memory = [{}, {}, {}]
    for texts in batches:
        docs = [nlp.make_doc(text) for text in texts]
        batch = model.predict(docs)
        for n, doc in enumerate(docs):
            hidden, cls = read_plainly(model, doc, memory[n])
            rows = slice(*batch.layout.doc_pieces[n : n + 2])
            torch.testing.assert_close(batch.hidden[rows], hidden, atol=5e-6, rtol=0)
            torch.testing.assert_close(batch.cls[n], cls, atol=5e-6, rtol=0)


def test_training_has_a_memory_of_its_own(folder, nlp):
    model = make_model(folder, stateful=True, dropout=0.0, freeze="none")
    doc, memory = nlp.make_doc("the team won"), {}
    for _ in range(3):
        model.predict([doc, doc])
        batch, backprop = model.begin_update([doc])
        hidden, _ = read_plainly(model, doc, memory)
        torch.testing.assert_close(batch.hidden, hidden, atol=5e-6, rtol=0)
        backprop(EncoderGradient(torch.ones_like(batch.hidden)))  # within the batch alone
    model.shims[0].from_bytes(model.shims[0].to_bytes())  # new weights remember nothing
    compare(model, [doc], model.predict([doc]))


def test_gradient_is_that_of_one_graph(folder, nlp):
    model = make_model(folder, freeze="none", dropout=0.0, max_batch_pieces=8)
    docs = [nlp.make_doc(text) for text in ("the team won the game", "anna was", "", "the a")]
    batch, backprop = model.begin_update(docs)
    compare(model, docs, batch)
    grads = torch.randn_like(batch.hidden), torch.randn_like(batch.cls)
    backprop(EncoderGradient(*grads))
    encoder = model.shims[0].encoder
    found = {name: p.grad.clone() for name, p in encoder.named_parameters()}
    encoder.zero_grad()
    # The same Docs one by one: their gradients add up.
    for n, doc in enumerate(docs):
        rows = slice(*batch.layout.doc_pieces[n : n + 2])
        _, backprop = model.begin_update([doc])
        backprop(EncoderGradient(grads[0][rows], grads[1][n : n + 1]))
    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(parameter.grad, found[name], atol=1e-5, rtol=1e-4)


def test_dropout_is_for_training_alone(folder, nlp):
    model = make_model(folder, dropout=0.5)
    docs = [nlp.make_doc(LONG)]
    compare(model, docs, model.predict(docs))
    batch, _ = model.begin_update(docs)
    assert 0.4 < (batch.hidden == 0).float().mean() < 0.6
    compare(model, docs, model.predict(docs))


def test_rate_of_the_mix_is_multiplied(folder):
    shim = make_model(folder, mix_lr_multiplier=7.0).shims[0]
    rates = {name: shim.learning_rate_scale(name) for name, _ in shim.encoder.named_parameters()}
    assert {name for name, rate in rates.items() if rate == 7.0} == {"mix.weights", "mix.gamma"}
    assert set(rates.values()) == {7.0, 1.0}


def test_bytes_and_copies_carry_the_weights(folder, nlp):
    model = make_model(folder, freeze=1, dropout=0.25)
    docs = [nlp.make_doc(text) for text in TEXTS]
    copied = model.copy()
    fresh = build_elmo_encoder_v1("nowhere", freeze=1).from_bytes(model.to_bytes())
    for other in (copied, fresh):
        assert torch.equal(other.predict(docs).hidden, model.predict(docs).hidden)
        assert not other.shims[0].encoder.layers[0].bias.requires_grad
    assert copied.shims[0].encoder.dropout.p == 0.25
    with torch.no_grad():
        copied.shims[0].encoder.mix.gamma.zero_()
    assert model.predict(docs).hidden.any()


def test_a_model_without_weights_says_so(tmp_path, nlp):
    model = build_elmo_encoder_v1(str(tmp_path))
    with pytest.raises(ValueError, match=r"\[B200\]"):
        model.predict([nlp.make_doc("a")])
    with pytest.raises(ValueError, match=r"\[B125\].*config.json"):
        model.initialize()
