"""`unfreeze_every`: layers begin to learn one after another, from the top down."""

import pytest
import torch

from ..util import encoder_of, make_nlp, textcat_examples, train_steps, weights
from .test_run import config, run, weights_of  # noqa: F401 - a fixture


def start(folder, **model):
    nlp = make_nlp(folder, ["bert_textcat"], **model)
    examples = textcat_examples(nlp)
    torch.manual_seed(0)
    nlp.initialize(lambda: examples)
    return nlp, examples


def part_of(name):
    """Name the part of a tiny model with two layers that a parameter learns with."""
    if "embedding" in name:
        return "embeddings"
    return "bottom" if "layer.0." in name or "layers.0." in name else "top"


def moved(before, after):
    return {part_of(name) for name in after if not torch.equal(before[name], after[name])}


def walk(nlp, examples, n_steps):
    """Yield the parts that each step moves."""
    for _ in range(n_steps):
        before = weights(encoder_of(nlp))
        train_steps(nlp, examples, 1)
        yield moved(before, weights(encoder_of(nlp)))


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "roberta"])
def test_layers_begin_to_learn_from_the_top_down(tiny_folder, kind):
    nlp, examples = start(tiny_folder(kind), unfreeze_every=2)
    parts = list(walk(nlp, examples, 8))
    assert parts == [
        *[set()] * 2,
        *[{"top"}] * 2,
        *[{"top", "bottom"}] * 2,
        *[{"top", "bottom", "embeddings"}] * 2,
    ]


def test_shared_layers_are_one(tiny_folder):
    nlp, examples = start(tiny_folder("albert"), unfreeze_every=1)
    encoder = encoder_of(nlp)
    learns = []
    for _ in range(3):
        names = [name for name, p in encoder.named_parameters() if p.requires_grad]
        learns.append({"embedding" in name for name in names})
        train_steps(nlp, examples, 1)
    assert learns == [set(), {False}, {False, True}]


def test_nothing_is_computed_backward_below(bert):
    nlp, examples = start(bert, unfreeze_every=1)
    encoder = encoder_of(nlp)
    needs = []
    for layer in encoder.model.encoder.layer:
        layer.register_forward_hook(lambda *args: needs.append(args[2][0].requires_grad))
    train_steps(nlp, examples, 4)
    assert needs == [False, False, False, True, True, True, True, True]


def test_what_is_frozen_stays_frozen(bert):
    nlp, examples = start(bert, unfreeze_every=1, freeze=1)
    assert list(walk(nlp, examples, 4)) == [set(), *[{"top"}] * 3]


def test_by_default_all_learn_from_the_start(bert):
    nlp, examples = start(bert)
    assert list(walk(nlp, examples, 1)) == [{"top", "bottom", "embeddings"}]


def test_a_loaded_pipeline_begins_at_the_top(bert):
    nlp, examples = start(bert, unfreeze_every=1)
    train_steps(nlp, examples, 3)
    again = make_nlp(bert, ["bert_textcat"], unfreeze_every=1).from_bytes(nlp.to_bytes())
    assert list(walk(again, examples, 2)) == [set(), {"top"}]


def test_a_negative_number_is_refused(bert):
    with pytest.raises(ValueError, match=r"\[B550\].*-1"):
        make_nlp(bert, unfreeze_every=-1)


def test_kills_change_nothing(config, tmp_path):  # noqa: F811
    config["components"]["bert_encoder"]["model"]["unfreeze_every"] = 3
    config["training"]["optimizer"]["average_decay"] = 0.8
    run(config, tmp_path / "whole", [], checkpoint_every=2)
    run(config, tmp_path / "killed", [2, 4, 7, 9], checkpoint_every=2)
    for name in ("model-best", "model-last", "checkpoints/step-00000012/pipeline"):
        assert weights_of(tmp_path / "killed" / name) == weights_of(tmp_path / "whole" / name)
