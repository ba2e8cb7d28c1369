import numpy as np
import pytest
import spacy
import torch
from thinc.api import Adam, compounding
from torch import nn

from bert_spacy.layers.shims import step_module
from bert_spacy.training.optimizer import create_adamw_v1

from ..util import EXAMPLES, encoder_of, make_nlp, textcat_examples, train_steps, weights


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.output = nn.Linear(3, 2)
        self.LayerNorm = nn.LayerNorm(2)
        self.crf = nn.ParameterDict({"transitions": nn.Parameter(torch.ones(2, 2))})


def make_pair_of_nets():
    torch.manual_seed(0)
    ours, theirs = Net(), Net()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def give_gradients(step, *nets):
    for net in nets:
        torch.manual_seed(step)
        for parameter in net.parameters():
            parameter.grad = torch.randn_like(parameter) * 3


def groups(net, rate, decay, scale):
    """Make the groups of torch's own optimiser by hand."""
    crf, norm = net.crf["transitions"], net.LayerNorm
    return [
        {"params": [net.output.weight], "lr": rate * scale("output"), "weight_decay": decay},
        {"params": [net.output.bias], "lr": rate * scale("output"), "weight_decay": 0.0},
        {"params": [norm.weight, norm.bias], "lr": rate * scale("norm"), "weight_decay": 0.0},
        {"params": [crf], "lr": rate * scale("crf"), "weight_decay": 0.0},
    ]


@pytest.mark.parametrize("clip", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_equal_those_of_torch(clip, decay):
    ours, theirs = make_pair_of_nets()
    optimizer = create_adamw_v1(0.01, weight_decay=decay, grad_clip=clip, beta2=0.9, eps=1e-6)

    def scale(name):
        return 100.0 if name.startswith("crf") else 1.0

    plain = torch.optim.AdamW(
        groups(theirs, 0.01, decay, scale), betas=(0.9, 0.9), eps=1e-6, fused=False
    )
    for step in range(5):
        give_gradients(step, ours, theirs)
        if clip:
            nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        optimizer.step_module("net", ours, scale)
        plain.step()
        assert all(p.grad is None for p in ours.parameters())
    for a, b in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_rate_follows_its_schedule():
    ours, theirs = make_pair_of_nets()
    optimizer = create_adamw_v1(compounding(0.001, 1.0, 2.0), weight_decay=0.0, grad_clip=0.0)
    plain = torch.optim.AdamW(groups(theirs, 0.001, 0.0, lambda name: 1.0))
    for step, rate in enumerate([0.001, 0.002, 0.004]):
        give_gradients(step, ours, theirs)
        for group in plain.param_groups:
            group["lr"] = rate
        optimizer.step_module("net", ours, lambda name: 1.0)
        optimizer.step_schedules()
        plain.step()
    for a, b in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_modules_do_not_share_moments_and_no_gradient_means_no_step():
    first, second = make_pair_of_nets()
    optimizer = create_adamw_v1(0.01)
    before = [p.clone() for p in second.parameters()]
    give_gradients(0, first)
    optimizer.step_module(1, first, lambda name: 1.0)
    optimizer.step_module(2, second, lambda name: 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, second.parameters()))
    give_gradients(0, second)
    optimizer.step_module(2, second, lambda name: 1.0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))


def test_frozen_parameters_stay_and_thawed_ones_move():
    net, _ = make_pair_of_nets()
    optimizer = create_adamw_v1(0.01)
    net.output.requires_grad_(False)
    before = net.output.weight.clone()
    give_gradients(0, net)
    optimizer.step_module(1, net, lambda name: 1.0)
    assert torch.equal(before, net.output.weight)
    net.output.requires_grad_(True)
    give_gradients(1, net)
    optimizer.step_module(1, net, lambda name: 1.0)
    assert not torch.equal(before, net.output.weight)


def test_moments_stay_when_more_begins_to_learn():
    ours, theirs = make_pair_of_nets()
    optimizer = create_adamw_v1(0.01, weight_decay=0.0, grad_clip=0.0)
    # Each parameter has an optimiser of its own, so nothing can be lost.
    plain = {
        n: torch.optim.AdamW([p], 0.01, weight_decay=0.0) for n, p in theirs.named_parameters()
    }
    for step in range(6):
        ours.output.requires_grad_(step >= 3)
        theirs.output.requires_grad_(step >= 3)
        give_gradients(step, ours, theirs)
        for name, parameter in theirs.named_parameters():
            if parameter.requires_grad:
                plain[name].step()
        optimizer.step_module(1, ours, lambda name: 1.0)
        ours.zero_grad()
    for a, b in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "setting",
    [
        {"weight_decay": -1},
        {"grad_clip": -1},
        {"grad_clip": "inf"},
        {"beta1": 1.0},
        {"beta2": -0.1},
        {"eps": 0},
        {"eps": float("nan")},
        {"learn_rate": -5e-5},
        {"learn_rate": float("inf")},
    ],
)
def test_values_out_of_range_are_refused(setting):
    with pytest.raises(ValueError, match=rf"\[B520\].*{next(iter(setting))}"):
        create_adamw_v1(**setting)


@pytest.mark.parametrize("rate", [-1e-4, float("nan")])
def test_a_schedule_that_gives_no_rate_is_refused_at_its_step(rate):
    net, _ = make_pair_of_nets()
    optimizer = create_adamw_v1(learn_rate=iter([1e-3, rate]))
    give_gradients(0, net)
    optimizer.step_module("net", net, lambda n: 1.0)
    optimizer.step_schedules()
    before = [p.clone() for p in net.parameters()]
    give_gradients(1, net)
    with pytest.raises(ValueError, match=r"\[B520\] .*learn_rate"):
        optimizer.step_module("net", net, lambda n: 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))


