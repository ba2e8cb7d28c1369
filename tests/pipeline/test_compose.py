"""Components that are in several pipelines, in copies of them, or beside others of their kind."""

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from bert_spacy.data.pairs import get_segments, make_choice, make_question

from ..util import (
    HEADS,
    TEXTS,
    all_examples,
    assert_close,
    make_nlp,
    ner_examples,
    predictions,
    train_steps,
    trained,
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
