"""Windows combined by attention: `windows = "attention"` of the heads that pool a Doc."""

import numpy as np
import pytest
import spacy
import torch
from spacy.training import Example
from thinc.api import ConfigValidationError

from bert_spacy.data.pairs import make_choice
from bert_spacy.nn.heads import attend

from ..util import EXAMPLES, assert_close, make_nlp, predictions, train_steps

WORDS = "the team won the game and anna was in paris with bob"
# One, two and five windows of 24 pieces that begin 16 apart.
TEXTS = [WORDS, f"{WORDS} {WORDS}", " ".join([WORDS] * 5)]
N_WINDOWS = [1, 2, 5]
POOLED = ("bert_textcat", "bert_textcat_multilabel", "bert_regressor")


def make_head(folder, name="bert_textcat", **model):
    settings = {name: {"model": {"windows": "attention", **model}}}
    nlp = make_nlp(folder, [name], configs=settings, window=24, stride=16)
    examples = EXAMPLES[name.removesuffix("_multilabel")](nlp)
    nlp.initialize(lambda: examples)
    return nlp


def set_query(nlp, name="bert_textcat", scale=1.0):
    """Give the query values that are not zero."""
    query = nlp.get_pipe(name).shim.module.query
    with torch.no_grad():
        query.copy_(scale * torch.randn(len(query), generator=torch.Generator().manual_seed(3)))


def attend_by_hand(vectors, query):
    """Weigh the vectors of one Doc by hand, in float64."""
    vectors = vectors.astype(np.float64)
    scores = vectors @ query.astype(np.float64)
    weights = np.exp(scores - scores.max())
    return (weights / weights.sum()) @ vectors


def read_vectors(nlp, texts, pooling="pooler"):
    """Return the vectors of the windows of each Doc, and what the head makes of the batch."""
    name = nlp.pipe_names[-1]
    docs = [nlp.make_doc(text) for text in texts]
    encoder, head = nlp.get_pipe("bert_encoder"), nlp.get_pipe(name)
    batch = encoder.predict(docs)
    encoder.set_annotations(docs, batch)
    source = batch.cls if pooling == "cls" else batch.pooled
    cuts = batch.layout.doc_windows[1:-1]
    return np.split(source.numpy(), cuts), head.predict(docs).numpy()


@pytest.mark.parametrize("pooling", ["pooler", "cls"])
@pytest.mark.parametrize("name", POOLED)
def test_docs_of_one_two_and_five_windows_follow_the_definition(bert, name, pooling):
    nlp = make_head(bert, name, pooling=pooling)
    set_query(nlp, name)
    module = nlp.get_pipe(name).shim.module
    query, weight, bias = (
        x.detach().numpy() for x in (module.query, module.output.weight, module.output.bias)
    )
    vectors, found = read_vectors(nlp, TEXTS, pooling)
    assert [len(x) for x in vectors] == N_WINDOWS
    wanted = [attend_by_hand(x, query) @ weight.T + bias for x in vectors]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    plain = np.stack([x.mean(0) for x in vectors]) @ weight.T + bias
    assert np.abs(found - plain)[1:].max() > 1e-3


def test_a_choice_weighs_the_windows_of_each_of_its_choices(bert):
    nlp = make_head(bert, "bert_choice")
    set_query(nlp, "bert_choice")
    doc = make_choice(nlp, TEXTS[2], "where", ["paris", "the good team in london"])
    batch = nlp.get_pipe("bert_encoder").predict([doc])
    module = nlp.get_pipe("bert_choice").shim.module
    parts = [batch.pooled.numpy()[batch.layout.window_choice == k] for k in (0, 1)]
    pooled = [attend_by_hand(x, module.query.detach().numpy()) for x in parts]
    scores = torch.from_numpy(np.stack(pooled) @ module.output.weight.detach().numpy()[0])
    np.testing.assert_allclose(nlp(doc)._.choice_scores, torch.softmax(scores, 0), atol=1e-5)


def test_scores_of_any_size_give_finite_weights():
    vectors = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0], [-1, 0, 0, 0], [0, 2, 0, 0]])
    found = attend(vectors, torch.tensor([2, 2]), torch.full((4,), 1e4))
    torch.testing.assert_close(found, vectors[[0, 3]])


