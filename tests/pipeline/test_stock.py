"""spaCy's own components on our encoder, and our heads on a stock `transformer`."""

import numpy as np
import pytest
import spacy
import torch
from spacy.training import Example

from bert_spacy.layers import foreign
from bert_spacy.types import EncoderGradient

from ..util import (
    ANY_ENCODER,
    TEXTS,
    all_examples,
    assert_close,
    encoder_of,
    gradients,
    make_nlp,
    predictions,
    same_weights,
    textcat_examples,
    train_steps,
    weights,
)

LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}
STATES = {"hidden_width": 8, "maxout_pieces": 2, "use_upper": False}
MODELS = {
    "tagger": {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER},
    "ner": {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        **STATES,
        "tok2vec": LISTENER,
    },
    "parser": {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "parser",
        "extra_state_tokens": False,
        **STATES,
        "tok2vec": LISTENER,
    },
    "textcat": {
        "@architectures": "spacy.TextCatReduce.v1",
        "exclusive_classes": True,
        "use_reduce_first": False,
        "use_reduce_last": False,
        "use_reduce_max": False,
        "use_reduce_mean": True,
        "tok2vec": LISTENER,
    },
    "spancat": {
        "@architectures": "spacy.SpanCategorizer.v1",
        "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 8},
        "scorer": {"@layers": "spacy.LinearLogistic.v1"},
        "tok2vec": LISTENER,
    },
}


def stock_examples(nlp):
    """Return texts with gold for every stock component and for our classifier."""
    made = []
    for eg in textcat_examples(nlp):
        n = len(eg.reference)
        gold = {
            "cats": eg.reference.cats,
            "tags": ["A" if i % 2 else "B" for i in range(n)],
            "heads": [0] * n,
            "deps": ["ROOT"] + ["dep"] * (n - 1),
            "entities": [(0, len(eg.reference[0]), "FIRST")],
            "spans": {"sc": [(0, len(eg.reference[0]), "FIRST")]},
        }
        made.append(Example.from_dict(nlp.make_doc(eg.reference.text), gold))
    return made


@pytest.mark.parametrize("name", MODELS)
def test_stock_component_trains_our_encoder(bert, name):
    nlp = make_nlp(bert, window=8, stride=6)
    rare = {"min_action_freq": 1} if name == "parser" else {}
    nlp.add_pipe(name, config={"model": MODELS[name], **rare})
    examples = stock_examples(nlp)
    nlp.initialize(lambda: examples)
    before = weights(encoder_of(nlp))
    history = train_steps(nlp, examples, 25)
    assert history[-1][name] < history[0][name]
    assert history[-1]["bert_encoder"] > 0
    assert not same_weights(before, weights(encoder_of(nlp)))
    docs = list(nlp.pipe([*TEXTS, "", "  ", "anna " * 40]))
    assert [doc.text for doc in docs[:4]] == TEXTS
    assert len(nlp.get_pipe("bert_encoder").store) == 0


def test_stock_and_own_heads_share_one_backward_pass(bert):
    torch.manual_seed(0)
    nlp = make_nlp(bert)
    nlp.add_pipe("tagger", config={"model": MODELS["tagger"]})
    nlp.add_pipe("bert_textcat")
    nlp.add_pipe("spancat", config={"model": MODELS["spancat"]})
    examples = stock_examples(nlp)
    nlp.initialize(lambda: examples)

    def gradient(names):
        skip = [n for n in ("tagger", "bert_textcat", "spancat") if n not in names]
        nlp.update(examples, sgd=False, drop=0.0, exclude=skip)
        nlp.get_pipe("bert_encoder")._finish_backward()
        found = gradients(encoder_of(nlp))
        encoder_of(nlp).zero_grad(set_to_none=True)
        return found

    names = ["tagger", "bert_textcat", "spancat"]
    parts = [gradient([name]) for name in names]
    whole = gradient(names)
    for key, value in whole.items():
        total = sum(part[key] for part in parts if key in part)
        torch.testing.assert_close(value, total, atol=1e-5, rtol=1e-4)


def test_stock_listener_gets_the_mean_of_each_tokens_pieces(bert):
    nlp = make_nlp(bert, window=8, stride=6)
    tagger = nlp.add_pipe("tagger", config={"model": MODELS["tagger"]})
    examples = stock_examples(nlp)
    nlp.initialize(lambda: examples)
    docs = [nlp.make_doc(text) for text in [*TEXTS, "", " ", "anna  \U0001f600 unbelievable"]]
    encoder = nlp.get_pipe("bert_encoder")
    batch = encoder.predict(docs)
    encoder.set_annotations(docs, batch)
    tok2vec = tagger.model.get_ref("tok2vec")
    found = tok2vec.predict(docs)
    layout, token = batch.layout, 0
    for doc, vectors in zip(docs, found):
        assert len(vectors) == len(doc)
        for row in vectors:
            links = layout.align_rows[layout.align_starts[token] : layout.align_starts[token + 1]]
            wanted = batch.hidden[links].mean(0).numpy() if len(links) else np.zeros(16)
            np.testing.assert_allclose(row, wanted, atol=1e-5)
            token += 1
    assert token == layout.doc_tokens[-1]


