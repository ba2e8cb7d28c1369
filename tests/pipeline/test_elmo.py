"""Pipelines with an ELMo in `bert_encoder`: all heads, stock components, training and files."""

import pytest
import spacy
import torch
from spacy.tokens import Doc
from spacy.training import Example

from bert_spacy.data.pairs import make_question
from bert_spacy.weights.optimize import optimize

from ..elmo import make_elmo
from ..util import (
    ANY_ENCODER,
    TEXTS,
    all_examples,
    assert_close,
    encoder_of,
    make_nlp,
    ner_examples,
    predictions,
    same_weights,
    train_steps,
    trained,
    weights,
)
from ..wheel import assert_same_in_wheel

ELMO = {"@architectures": "bert-spacy.ElmoEncoder.v1", "mix_lr_multiplier": 1.0}
LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_elmo(tmp_path_factory.mktemp("elmo"))


@pytest.fixture(scope="module")
def joint(folder):
    """Return one pipeline of heads, a little trained; tests leave it as it is."""
    return trained(folder, ANY_ENCODER, steps=20, freeze="none", **ELMO)


def some_docs(nlp):
    # No two parts alike, or the best answer is a matter of rounding.
    long = " ".join(f"anna{i} lives in paris{i * i} and won the game" for i in range(15))
    texts = ["anna was in paris", "", "  \n", long, "a  good film", "北京 is the city"]
    questions = [
        make_question(nlp, "where was anna", long),
        make_question(nlp, "who", ""),
        make_question(nlp, "", "the team"),
    ]
    return [*map(nlp.make_doc, texts), *questions]


def test_the_factory_takes_an_elmo_and_a_crf_learns_on_it(folder):
    nlp = spacy.blank("en")
    model = {"@architectures": "bert-spacy.ElmoEncoder.v1", "name": str(folder)}
    nlp.add_pipe("bert_encoder", config={"model": model})
    nlp.add_pipe("bert_ner")
    examples = ner_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    before = weights(encoder_of(nlp))
    history = []
    for _ in range(60):
        losses = {}
        nlp.update(examples, sgd=sgd, losses=losses)
        history.append(losses["bert_ner"])
    assert history[-1] < history[0] / 2
    after = weights(encoder_of(nlp))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"mix.weights", "mix.gamma"}  # by default the language model stays


@pytest.mark.parametrize(
    "what, still",
    [
        ("none", ()),
        ("embeddings", ("embeddings",)),
        (1, ("embeddings", "layers.0")),
        ("lm", ("embeddings", "layers")),
        ("all", ("embeddings", "layers", "mix")),
    ],
)
def test_frozen_parts_do_not_learn_and_others_do(folder, what, still):
    nlp = make_nlp(folder, ANY_ENCODER, freeze=what, **ELMO)
    examples = all_examples(nlp, ANY_ENCODER)
    nlp.initialize(lambda: examples)
    before = weights(encoder_of(nlp))
    history = train_steps(nlp, examples, 15)
    after = weights(encoder_of(nlp))
    for name in before:
        assert torch.equal(before[name], after[name]) is name.startswith(still or "-"), name
    for head in ANY_ENCODER:
        assert history[-1][head] < history[0][head]


def test_hard_docs_pass_in_order_at_any_batch_size(joint):
    docs = some_docs(joint)
    alone = [joint(doc.copy()) for doc in docs]
    for size in (1, 2, 7, 128):
        found = list(joint.pipe([doc.copy() for doc in docs], batch_size=size))
        assert_close(predictions(found), predictions(alone), 1e-4)
        assert len(joint.get_pipe("bert_encoder").store) == 0
    assert alone[2].has_annotation("ENT_IOB") and set(alone[1].cats) == {"sport", "city", "film"}


def test_loaded_pipelines_predict_the_same(joint, tmp_path):
    docs = some_docs(joint)
    wanted = predictions(joint.pipe([doc.copy() for doc in docs]))
    joint.to_disk(tmp_path / "model")
    names = {path.name for path in (tmp_path / "model" / "bert_encoder" / "encoder").iterdir()}
    assert names == {"config.json", "model.safetensors"}
    loaded = spacy.load(tmp_path / "model")
    again = spacy.blank("en").from_config(joint.config).from_bytes(joint.to_bytes())
    for nlp in (loaded, again):
        copies = [Doc(nlp.vocab).from_bytes(doc.to_bytes()) for doc in docs]
        assert_close(predictions(nlp.pipe(copies)), wanted, 1e-6)
        assert same_weights(weights(encoder_of(nlp)), weights(encoder_of(joint)))
    train_steps(loaded, all_examples(loaded, ANY_ENCODER), 1)
    assert not same_weights(weights(encoder_of(loaded)), weights(encoder_of(joint)))