def test_the_gradient_is_that_of_a_softmax_for_each_doc():
    torch.manual_seed(0)
    query = torch.randn(6, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
    target = torch.randn(3, 6, dtype=torch.float64)
    found = attend(vectors, torch.tensor(N_WINDOWS), query)
    rows = [torch.softmax(x @ query, 0) @ x for x in vectors.split(N_WINDOWS)]
    for ours, plain in zip(
        torch.autograd.grad((found * target).sum(), (query, vectors)),
        torch.autograd.grad((torch.stack(rows) * target).sum(), (query, vectors)),
    ):
        torch.testing.assert_close(ours, plain)


def test_it_begins_as_the_mean(bert):
    by_attention, by_mean = make_head(bert), make_head(bert, windows="mean")
    state = by_attention.get_pipe("bert_textcat").shim.module.state_dict()
    assert not state.pop("query").any()
    by_mean.get_pipe("bert_textcat").shim.module.load_state_dict(state)
    assert_close(predictions(by_attention.pipe(TEXTS)), predictions(by_mean.pipe(TEXTS)), 1e-6)


@pytest.mark.parametrize("windows", ["mean", "max"])
@pytest.mark.parametrize("name", [*POOLED, "bert_choice"])
def test_the_others_keep_their_settings_and_weights(bert, name, windows):
    shim = make_head(bert, name, windows=windows).get_pipe(name).shim
    assert set(shim.settings) == {"width", "n_labels"}
    assert set(shim.module.state_dict()) == {"output.weight", "output.bias"}


def test_the_query_learns_from_long_docs(bert):
    nlp = make_head(bert)
    cats = [{"city": 1.0}, {"film": 1.0}, {"sport": 1.0}]
    made = [nlp.make_doc(text) for text in TEXTS]
    examples = [Example.from_dict(doc, {"cats": x}) for doc, x in zip(made, cats)]
    query = nlp.get_pipe("bert_textcat").shim.module.query
    # Docs of one window say nothing about it.
    train_steps(nlp, examples[:1], 1)
    assert not query.any()
    train_steps(nlp, examples, 1)
    assert query.all()


def test_the_mean_of_pieces_leaves_the_query_alone(bert):
    nlp = make_head(bert, pooling="mean")
    example = Example.from_dict(nlp.make_doc(TEXTS[2]), {"cats": {"city": 1.0}})
    train_steps(nlp, [example], 2)
    assert not nlp.get_pipe("bert_textcat").shim.module.query.any()
    before = predictions(nlp.pipe(TEXTS))
    set_query(nlp)
    assert_close(predictions(nlp.pipe(TEXTS)), before, 0)


def test_a_doc_does_not_feel_its_neighbours(bert):
    nlp = make_head(bert)
    set_query(nlp)
    texts = [*TEXTS, "", *TEXTS[::-1]]
    together = predictions(nlp.pipe(texts))
    assert_close(predictions(nlp(text) for text in texts), together, 1e-6)


def test_it_is_saved_and_loaded(bert, tmp_path):
    nlp = make_head(bert)
    set_query(nlp)
    nlp.to_disk(tmp_path / "nlp")
    loaded = spacy.load(tmp_path / "nlp")
    query = loaded.get_pipe("bert_textcat").shim.module.query
    assert torch.equal(query, nlp.get_pipe("bert_textcat").shim.module.query)
    assert_close(predictions(loaded.pipe(TEXTS)), predictions(nlp.pipe(TEXTS)), 1e-6)


@pytest.mark.parametrize(("saved", "wanted"), [("attention", "mean"), ("mean", "attention")])
def test_weights_of_the_other_kind_are_refused(bert, saved, wanted):
    message = make_head(bert, windows=saved).get_pipe("bert_textcat").to_bytes()
    with pytest.raises(ValueError, match=r"\[B207\].*query"):
        make_head(bert, windows=wanted).get_pipe("bert_textcat").from_bytes(message)


def test_an_unknown_way_is_refused(bert):
    with pytest.raises(ConfigValidationError, match="windows"):
        make_head(bert, windows="median")