def test_frozen_encoder_serves_stock_components(bert):
    nlp = make_nlp(bert)
    nlp.add_pipe("tagger", config={"model": MODELS["tagger"]})
    examples = stock_examples(nlp)
    nlp.initialize(lambda: examples)
    before = weights(encoder_of(nlp))
    update = {"exclude": ["bert_encoder"], "annotates": ["bert_encoder"]}
    history = train_steps(nlp, examples, 10, **update)
    assert history[-1]["tagger"] < history[0]["tagger"]
    assert same_weights(before, weights(encoder_of(nlp)))


def test_outputs_are_kept_if_asked_for_and_dropped_from_long_streams(bert):
    nlp = make_nlp(bert, ["bert_textcat"])
    nlp.initialize(lambda: textcat_examples(nlp))
    encoder = nlp.get_pipe("bert_encoder")
    encoder.keep_outputs = True
    doc = nlp("anna was in \U0001f600 paris")
    data = doc._.trf_data
    assert data.wordpieces.strings[0][:2] == ["anna", "was"]
    assert data.model_output.last_hidden_state.shape[1] == len(data.wordpieces.strings[0])
    assert len(data.align.lengths) == len(doc)
    assert nlp("")._.trf_data is not None
    encoder.keep_outputs = False
    nlp.add_pipe("tagger", config={"model": MODELS["tagger"]})
    nlp.get_pipe("tagger").initialize(lambda: stock_examples(nlp), nlp=nlp)
    docs = list(nlp.pipe((f"anna {i}" for i in range(40)), batch_size=2))
    assert sum(doc._.trf_data is not None for doc in docs) <= 2 * (len(nlp.pipe_names) + 1)
    assert all(token.tag_ for doc in docs for token in doc)


def make_stock(folder, heads):
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": str(folder),
        "get_spans": {
            "@span_getters": "spacy-transformers.strided_spans.v1",
            "window": 8,
            "stride": 6,
        },
        "tokenizer_config": {"use_fast": True},
    }
    nlp.add_pipe("transformer", config={"model": model})
    for head in heads:
        nlp.add_pipe(head)
    return nlp


@pytest.mark.parametrize("head", ANY_ENCODER)
def test_our_head_trains_on_a_stock_transformer(bert, head, tmp_path):
    nlp = make_stock(bert, [head])
    examples = all_examples(nlp, [head])
    nlp.initialize(lambda: examples)
    component = nlp.get_pipe("transformer")
    before = component.to_bytes()
    history = train_steps(nlp, examples, 25)
    assert history[-1][head] < history[0][head]
    assert component.to_bytes() != before
    docs = [eg.predicted for eg in examples]
    texts = [nlp.make_doc(t) for t in ("", "  ", "anna was " * 20)]
    found = predictions(nlp.pipe([d.copy() for d in [*docs, *texts]]))
    assert_close(found, predictions(nlp(d.copy()) for d in [*docs, *texts]), 1e-4)
    empty = Example.from_dict(nlp.make_doc(""), {"cats": {"city": 1.0}})
    train_steps(nlp, [examples[0], empty, examples[1]], 1)
    nlp.to_disk(tmp_path)
    wanted = predictions(nlp.pipe([d.copy() for d in docs]))
    loaded = spacy.load(tmp_path)
    again = [eg.predicted for eg in all_examples(loaded, [head])]
    assert_close(predictions(loaded.pipe(again)), wanted, 1e-4)


def test_gradient_sent_to_a_stock_transformer_is_that_of_its_output(bert):
    nlp = make_stock(bert, ["bert_textcat", "bert_ner"])
    examples = all_examples(nlp, ["bert_textcat", "bert_ner"])
    nlp.initialize(lambda: examples)
    docs = [eg.predicted for eg in examples]
    component = nlp.get_pipe("transformer")
    listener = nlp.get_pipe("bert_ner").listener
    component.update(examples)
    sent = []
    listener._backprop = sent.append
    batch, backprop = listener(docs, True)
    hidden = torch.randn_like(batch.hidden)
    cls = torch.randn_like(batch.cls)
    backprop(EncoderGradient(hidden, cls))
    (data,) = sent
    total = sum(d.model_output.last_hidden_state.sum((0, 1)) for d in data)
    np.testing.assert_allclose(total, (hidden.sum(0) + cls.sum(0)).numpy(), atol=1e-4)


def test_output_of_a_stock_transformer_on_a_gpu_stays_there(bert, monkeypatch):
    nlp = make_stock(bert, ["bert_textcat"])
    nlp.initialize(lambda: textcat_examples(nlp))
    component = nlp.get_pipe("transformer")
    docs = [nlp.make_doc(text) for text in (TEXTS[0], "", TEXTS[1])]
    data = component.predict(docs).doc_data
    # "meta" stands for a GPU.
    meta = torch.device("meta")
    monkeypatch.setattr(foreign, "xp2torch", lambda x: torch.from_numpy(x).to(meta))
    monkeypatch.setattr(foreign, "torch2xp", lambda x: x)
    monkeypatch.setattr(foreign, "get_torch_default_device", lambda: meta, raising=False)
    batch = foreign.batch_from_data(docs, data, 16)
    assert batch.hidden.device == batch.cls.device == meta
    hidden, cls = torch.empty_like(batch.hidden), torch.empty_like(batch.cls)
    sent = foreign.gradient_to_data(docs, data, EncoderGradient(hidden, cls))
    assert [x.model_output.last_hidden_state.device for x in sent] == [meta, meta]
