"""Streams and training steps that leave components out: who reads the encoder, and when."""

import pytest
import spacy
import torch
from spacy.training import Example
from transformers import AutoConfig, AutoModel, AutoTokenizer

from ..util import (
    HEADS,
    all_examples,
    encoder_of,
    make_nlp,
    ner_examples,
    qa_examples,
    same_weights,
    train_steps,
    trained,
    weights,
)


def make_joint(folder, heads=HEADS):
    torch.manual_seed(1)
    nlp = make_nlp(folder, heads)
    examples = all_examples(nlp, heads)
    nlp.initialize(lambda: examples)
    return nlp, examples


@pytest.mark.parametrize("frozen", [["bert_encoder"], ["bert_encoder", "bert_textcat"]])
def test_frozen_encoder_and_a_head_annotate_for_the_others(bert, frozen):
    nlp, examples = make_joint(bert)
    annotates = ["bert_encoder", "bert_textcat"]
    history = train_steps(nlp, examples, 10, exclude=frozen, annotates=annotates)
    for head in ("bert_ner", "bert_qa"):
        assert history[-1][head] < history[0][head]


def test_stream_without_the_encoder_leaves_no_trace(bert):
    nlp = trained(bert, ["bert_textcat", "bert_ner"])
    nlp.set_error_handler(lambda *args: None)
    texts = ["anna was in paris", "a good film"]
    assert list(nlp.pipe(texts, disable=["bert_encoder"])) == []
    kept = list(nlp.pipe(texts, disable=["bert_ner"]))
    assert kept[0].cats and len(nlp.get_pipe("bert_encoder").store) == 0


@pytest.mark.parametrize("widths", [(16, 16), (16, 32), (32, 16)])
def test_frozen_encoder_before_a_head_serves_it_from_the_start(bert, tmp_path, widths):
    config = AutoConfig.from_pretrained(bert)
    names = ["first", "second"]
    for name, config.hidden_size in zip(names, widths):
        torch.manual_seed(len(name))
        AutoModel.from_config(config).save_pretrained(tmp_path / name)
        AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path / name)
    source = spacy.blank("en")
    config = {"model": {"name": str(tmp_path / "second")}}
    source.add_pipe("bert_encoder", name="second", config=config)
    source.initialize()
    source.to_disk(tmp_path / "source")
    nlp = spacy.blank("en")
    config = {"model": {"name": str(tmp_path / "first")}}
    nlp.add_pipe("bert_encoder", name="first", config=config)
    nlp.add_pipe("second", source=spacy.load(tmp_path / "source"))
    nlp.add_pipe("bert_ner")
    examples = ner_examples(nlp)
    with nlp.select_pipes(disable="second"):
        nlp.initialize(lambda: examples)
    before = [weights(encoder_of(nlp, name)) for name in names]
    history = train_steps(nlp, examples, 15, exclude=["second"], annotates=["second"])
    assert history[-1]["bert_ner"] < history[0]["bert_ner"]
    after = [weights(encoder_of(nlp, name)) for name in names]
    assert all(same_weights(a, b) for a, b in zip(before, after))
    docs = list(nlp.pipe(["anna was in paris"]))
    assert docs[0].has_annotation("ENT_IOB")


def test_segments_that_a_reader_has_lost_are_told_once(bert):
    nlp = trained(bert, ["bert_qa"])
    plain = [Example(nlp.make_doc(eg.reference.text), eg.reference) for eg in qa_examples(nlp)]
    with pytest.warns(UserWarning, match=r"\[BW217\].*'bert_qa'.*who won.*Corpus\.v1"):
        losses = train_steps(nlp, plain, 1)
    assert losses[0]["bert_qa"] == 0.0
    train_steps(nlp, plain, 1)
    assert train_steps(nlp, qa_examples(nlp), 1)[0]["bert_qa"] > 0


def test_each_question_has_its_own_answers_though_one_fails(bert, monkeypatch):
    nlp = trained(bert, ["bert_qa"])
    nlp.get_pipe("bert_qa").null_threshold = 1e9
    doc = nlp("anna was in paris")
    wanted = doc._.ask(["where was anna", "who"])
    encoder = nlp.get_pipe("bert_encoder")
    predict = encoder.predict

    def fail(docs):
        if any("bad" in doc.text for doc in docs):
            raise ValueError("bad")
        return predict(docs)

    monkeypatch.setattr(encoder, "predict", fail)
    nlp.set_error_handler(lambda *args: None)
    found = doc._.ask(["where was anna", "bad", "who"])
    texts = [[answer.text for answer in row] for row in found]
    assert texts == [[a.text for a in wanted[0]], [], [a.text for a in wanted[1]]]
    assert all(texts[::2]) and doc._.ask("bad") == []


def test_a_head_that_is_disabled_in_the_source_alone_teaches_the_encoder(bert):
    found = []
    for off in ([], ["bert_ner"]):
        source, _ = make_joint(bert)
        nlp = spacy.blank("en")
        for name in ("bert_encoder", *HEADS):
            nlp.add_pipe(name, source=source)
        with source.select_pipes(disable=off):
            train_steps(nlp, all_examples(nlp), 2)
        found.append(weights(encoder_of(nlp)))
    assert same_weights(*found)
