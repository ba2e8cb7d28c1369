"""`accumulate_gradient` of spaCy: the gradients of the parts of a batch add up."""

import pytest
import torch
from spacy.training.loop import train_while_improving

from bert_spacy.training.optimizer import create_adamw_v1

from ..util import EXAMPLES, HEADS, encoder_of, gradients, make_nlp, weights


def start(bert, head):
    nlp = make_nlp(bert, [head])
    examples = EXAMPLES[head](nlp)
    torch.manual_seed(0)
    nlp.initialize(lambda: examples)
    return nlp, examples


@pytest.mark.parametrize("head", HEADS)
def test_gradients_of_halves_add_up_to_twice_the_mean(bert, head):
    nlp, examples = start(bert, head)
    nlp.update(examples, sgd=False)
    whole = gradients(encoder_of(nlp))
    nlp, examples = start(bert, head)
    nlp.update(examples[:2], sgd=False)
    nlp.update(examples[2:], sgd=False)
    halves = gradients(encoder_of(nlp))
    # Each loss is a mean over its own part, and spaCy does not divide by their number.
    assert halves.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(halves[name], 2 * value, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("head", HEADS)
def test_the_training_loop_takes_one_step_for_all_parts(bert, head):
    states = []
    for parts in (1, 2):
        nlp, examples = start(bert, head)
        loop = train_while_improving(
            nlp,
            create_adamw_v1(1e-3, grad_clip=0.0, eps=1e-12),
            iter([(0, examples)]),
            evaluate=lambda: (0.0, {}),
            dropout=0.0,
            eval_frequency=100,
            accumulate_gradient=parts,
            patience=0,
            max_steps=1,
            exclude=[],
            annotating_components=[],
            before_update=None,
        )
        assert len(list(loop)) == 1
        assert encoder_of(nlp).n_steps == 1
        states.append(weights(encoder_of(nlp)))
    nlp, examples = start(bert, head)
    nlp.update(examples, sgd=False)
    # AdamW does not mind a factor, except where the gradient is rounding error alone.
    clear = {name: grad.abs() > 1e-4 for name, grad in gradients(encoder_of(nlp)).items()}
    assert sum(int(mask.sum()) for mask in clear.values()) > 1000
    for name, mask in clear.items():
        a, b = (state[name][mask] for state in states)
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0, msg=name)
