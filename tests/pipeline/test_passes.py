"""Batches that are learnt from more than once: adversarial training and R-Drop."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from spacy.training import Example
from thinc.api import Adam

from bert_spacy.layers.encoder import pad_windows
from bert_spacy.training.optimizer import create_adamw_v1

from ..elmo import make_elmo
from ..util import (
    EXAMPLES,
    HEADS,
    all_examples,
    encoder_of,
    gradients,
    make_nlp,
    same_weights,
    textcat_examples,
    train_steps,
    weights,
)

KINDS = [("fgm", 0.5), ("awp", 0.02)]
each_kind = pytest.mark.parametrize("kind, epsilon", KINDS)
MULTI = "bert_textcat_multilabel"


def start(folder, heads=HEADS, configs=None, model=None, **encoder):
    torch.manual_seed(0)
    nlp = make_nlp(folder, heads, configs=configs, **(model or {}))
    if encoder:
        nlp = with_encoder(nlp, **encoder)
    examples = all_examples(nlp, [head for head in heads if head in EXAMPLES])
    if MULTI in heads:
        examples = textcat_examples(nlp)
    torch.manual_seed(0)
    nlp.initialize(lambda: examples)
    return nlp, examples


def with_encoder(nlp, **settings):
    config = nlp.config.copy()
    config["components"]["bert_encoder"].update(settings)
    return type(nlp).from_config(config)


def all_gradients(nlp, examples, **update):
    """Return the gradients of all parts after one update, and clear them."""
    nlp.update(examples, sgd=False, **{"drop": 0.0, **update})
    nlp.get_pipe("bert_encoder")._finish_backward()
    return take_gradients(nlp)


def parts(nlp):
    found = {name: pipe.shim.module for name, pipe in nlp.pipeline if name != "bert_encoder"}
    return {"bert_encoder": encoder_of(nlp), **found}


def take_gradients(nlp):
    found = {}
    for name, module in parts(nlp).items():
        found.update({f"{name}/{key}": value for key, value in gradients(module).items()})
        module.zero_grad(set_to_none=True)
    return found


def assert_same(a, b, tolerance=1e-5):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=tolerance, rtol=1e-4, msg=name)


def summed(*several):
    keys = {key for one in several for key in one}
    return {key: sum(one[key] for one in several if key in one) for key in keys}


def move(encoder, found, kind, epsilon):
    """Move the weights of an encoder as the papers say, in numpy."""
    for name, p in encoder.named_parameters():
        gradient = found.get(f"bert_encoder/{name}")
        is_table = name.endswith("word_embeddings.weight")
        if gradient is None or (p.dim() < 2 if kind == "awp" else not is_table):
            continue
        w, g = p.detach().numpy().astype(float), gradient.numpy().astype(float)
        length = epsilon * (np.linalg.norm(w) if kind == "awp" else 1.0)
        p.data = torch.from_numpy((w + length * g / np.linalg.norm(g)).astype("f"))


@each_kind
@pytest.mark.parametrize("heads", [("bert_textcat",), HEADS])
def test_gradients_are_those_of_two_updates_with_weights_moved_by_hand(bert, kind, epsilon, heads):
    plain, examples = start(bert, heads)
    first = all_gradients(plain, examples)
    move(encoder_of(plain), first, kind, epsilon)
    second = all_gradients(plain, examples)
    nlp, examples = start(bert, heads, adversarial=kind, adversarial_epsilon=epsilon)
    before = {name: weights(module) for name, module in parts(nlp).items()}
    found = all_gradients(nlp, examples)
    assert_same(found, summed(first, second))
    for name, module in parts(nlp).items():
        assert same_weights(before[name], weights(module))
    assert not all(torch.allclose(first[key], second[key], atol=1e-4) for key in first)


@each_kind
def test_gradients_are_those_of_a_plain_torch_model(bert, kind, epsilon):
    nlp, examples = start(bert, ["bert_textcat"], adversarial=kind, adversarial_epsilon=epsilon)
    pipe, component = nlp.get_pipe("bert_textcat"), nlp.get_pipe("bert_encoder")
    encoder = copy.deepcopy(encoder_of(nlp)).eval()
    head = copy.deepcopy(pipe.shim.module)
    gold = [max(eg.reference.cats, key=eg.reference.cats.get) for eg in examples]
    inputs = [next(pad_windows(component.model, [eg.predicted])) for eg in examples]

    def backward():
        for row, label in zip(inputs, gold):
            ids, mask, types = row
            pooled = encoder.model(ids, mask, types).pooler_output
            target = torch.tensor([pipe.labels.index(label)])
            (torch.nn.functional.cross_entropy(head.output(pooled), target) / 4).backward()

    def found_so_far():
        own = {f"bert_encoder/{k}": v for k, v in gradients(encoder).items()}
        return {**own, **{f"bert_textcat/{k}": v for k, v in gradients(head).items()}}

    backward()
    move(encoder, found_so_far(), kind, epsilon)
    backward()  # torch adds up
    assert_same(all_gradients(nlp, examples), found_so_far())


@each_kind
def test_parts_of_a_batch_are_moved_by_their_own_gradients(bert, kind, epsilon):
    nlp, examples = start(bert, ["bert_textcat"], adversarial=kind, adversarial_epsilon=epsilon)
    halves = [all_gradients(nlp, part) for part in (examples[:2], examples[2:])]
    nlp.update(examples[:2], sgd=False, drop=0.0)
    assert_same(all_gradients(nlp, examples[2:]), summed(*halves), 1e-6)


@each_kind
def test_heads_without_gold_and_frozen_heads_hold_nothing_up(bert, kind, epsilon):
    nlp, examples = start(bert, adversarial=kind, adversarial_epsilon=epsilon)
    silent = all_gradients(nlp, examples[:4])  # gold for the classifier alone
    frozen = all_gradients(nlp, examples[:4], exclude=["bert_ner", "bert_qa"])
    alone, examples = start(bert, ["bert_textcat"], adversarial=kind, adversarial_epsilon=epsilon)
    for one, other in zip(parts(alone).values(), list(parts(nlp).values())[:2]):
        one.load_state_dict(other.state_dict())
    wanted = all_gradients(alone, examples)
    assert_same(silent, wanted, 1e-6)
    assert_same(frozen, wanted, 1e-6)
    bare = [Example.from_dict(nlp.make_doc("anna"), {})]
    assert all_gradients(nlp, bare) == {}


@pytest.mark.parametrize("optimizer", [create_adamw_v1, Adam])
@pytest.mark.parametrize("settings", [
    {"adversarial": "fgm"}, {"adversarial": "awp", "r_drop_alpha": 1.0},
])  # fmt: skip
def test_update_with_an_optimizer_equals_update_and_finish(bert, optimizer, settings):
    runs = []
    for at_once in (False, True):
        nlp, examples = start(bert, ["bert_textcat", "bert_ner"], **settings)
        sgd = optimizer(learn_rate=0.01)
        if at_once:
            for _ in range(3):
                nlp.update(examples, sgd=sgd, drop=0.0)
        else:
            train_steps(nlp, examples, 3, sgd=sgd)
        runs.append({name: weights(module) for name, module in parts(nlp).items()})
    assert all(same_weights(runs[0][name], runs[1][name]) for name in runs[0])


@pytest.mark.parametrize("settings", [{"adversarial": "fgm"}, {"adversarial": "awp"},
                                      {"r_drop_alpha": 1.0}])  # fmt: skip
@pytest.mark.parametrize("model", [{"mixed_precision": True}, {"gradient_checkpointing": True},
                                   {"freeze": 1}])  # fmt: skip
def test_settings_of_the_encoder_go_with_it(bert, settings, model):
    if model.get("freeze") and settings.get("adversarial") == "fgm":
        with pytest.raises(ValueError, match="B143"):
            start(bert, ["bert_textcat"], model=model, **settings)
        return
    runs = []
    for given in ({}, model):
        nlp, examples = start(bert, ["bert_textcat"], model={"dropout": 0.1, **given}, **settings)
        before = weights(encoder_of(nlp))
        torch.manual_seed(3)
        runs.append(all_gradients(nlp, examples, drop=0.1))
        assert same_weights(before, weights(encoder_of(nlp)))
    if "gradient_checkpointing" in model:
        assert_same(*runs)
    assert all(bool(value.isfinite().all()) for value in runs[1].values())


def test_what_is_off_changes_nothing(bert):
    off = {"adversarial": "none", "r_drop_alpha": 0.0}
    runs = []
    for settings in ({}, off):
        nlp, examples = start(bert, model={"dropout": 0.1}, **settings)
        train_steps(nlp, examples, 3, drop=0.1)
        runs.append({name: weights(module) for name, module in parts(nlp).items()})
    assert all(same_weights(runs[0][name], runs[1][name]) for name in runs[0])


# R-Drop.


@pytest.mark.parametrize("heads", [HEADS, (MULTI,), ("bert_regressor",)])
def test_without_dropout_r_drop_changes_nothing(bert, heads):
    plain, examples = start(bert, heads)
    wanted = all_gradients(plain, examples)
    nlp, examples = start(bert, heads, r_drop_alpha=4.0)
    assert_same(all_gradients(nlp, examples), wanted)


def softmax(scores):
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def kl(p, q):
    return float(np.mean(np.sum(p * np.log(p / q), -1)))


@pytest.mark.parametrize("head", ["bert_textcat", MULTI, "bert_ner"])
def test_the_loss_of_r_drop_follows_its_formula(bert, head, monkeypatch):
    nlp, examples = start(bert, [head], r_drop_alpha=3.0)
    extra = Example.from_dict(nlp.make_doc("anna was there"), {})  # without gold
    pipe, seen = nlp.get_pipe(head), []
    compute_loss = type(pipe).compute_loss
    monkeypatch.setattr(
        type(pipe), "compute_loss", lambda *args: seen.append(args[2]) or compute_loss(*args)
    )
    losses = nlp.update([*examples, extra], sgd=False, drop=0.5)
    (output,) = seen
    if head == "bert_ner":
        half = len(output.emissions) // 2
        n_gold = int(output.lengths[: len(examples)].sum())
        p, q = (softmax(x[:n_gold].detach().numpy().astype(float))
                for x in (output.emissions[:half], output.emissions[half:]))  # fmt: skip
        first, second = copy.copy(output), copy.copy(output)
        both = float(compute_loss(pipe, [*examples, extra] * 2, output).detach())
    else:
        scores = output.detach().numpy().astype(float)
        assert len(scores) == 10
        first, second = scores[:4], scores[5:9]
        if head == MULTI:
            p, q = (np.stack([1 / (1 + np.exp(-x)), 1 / (1 + np.exp(x))], -1).reshape(-1, 2)
                    for x in (first, second))  # fmt: skip
        else:
            p, q = softmax(first), softmax(second)
        both = sum(float(compute_loss(pipe, examples, torch.tensor(x)))
                   for x in (first, second)) / 2  # fmt: skip
    assert not np.allclose(p, q)
    wanted = both + 3.0 / 2 * (kl(p, q) + kl(q, p)) / 2
    assert losses[head] == pytest.approx(wanted, rel=1e-4)


def test_r_drop_of_answers_follows_its_formula(bert):
    nlp, examples = start(bert, ["bert_qa"])
    pipe = nlp.get_pipe("bert_qa")
    extra = Example.from_dict(nlp.make_doc("anna was there"), {})
    examples = [*examples, extra]
    output = two_outputs(nlp, pipe, examples)
    found, n = [], len(examples)
    for i in range(n - 1):
        rows = []
        for k in (i, i + n):
            pieces = output.scores[output.offsets[k] : output.offsets[k + 1]]
            rows.append(softmax(torch.cat((output.null[k : k + 1], pieces)).numpy().T))
        found.append((kl(*rows) + kl(*reversed(rows))) / 2)
    assert len(set(np.diff(output.offsets)[: n - 1])) > 1
    value = float(pipe.compute_divergence(examples, output))
    assert value == pytest.approx(np.mean(found), rel=1e-4) and value > 1e-4


def test_r_drop_of_choices_follows_its_formula(bert):
    nlp, examples = start(bert, ["bert_choice"])
    pipe, n = nlp.get_pipe("bert_choice"), len(examples) + 1
    examples = [*examples, Example.from_dict(nlp.make_doc("anna was there"), {})]
    output = two_outputs(nlp, pipe, examples)
    found = []
    for i in range(n - 1):
        p, q = (softmax(output.scores[output.offsets[k] : output.offsets[k + 1]].numpy())
                for k in (i, i + n))  # fmt: skip
        found.append((np.sum(p * np.log(p / q)) + np.sum(q * np.log(q / p))) / 2)
    value = float(pipe.compute_divergence(examples, output))
    assert value == pytest.approx(np.mean(found), rel=1e-4) and value > 1e-4


def test_r_drop_of_values_is_their_squared_difference(bert):
    nlp, examples = start(bert, ["bert_regressor"])
    pipe = nlp.get_pipe("bert_regressor")
    output = two_outputs(nlp, pipe, examples)
    known = np.array([[True, i != 1] for i in range(4)])  # the second has no second target
    first, second = output.numpy()[:4][known], output.numpy()[4:][known]
    value = float(pipe.compute_divergence(examples, output))
    assert value == pytest.approx(np.mean((first - second) ** 2), rel=1e-4) and value > 1e-6


def two_outputs(nlp, pipe, examples):
    """Return the output for all Docs twice, with other noise each time."""
    docs = [eg.predicted for eg in examples] * 2
    component = nlp.get_pipe("bert_encoder")
    component.set_annotations(docs, component.predict(docs))
    output = pipe.predict(docs)
    if isinstance(output, torch.Tensor):
        return output + torch.randn(output.shape)
    values = {name: getattr(output, name, None) for name in ("scores", "null")}
    noisy = {k: v + torch.randn(v.shape) for k, v in values.items() if v is not None}
    return dataclasses.replace(output, **noisy)


@pytest.mark.parametrize(
    "heads", [("bert_textcat", "bert_ner"), ("bert_qa",), ("bert_choice",), ("bert_regressor",)]
)
def test_r_drop_teaches(bert, heads):
    nlp, examples = start(
        bert, heads, model={"dropout": 0.1}, r_drop_alpha=1.0, adversarial="fgm",
    )  # fmt: skip
    history = train_steps(nlp, examples, 60, drop=0.1)
    for head in heads:
        assert history[-1][head] < 0.8 * history[0][head]


# Several drawings of dropout.


@pytest.mark.parametrize("head", ["bert_textcat", MULTI])
def test_the_loss_of_several_drawings_is_the_mean_of_their_losses(bert, head, monkeypatch):
    configs = {head: {"model": {"dropout_samples": 3}}}
    nlp, examples = start(bert, [head], configs)
    pipe, seen = nlp.get_pipe(head), []
    compute_loss = type(pipe).compute_loss
    monkeypatch.setattr(
        type(pipe), "compute_loss", lambda *args: seen.append(args[2]) or compute_loss(*args)
    )
    losses = nlp.update(examples, sgd=False, drop=0.5)
    parts = seen[0].detach().split(4)
    assert len(parts) == 3 and not torch.equal(parts[0], parts[1])
    alone = [float(compute_loss(pipe, examples, part)) for part in parts]
    assert losses[head] == pytest.approx(sum(alone) / 3)
    assert len(pipe.predict([eg.predicted for eg in examples_seen(nlp, examples)])) == 4


def examples_seen(nlp, examples):
    component = nlp.get_pipe("bert_encoder")
    docs = [eg.predicted for eg in examples]
    component.set_annotations(docs, component.predict(docs))
    return examples


@pytest.mark.parametrize("head", ["bert_textcat", MULTI])
def test_several_drawings_go_with_r_drop_and_an_adversary(bert, head):
    configs = {head: {"model": {"dropout_samples": 3}}}
    plain, examples = start(bert, [head], adversarial="awp")
    wanted = all_gradients(plain, examples)
    nlp, examples = start(bert, [head], configs, adversarial="awp", r_drop_alpha=2.0)
    assert_same(all_gradients(nlp, examples), wanted)


def test_less_than_one_drawing_is_refused(bert):
    with pytest.raises(ValueError, match="B144"):
        start(bert, ["bert_textcat"], {"bert_textcat": {"model": {"dropout_samples": 0}}})


# What cannot be.


@pytest.mark.parametrize("settings", [{"adversarial": "fgm"}, {"r_drop_alpha": 1.0}])
def test_stock_components_on_the_encoder_are_refused(bert, settings):
    nlp = with_encoder(make_nlp(bert, ["bert_textcat"]), **settings)
    listener = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "grad_factor": 1.0,
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    model = {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}
    nlp.add_pipe("tagger", config={"model": model})
    examples = textcat_examples(nlp)
    for eg in examples:
        for token in eg.reference:
            token.tag_ = "X"
    with pytest.raises(ValueError, match=r"B563.* tagger .*bert_encoder"):
        nlp.initialize(lambda: examples)
    nlp.get_pipe("bert_encoder").store.learns_again = False
    nlp.initialize(lambda: examples)
    nlp.get_pipe("bert_encoder").store.learns_again = True
    with pytest.raises(ValueError, match="B563"):
        nlp.update(examples, sgd=False)


def test_a_listener_that_does_not_offer_to_learn_again_is_told(bert):
    nlp, examples = start(bert, ["bert_textcat"], adversarial="fgm")
    pipe = nlp.get_pipe("bert_textcat")
    docs = [eg.predicted for eg in examples]
    nlp.get_pipe("bert_encoder").update(examples)
    output, backprop = pipe.model.begin_update(docs)
    with pytest.raises(ValueError, match="B563"):
        backprop(pipe.compute_loss(examples, output))


def test_components_without_a_divergence_are_refused_with_r_drop(bert, monkeypatch):
    nlp, examples = start(bert, ["bert_qa"], r_drop_alpha=1.0)
    monkeypatch.delattr(type(nlp.get_pipe("bert_qa")), "compute_divergence")
    with pytest.raises(NotImplementedError, match="B564.*bert_qa"):
        nlp.update(examples, sgd=False)


@pytest.mark.parametrize("value", [-1.0, float("inf")])
def test_weights_of_r_drop_out_of_range_are_refused(bert, value):
    nlp = make_nlp(bert)
    component = nlp.get_pipe("bert_encoder")
    with pytest.raises(ValueError, match="B565.*bert_encoder"):
        type(component)(nlp, component.model, "bert_encoder", r_drop_alpha=value)


def test_adversaries_that_are_not_known_or_have_nothing_to_move_are_refused(bert):
    with pytest.raises(ValueError, match="B142"):
        start(bert, ["bert_textcat"], adversarial="pgd")
    for kind in ("fgm", "awp"):
        with pytest.raises(ValueError, match=f"B143.*{kind}"):
            start(bert, ["bert_textcat"], model={"freeze": "all"}, adversarial=kind)


@pytest.mark.parametrize("kind", ["fgm", "awp"])
def test_layers_that_wake_later_are_moved_from_then_on(bert, kind):
    plain, other = {"unfreeze_every": 2, "dropout": 0.0}, {"adversarial": kind}
    runs = []
    for settings in ({}, other):
        nlp, examples = start(bert, ["bert_textcat"], model=plain, **settings)
        module, seen = parts(nlp)["bert_encoder"], []
        sgd = nlp.create_optimizer()
        for _ in range(8):
            train_steps(nlp, examples, 1, sgd=sgd)
            seen.append(weights(module))
        runs.append(seen)
    same = [same_weights(a, b) for a, b in zip(*runs)]
    # The encoder learns from the third step on, its embeddings, which alone fgm moves, later.
    assert same[1] and not same[-1] and same.count(True) >= (3 if kind == "fgm" else 2)
    with pytest.raises(ValueError, match="B143"):
        start(bert, ["bert_textcat"], model={**plain, "freeze": "all"}, **other)


def test_an_elmo_has_no_word_embeddings_and_no_state_to_read_twice(tmp_path):
    folder = make_elmo(tmp_path)
    model = {"@architectures": "bert-spacy.ElmoEncoder.v1", "freeze": "none"}
    with pytest.raises(ValueError, match="B143"):
        start(folder, ["bert_textcat"], model=model, adversarial="fgm")
    with pytest.raises(ValueError, match="B566"):
        start(folder, ["bert_textcat"], model={**model, "stateful": True}, adversarial="awp")
    nlp, examples = start(folder, ["bert_textcat"], model=model, adversarial="awp")
    history = train_steps(nlp, examples, 5)
    assert history[-1]["bert_textcat"] < history[0]["bert_textcat"]


def test_a_frozen_encoder_is_told_and_the_head_learns(bert):
    nlp, examples = start(bert, ["bert_textcat"], adversarial="fgm", r_drop_alpha=1.0)
    freeze = {"exclude": ["bert_encoder"], "annotates": ["bert_encoder"]}
    with pytest.warns(UserWarning, match="BW560.*bert_textcat"):
        history = train_steps(nlp, examples, 5, **freeze)
    assert history[-1]["bert_textcat"] < history[0]["bert_textcat"]
