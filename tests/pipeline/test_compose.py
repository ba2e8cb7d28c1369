"""Components that are in several pipelines, in copies of them, or beside others of their kind."""

import copy
import pickle

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Adam

from bert_spacy.data.pairs import get_segments, make_choice, make_question

from ..util import (
    HEADS,
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
from .test_stock import MODELS, stock_examples

PAIR = ("bert_textcat", "bert_ner")


@pytest.fixture(scope="module")
def folder(bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("compose") / "pipeline"
    trained(bert, HEADS, steps=20).to_disk(path)
    return path


def found(nlp):
    return predictions(nlp.pipe(TEXTS))


def test_sourced_parts_serve_both_pipelines_under_any_name(folder):
    first, nlp = spacy.load(folder), spacy.blank("en")
    wanted = found(first)
    nlp.add_pipe("bert_encoder", source=first, name="other")
    for head in HEADS:
        nlp.add_pipe(head, source=first, name=f"new_{head}")
    for _ in range(2):
        assert_close(found(nlp), wanted, 1e-6)
        assert_close(found(first), wanted, 1e-6)
    train_steps(nlp, all_examples(nlp), 1)
    assert_close(found(first), found(nlp), 1e-6)
    first.initialize(lambda: all_examples(first))


def test_a_sourced_head_reads_the_encoder_of_the_pipeline_it_runs_in(bert, folder):
    first, nlp = spacy.load(folder), make_nlp(bert)
    nlp.initialize()
    wanted = found(first)
    nlp.add_pipe("bert_textcat", source=first)
    other = found(nlp)
    assert_close(found(first), wanted, 1e-6)
    assert_close(found(nlp), other, 1e-6)
    assert other[0]["cats"] != wanted[0]["cats"]
    train_steps(first, all_examples(first), 1)
    assert train_steps(nlp, all_examples(nlp), 1)[0]["bert_textcat"] > 0


def test_each_of_two_encoders_serves_its_own_heads_and_holds_nothing_back(bert, folder, tmp_path):
    first, nlp = spacy.load(folder), trained(bert, ["bert_textcat"], steps=5)
    wanted = [{**a, "ents": b["ents"]} for a, b in zip(found(nlp), found(first))]
    nlp.add_pipe("bert_encoder", source=first, name="second")
    nlp.add_pipe("bert_ner", source=first)
    nlp.to_disk(tmp_path)
    for pipeline in (nlp, spacy.load(tmp_path)):
        docs = list(pipeline.pipe(TEXTS))
        assert_close(predictions(docs), wanted, 1e-5)
        for name in ("bert_encoder", "second"):
            assert len(pipeline.get_pipe(name).store) == 0
        with pipeline.select_pipes(disable="second"), pytest.raises(ValueError, match=r"\[B201\]"):
            pipeline("anna")
    (given,) = pipeline.get_pipe("bert_ner").span_probability([docs[1]], [docs[1].ents])
    assert given == pytest.approx([ent._.score for ent in docs[1].ents], abs=1e-5)


def test_each_of_two_encoders_steps_with_its_own_heads(bert):
    runs = []
    for at_once in (False, True):
        torch.manual_seed(0)
        nlp = make_nlp(bert, ["bert_textcat"])
        nlp.add_pipe("bert_encoder", name="second", config={"model": {"name": str(bert)}})
        nlp.add_pipe("bert_ner")
        examples = all_examples(nlp, PAIR)
        nlp.initialize(lambda examples=examples: examples)
        encoder_of(nlp, "second").set_dropout(0.0)
        sgd = Adam(0.01)
        for _ in range(3):
            if at_once:
                nlp.update(examples, sgd=sgd, drop=0.0)
            else:
                train_steps(nlp, examples, 1, sgd=sgd)
        runs.append([weights(encoder_of(nlp, name)) for name in ("bert_encoder", "second")])
    assert all(same_weights(a, b) for a, b in zip(*runs))


def by_pickle(nlp):
    return pickle.loads(pickle.dumps(nlp))


@pytest.mark.parametrize("make_copy", [copy.deepcopy, by_pickle])
def test_a_copy_of_a_pipeline_is_a_pipeline(folder, make_copy):
    nlp = spacy.load(folder, config={"components.bert_encoder.r_drop_alpha": 1.0})
    nlp.set_error_handler(print)
    wanted, answers = found(nlp), nlp(TEXTS[1])._.ask("where was anna")
    before = weights(encoder_of(nlp))
    other = make_copy(nlp)
    assert_close(found(other), wanted, 1e-6)
    assert [a.text for a in other(TEXTS[1])._.ask("where was anna")] == [a.text for a in answers]
    encoder = other.get_pipe("bert_encoder")
    assert encoder.r_drop_alpha == 1.0 and encoder.store.learns_again
    assert encoder.get_error_handler() is print
    with other.select_pipes(disable=["bert_ner"]):
        docs = list(other.pipe(TEXTS))
        assert len(encoder.store) == 0 and docs[0].cats
    train_steps(other, all_examples(other), 1)
    assert same_weights(before, weights(encoder_of(nlp)))
    assert not same_weights(before, weights(encoder_of(other)))


@Language.component("test_merger")
def merge_first_tokens(doc: Doc) -> Doc:
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[:2])
    return doc


def test_tokens_that_changed_behind_the_encoder_are_told(bert):
    nlp = trained(bert, PAIR, steps=1)
    nlp.add_pipe("test_merger", after="bert_encoder")
    with pytest.raises(ValueError, match=r"\[B212\] .* 4 tokens .* 3 now: 'anna was in paris'"):
        nlp("anna was in paris")
    with pytest.raises(ValueError, match=r"\[B212\].*bert_ner"):
        nlp.update(ner_examples(nlp)[1:2], annotates=["test_merger"])
    with nlp.select_pipes(disable="bert_ner"):
        assert nlp("anna was in paris").cats


def test_listeners_of_stock_components_are_not_replaced(bert):
    nlp = make_nlp(bert)
    nlp.add_pipe("tagger", config={"model": MODELS["tagger"]})
    nlp.initialize(lambda: stock_examples(nlp))
    with pytest.raises(ValueError, match=r"\[B216\] .*'tagger'.*'bert_encoder'"):
        nlp.replace_listeners("bert_encoder", "tagger", ["model.tok2vec"])


def test_stock_components_take_larger_batches_than_the_encoder(bert):
    nlp = make_nlp(bert)
    nlp.add_pipe("tagger", config={"model": MODELS["tagger"]})
    examples = stock_examples(nlp)
    nlp.initialize(lambda: examples)
    train_steps(nlp, examples, 40)
    texts = [f"{text}{' and' * i}" for i in range(10) for text in TEXTS]
    wanted = [[token.tag_ for token in nlp(text)] for text in texts]
    assert {tag for tags in wanted for tag in tags} == {"A", "B"}
    for make_copy in (lambda x: x, copy.deepcopy):
        sizes = {"bert_encoder": {"batch_size": 2}, "tagger": {"batch_size": 30}}
        docs = list(make_copy(nlp).pipe(texts, component_cfg=sizes))
        assert [[token.tag_ for token in doc] for doc in docs] == wanted
    docs = list(nlp.pipe(texts, batch_size=2))
    assert sum(doc._.trf_data is not None for doc in docs) <= 2 * (len(nlp.pipe_names) + 1)


def test_docs_whose_groups_have_lost_their_attrs_say_nothing(folder):
    nlp = spacy.load(folder)
    asked = nlp(make_question(nlp, "who", "anna was in paris"))
    chosen = nlp(make_choice(nlp, "anna was in paris", "where was anna", ["paris", "london"]))
    assert asked.spans["answers"].attrs and chosen._.choice is not None
    for doc in (asked, chosen):
        read = Doc(nlp.vocab).from_json(doc.to_json())
        joined = Doc.from_docs([doc, nlp("bob lives in london")])
        for other in (read, joined):
            assert (other._.answers, other._.choice, other._.choice_scores) == ([], None, [])
            assert other._.no_answer is None
        assert len(get_segments(read)) == len(get_segments(doc))
        assert_close(predictions([nlp(read)]), predictions([doc]), 1e-5)


def test_gold_answers_without_their_attrs_are_missing_gold(folder):
    nlp = spacy.load(folder)
    example = all_examples(nlp, ["bert_qa"])[0]
    example.reference = Doc(nlp.vocab).from_json(example.reference.to_json())
    assert train_steps(nlp, [example], 1)[0]["bert_qa"] == 0.0
