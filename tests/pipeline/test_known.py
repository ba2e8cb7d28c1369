"""Components and Docs find the pipeline they belong to."""

import gc

import pytest
import spacy

from bert_spacy.data.pairs import make_question
from bert_spacy.pipeline.known import (
    find_pipeline,
    find_pipelines,
    list_later,
    register_pipeline,
)

from ..util import make_nlp, qa_examples


def make_qa(bert, **config):
    nlp = make_nlp(bert, ["bert_qa"], configs={"bert_qa": config})
    examples = qa_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


def test_a_later_pipeline_on_the_same_vocabulary_takes_nothing_away(bert, tmp_path):
    nlp = make_qa(bert, null_threshold=1e9)
    nlp.to_disk(tmp_path / "model")
    other = spacy.load(tmp_path / "model", vocab=nlp.vocab, exclude=["bert_qa"])
    doc = nlp("the team won the game")
    assert doc._.ask("who won") and other("the team won the game")._.ask("who won")
    example = qa_examples(nlp)[0]
    assert len(nlp.get_pipe("bert_qa").judge([example]).hit) == 1


def test_components_of_another_pipeline_answer_questions_made_here(bert):
    nlp = make_qa(bert, null_threshold=1e9)
    other = spacy.blank("en")
    for name in ("bert_encoder", "bert_qa"):
        other.add_pipe(name, source=nlp)
    text = ("who won", "the team won the game")
    found, wanted = (x(make_question(x, *text))._.answers for x in (other, nlp))
    assert [a.text for a in found] == [a.text for a in wanted]
    with pytest.raises(ValueError, match=r"\[B306\].*source="):
        other(text[1])._.ask(text[0])


def test_pipelines_are_forgotten_with_their_last_reference(bert):
    nlp = make_qa(bert)
    vocab = nlp.vocab
    assert find_pipelines(vocab) == [nlp]
    del nlp
    gc.collect()
    assert find_pipelines(vocab) == []


def test_the_pipeline_that_came_last_is_found_first():
    first = spacy.blank("en")
    later = [spacy.blank("en", vocab=first.vocab) for _ in range(2)]
    for nlp in (first, *later):
        register_pipeline(nlp)
    assert find_pipelines(first.vocab) == [later[1], later[0], first]
    register_pipeline(first)
    assert find_pipelines(first.vocab) == [first, later[1], later[0]]


def test_disabled_components_are_found_in_their_pipeline():
    nlp = spacy.blank("en")
    register_pipeline(nlp)
    names = ["attribute_ruler", "tagger", "morphologizer", "lemmatizer"]
    pipes = [nlp.add_pipe(name) for name in names]
    for name in ("attribute_ruler", "morphologizer"):
        nlp.disable_pipe(name)
    for i, pipe in enumerate(pipes):
        assert find_pipeline(pipe) is nlp
        assert list_later(pipe, nlp) == list(zip(names, pipes))[i + 1 :]
    assert list_later(pipes[0], spacy.blank("en")) == list_later(pipes[0], None) == []