def test_any_thinc_optimizer_serves_with_the_same_multipliers():
    net, _ = make_pair_of_nets()
    before = {name: p.clone() for name, p in net.named_parameters()}
    give_gradients(0, net)
    step_module("net", net, Adam(0.01, grad_clip=0.0), lambda n: 10.0 if "crf" in n else 1.0)
    for name, parameter in net.named_parameters():
        moved = float((parameter - before[name]).detach().abs().max())
        assert moved == pytest.approx(0.1 if "crf" in name else 0.01, rel=1e-3)
        assert parameter.grad is None


@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert", "electra", "roberta"])
def test_layers_learn_slower_towards_the_bottom(tiny_folder, kind):
    nlp = make_nlp(tiny_folder(kind), layerwise_decay=0.5)
    nlp.initialize()
    shim = nlp.get_pipe("bert_encoder").model.shims[0]
    for name, _ in shim.encoder.named_parameters():
        if "embedding" in name:
            wanted = 0.25
        elif "layer.0." in name or "layers.0." in name:
            wanted = 0.5
        else:
            wanted = 1.0
        assert shim.learning_rate_scale(name) == wanted, name
    plain = make_nlp(tiny_folder(kind)).get_pipe("bert_encoder").model.shims[0]
    assert plain.learning_rate_scale("embeddings") == 1.0


def test_no_bias_and_no_normalisation_decays(tiny_folder):
    for kind in ("bert", "albert", "roberta", "distilbert", "electra", "modernbert"):
        nlp = make_nlp(tiny_folder(kind))
        nlp.initialize()
        module = encoder_of(nlp)
        optimizer = create_adamw_v1(0.1, weight_decay=0.5)
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        before = {name: p.clone() for name, p in module.named_parameters()}
        optimizer.step_module(1, module, lambda name: 1.0)
        norms = {
            f"{name}.{part}"
            for name, sub in module.named_modules()
            if isinstance(sub, nn.LayerNorm)
            for part in ("weight", "bias")
        }
        for name, parameter in module.named_parameters():
            stays = name in norms or name.endswith("bias")
            factor = 1.0 if stays else 0.95
            np.testing.assert_allclose(
                parameter.detach(), before[name].detach() * factor, rtol=1e-5, err_msg=name
            )


def test_it_is_found_by_its_name_and_trains(bert):
    create = spacy.registry.optimizers.get("bert-spacy.AdamW.v1")
    nlp = make_nlp(bert, ["bert_textcat"])
    examples = textcat_examples(nlp)
    nlp.initialize(lambda: examples)
    history = train_steps(nlp, examples, 20, sgd=create(learn_rate=0.01))
    assert history[-1]["bert_textcat"] < history[0]["bert_textcat"]


@pytest.mark.parametrize(
    ("head", "settings", "multiples"),
    [
        ("bert_textcat", {"lr_multiplier": 3.0}, {"": 3.0}),
        ("bert_qa", {"lr_multiplier": 4.0}, {"": 4.0}),
        ("bert_ner", {"lr_multiplier": 5.0, "crf_lr_multiplier": 50.0}, {"": 5.0, "crf.": 50.0}),
    ],
)
def test_heads_learn_at_a_multiple_of_the_rate(bert, head, settings, multiples):
    nlp = make_nlp(bert, [head], configs={head: {"model": settings}})
    examples = EXAMPLES[head](nlp)
    nlp.initialize(lambda: examples)
    modules = [(encoder_of(nlp), {"": 1.0}), (nlp.get_pipe(head).shim.module, multiples)]
    before = [weights(module) for module, _ in modules]
    # The first step of Adam is the rate itself, wherever there is a gradient.
    sgd = create_adamw_v1(1e-3, weight_decay=0.0, grad_clip=0.0, eps=1e-20)
    train_steps(nlp, examples, 1, sgd=sgd)
    for old, (module, by) in zip(before, modules):
        for prefix, multiple in by.items():
            longest = max(
                float((p.detach() - old[name]).abs().max())
                for name, p in module.named_parameters()
                if name.startswith(prefix) and ("crf." in name) == (prefix == "crf.")
            )
            assert longest == pytest.approx(1e-3 * multiple, rel=1e-3)


class Still(torch.optim.AdamW):
    def __init__(self, *args, fused, **kwargs):
        super().__init__(*args, **kwargs)

    def step(self):
        pass


def test_moments_of_a_checkpoint_go_to_the_device_of_the_weights(monkeypatch):
    ours, _ = make_pair_of_nets()
    first = create_adamw_v1(0.01)
    give_gradients(0, ours)
    first.step_module(7, ours, lambda name: 1.0)
    monkeypatch.setattr(torch.optim, "AdamW", Still)  # there are no steps on "meta"
    second = create_adamw_v1(0.01, grad_clip=0.0)
    second.set_moments(first.get_moments())
    ours.to("meta")  # stands for a GPU
    for parameter in ours.parameters():
        parameter.grad = torch.zeros_like(parameter)
    second.step_module(7, ours, lambda name: 1.0)
    found = [v for values in second.get_moments()[7].values() for v in values.values()]
    assert len(found) == 3 * len(list(ours.parameters()))
    assert {v.device.type for v in found} == {"meta"}
