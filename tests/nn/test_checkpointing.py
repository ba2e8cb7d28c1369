"""Layers computed anew in the backward pass: the same gradients from fewer kept tensors."""

import pytest
import torch

from bert_spacy.layers.encoder import build_bert_encoder_v1
from bert_spacy.nn.encoder import load_encoder

from ..util import encoder_of, gradients, make_nlp, same_weights, textcat_examples, train_steps

IDS = torch.randint(5, 40, (4, 19), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(19) < torch.tensor([[19], [7], [3], [1]])).long()


def run(encoder):
    """Return the output, the gradients and the bytes that the forward pass has kept."""
    kept = 0

    def pack(tensor):
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden, _ = encoder(IDS, MASK, torch.zeros_like(IDS))
    (hidden[MASK.bool()] ** 2).sum().backward()
    return hidden, gradients(encoder), kept


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra", "modernbert"])
@pytest.mark.parametrize("half", [False, True])
def test_gradients_are_those_without_it(tiny_folder, kind, half):
    results = []
    for checkpoints in (False, True):
        encoder = load_encoder(str(tiny_folder(kind)), local=True).train()
        encoder.set_dropout(0.3)
        if checkpoints:
            encoder.checkpoint_gradients()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            results.append(run(encoder))
    (hidden, wanted, all_kept), (again, found, few_kept) = results
    assert torch.equal(hidden, again)
    assert same_weights(found, wanted)
    assert few_kept < all_kept / 2


def test_a_model_that_cannot_is_refused(tiny_folder):
    model = build_bert_encoder_v1(str(tiny_folder("albert")), gradient_checkpointing=True)
    with pytest.raises(ValueError, match=r"\[B215\] AlbertModel"):
        model.initialize()


def test_a_pipeline_learns_the_same_with_it(bert, tmp_path):
    states = []
    for checkpoints in (False, True):
        nlp = make_nlp(bert, ["bert_textcat"], dropout=0.2, gradient_checkpointing=checkpoints)
        examples = textcat_examples(nlp)
        torch.manual_seed(0)
        nlp.initialize(lambda examples=examples: examples)
        assert encoder_of(nlp).model.is_gradient_checkpointing == checkpoints
        train_steps(nlp, examples, 3)
        states.append(encoder_of(nlp).state_dict())
        nlp.to_disk(tmp_path / "nlp")
    assert same_weights(*states)
    again = make_nlp(bert, ["bert_textcat"], gradient_checkpointing=True).from_disk(
        tmp_path / "nlp"
    )
    assert encoder_of(again).model.is_gradient_checkpointing
