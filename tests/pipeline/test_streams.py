"""Streams and training steps that leave components out: who reads the encoder, and when."""

import pytest
import torch

from ..util import HEADS, all_examples, make_nlp, train_steps, trained


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