def test_a_damaged_saved_pipeline_is_refused(joint, tmp_path):
    joint.to_disk(tmp_path)
    (tmp_path / "bert_encoder" / "encoder" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"\[B125\]"):
        spacy.load(tmp_path)


def test_two_processes_predict_the_same(joint):
    docs = some_docs(joint)
    wanted = predictions(joint.pipe([doc.copy() for doc in docs]))
    found = list(joint.pipe([doc.copy() for doc in docs], n_process=2, batch_size=2))
    assert_close(predictions(found), wanted, 1e-4)


def test_sourced_and_replaced_listeners_predict_the_same(folder):
    source = trained(folder, ANY_ENCODER, **ELMO)
    wanted = predictions(source.pipe(TEXTS))
    nlp = spacy.blank("en")
    for name in ("bert_encoder", *ANY_ENCODER):
        nlp.add_pipe(name, source=source)
    nlp.replace_listeners("bert_encoder", "bert_ner", ["model.encoder"])
    assert nlp.get_pipe("bert_ner").listener is None
    assert_close(predictions(nlp.pipe(TEXTS)), wanted, 1e-6)
    own = nlp.get_pipe("bert_ner").model.get_ref("encoder").shims[0].encoder
    before = weights(own)
    train_steps(nlp, ner_examples(nlp), 2)
    assert not same_weights(before, weights(own))


def test_frozen_component_keeps_its_weights_while_heads_learn(folder):
    nlp = make_nlp(folder, ANY_ENCODER, freeze="none", **ELMO)
    examples = all_examples(nlp, ANY_ENCODER)
    nlp.initialize(lambda: examples)
    before = weights(encoder_of(nlp))
    freeze = {"exclude": ["bert_encoder"], "annotates": ["bert_encoder"]}
    history = train_steps(nlp, examples, 15, **freeze)
    assert same_weights(before, weights(encoder_of(nlp)))
    assert all(history[-1][head] < history[0][head] for head in ANY_ENCODER)


def test_stock_components_learn_on_an_elmo_and_see_its_words(folder, tmp_path):
    nlp = make_nlp(folder, freeze="none", **ELMO)
    nlp.get_pipe("bert_encoder").keep_outputs = True
    tagger = {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}
    nlp.add_pipe("tagger", config={"model": tagger})
    examples = []
    for text in TEXTS:
        doc = nlp.make_doc(text)
        tags = ["A" if i % 2 else "B" for i in range(len(doc))]
        examples.append(Example.from_dict(doc, {"tags": tags}))
    nlp.initialize(lambda: examples)
    before = weights(encoder_of(nlp))
    history = train_steps(nlp, examples, 40)
    assert history[-1]["tagger"] < history[0]["tagger"] / 2
    assert not same_weights(before, weights(encoder_of(nlp)))
    doc = nlp("the team  won")
    data = doc._.trf_data
    assert data.wordpieces.strings == [["the", "team", "won"]]
    assert data.align.lengths.tolist() == [1, 1, 0, 1]
    assert data.model_output.last_hidden_state.shape == (1, 3, 16)
    assert [token.tag_ for token in doc if not token.is_space] != []
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)("the team  won")
    assert [token.tag_ for token in again] == [token.tag_ for token in doc]


def test_an_elmo_has_no_other_backend(joint, tmp_path):
    joint.to_disk(tmp_path / "model")
    with pytest.raises(ValueError, match=r"\[B641\].*ELMo"):
        optimize(tmp_path / "model", tmp_path / "new")


def test_same_seed_same_weights(folder):
    def run():
        spacy.util.fix_random_seed(3)
        nlp = make_nlp(folder, ["bert_ner"], **{**ELMO, "dropout": 0.3, "freeze": "none"})
        examples = ner_examples(nlp)
        nlp.initialize(lambda: examples)
        train_steps(nlp, examples, 3, drop=0.2)
        return weights(encoder_of(nlp)), weights(nlp.get_pipe("bert_ner").shim.module)

    assert all(same_weights(a, b) for a, b in zip(run(), run()))


@pytest.mark.slow
def test_a_wheel_carries_the_weights_and_needs_no_h5py(joint, tmp_path):
    joint.to_disk(tmp_path / "model")
    assert_same_in_wheel(tmp_path / "model", TEXTS, tmp_path)
