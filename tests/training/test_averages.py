"""Moving averages of the weights: by hand, around an evaluation, in files, after a kill."""

import json

import numpy as np
import pytest
import torch
from spacy.cli.train import train as spacy_train
from spacy.util import load_model_from_path
from thinc.api import Adam

from bert_spacy.data.corpus import create_corpus_v1
from bert_spacy.nn.backends import count_changes
from bert_spacy.nn.extras import Extras
from bert_spacy.training import optimizer as optimizer_module
from bert_spacy.training.optimizer import create_adamw_v1
from bert_spacy.training.run import train

from ..elmo import make_elmo
from ..util import (
    ANY_ENCODER,
    TEXTS,
    all_examples,
    assert_close,
    encoder_of,
    make_nlp,
    predictions,
    same_weights,
    train_steps,
    weights,
)
from .test_optimizer import give_gradients, make_pair_of_nets
from .test_run import config, run, weights_of  # noqa: F401 - a fixture

SCORES = ("cats_score", "ents_f", "qa_f1")


def average(history: list[np.ndarray], decay: float) -> np.ndarray:
    """Average by the formula; the first of the history are the weights of before."""
    mean = history[0].astype(np.float64)
    for t, values in enumerate(history[1:], start=1):
        d = min(decay, (1 + t) / (10 + t))
        mean = d * mean + (1 - d) * values
    return mean


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_averages_are_those_of_the_formula(decay):
    net, _ = make_pair_of_nets()
    optimizer = create_adamw_v1(0.1, average_decay=decay)
    history = {name: [p.detach().numpy().copy()] for name, p in net.named_parameters()}
    for step in range(8):
        give_gradients(step, net)
        optimizer.step_module(7, net, lambda name: 1.0)
        for name, parameter in net.named_parameters():
            history[name].append(parameter.detach().numpy().copy())
    assert set(optimizer.averages) == {(7, name) for name in history}
    for name, values in history.items():
        found = optimizer.averages[7, name]
        np.testing.assert_allclose(found, average(values, decay), atol=1e-6)
        assert np.abs(found - values[-1]).max() > 1e-3


def test_averages_of_stock_components_have_the_same_decay():
    optimizer = create_adamw_v1(0.1, average_decay=0.25)
    values = np.array([1.0, -2.0, 3.0], dtype="float32")
    history = [values.copy()]
    for step in range(6):
        gradient = np.random.RandomState(step).randn(3).astype("float32")
        values, _ = optimizer((1, "W"), values, gradient)
        history.append(values.copy())
    np.testing.assert_allclose(optimizer.averages[1, "W"], average(history, 0.25), atol=1e-6)


def test_averages_are_off_by_default():
    net, _ = make_pair_of_nets()
    optimizer = create_adamw_v1(0.1)
    give_gradients(0, net)
    optimizer.step_module(7, net, lambda name: 1.0)
    assert optimizer.averages is None


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match=r"\[B520\].*average_decay"):
        create_adamw_v1(average_decay=value)


def start(bert, **model):
    nlp = make_nlp(bert, ANY_ENCODER, configs={"bert_ner": {"model": {"lstm_width": 8}}}, **model)
    nlp.add_pipe("tagger")
    examples = all_examples(nlp, ANY_ENCODER)
    for example in examples:
        for token in example.reference:
            token.tag_ = "A" if len(token) > 3 else "B"
    torch.manual_seed(0)
    nlp.initialize(lambda: examples)
    return nlp, examples


def parameters(nlp):
    """Return every parameter, of torch and of thinc, by a name that does not change."""
    found = {}
    for name, pipe in nlp.pipeline:
        for i, node in enumerate(pipe.model.walk()):
            for param in node.param_names:
                found[name, i, param] = (node.id, param), node.get_param(param)
            for j, shim in enumerate(node.shims):
                module = getattr(shim, "encoder", None) or shim.module
                for param, values in module.named_parameters():
                    found[name, i, j, param] = (shim.id, param), values.detach().numpy()
    return found


ELMO = {"@architectures": "bert-spacy.ElmoEncoder.v1", "freeze": "none"}


def create_averaged():
    return create_adamw_v1(0.01, average_decay=0.9)


@pytest.mark.parametrize(
    ("make", "model"), [(create_averaged, {}), (Adam, {}), (create_averaged, ELMO)]
)
def test_pipelines_predict_with_the_averages_and_then_with_their_own(bert, tmp_path, make, model):
    folder = make_elmo(tmp_path / "elmo") if model else bert
    optimizer = make()
    nlp, examples = start(folder, **model)
    train_steps(nlp, examples, 4, sgd=optimizer)
    own = {key: values.copy() for key, (_, values) in parameters(nlp).items()}
    before = predictions(nlp.pipe(TEXTS))
    with nlp.use_params(optimizer.averages):
        inside = predictions(nlp.pipe(TEXTS))
        saved = nlp.to_bytes()
    for key, (_, values) in parameters(nlp).items():
        np.testing.assert_array_equal(values, own[key])
    assert predictions(nlp.pipe(TEXTS)) == before
    # An own pipeline, into which the averages are written.
    other, _ = start(folder, **model)
    keys = {key: id_ for key, (id_, _) in parameters(nlp).items()}
    n = 0
    with torch.no_grad():
        for _, pipe in other.pipeline:
            for node in pipe.model.walk():
                for shim in node.shims:
                    module = getattr(shim, "encoder", None) or shim.module
                    module.requires_grad_(False)
    for key, (_, values) in parameters(other).items():
        if keys[key] in optimizer.averages:
            values[...] = optimizer.averages[keys[key]]
            n += 1
    assert n > 40
    other.get_pipe("bert_encoder").model.shims[0]._predictor = None
    assert_close(inside, predictions(other.pipe(TEXTS)), 1e-5)
    assert inside != before
    again, _ = start(folder, **model)
    assert_close(inside, predictions(again.from_bytes(saved).pipe(TEXTS)), 1e-5)
    history = train_steps(nlp, examples, 1, sgd=optimizer)
    assert history[0]["bert_ner"] > 0


def test_packed_weights_follow_the_swap_and_the_swap_back(bert, tmp_path):
    optimizer = create_adamw_v1(0.01, average_decay=0.9)
    nlp, examples = start(bert)
    train_steps(nlp, examples, 3, sgd=optimizer)
    shim = nlp.get_pipe("bert_encoder").model.shims[0]
    shim.set_extras(Extras(onnx={"fp32": tmp_path}))
    packed, count = shim.predictor("torch", "auto"), count_changes(shim.encoder)
    with nlp.use_params(optimizer.averages):
        assert count_changes(shim.encoder) != count
        assert shim.current_extras() == Extras()
        lent = shim.predictor("torch", "auto")
        assert lent is not packed
    assert count_changes(shim.encoder) == count
    assert shim.current_extras().onnx
    assert shim.predictor("torch", "auto") is packed
    train_steps(nlp, examples, 1, sgd=optimizer)
    with nlp.use_params(optimizer.averages):
        assert shim.predictor("torch", "auto") not in (packed, lent)


def test_an_error_in_between_gives_the_weights_back(bert):
    optimizer = create_adamw_v1(0.01, average_decay=0.9)
    nlp, examples = start(bert)
    train_steps(nlp, examples, 3, sgd=optimizer)
    before = weights(encoder_of(nlp))
    shim = nlp.get_pipe("bert_encoder").model.shims[0]
    with pytest.raises(KeyError), shim.use_params(optimizer.averages):
        assert not same_weights(weights(encoder_of(nlp)), before)
        raise KeyError
    assert same_weights(weights(encoder_of(nlp)), before)


def test_averages_leave_the_training_as_it_is(bert):
    ends = []
    for decay in (0.0, 0.9):
        nlp, examples = start(bert)
        train_steps(nlp, examples, 3, sgd=create_adamw_v1(0.01, average_decay=decay))
        ends.append(weights(encoder_of(nlp)))
    assert same_weights(*ends)


def test_kills_change_nothing_and_the_averages_are_saved(config, tmp_path):  # noqa: F811
    config["training"]["optimizer"]["average_decay"] = 0.8
    run(config, tmp_path / "whole", [], checkpoint_every=3)
    run(config, tmp_path / "killed", [1, 3, 5, 8, 11], checkpoint_every=3)
    for name in ("model-best", "model-last", "checkpoints/step-00000012/pipeline"):
        assert weights_of(tmp_path / "killed" / name) == weights_of(tmp_path / "whole" / name)
    last = weights_of(tmp_path / "whole" / "model-last")
    raw = weights_of(tmp_path / "whole" / "checkpoints" / "step-00000012" / "pipeline")
    assert last.keys() == raw.keys()
    assert all(last[name] != raw[name] for name in last)


def evaluate(config, path):  # noqa: F811
    """Return the scores of a saved pipeline, in percent."""
    nlp = load_model_from_path(path)
    reader = create_corpus_v1(config["paths"]["dev"])
    scores = nlp.evaluate(reader(nlp))
    return {name: pytest.approx(100 * scores[name]) for name in SCORES}


@pytest.mark.parametrize("ours", [True, False])
def test_scores_are_those_of_the_saved_averages(config, tmp_path, ours):  # noqa: F811
    config["training"]["optimizer"].update(average_decay=0.8, learn_rate=0.02)
    config["training"].update(max_steps=8, before_update=None)
    if ours:
        train(config, tmp_path / "out")
    else:
        config.to_disk(tmp_path / "config.cfg")
        spacy_train(tmp_path / "config.cfg", tmp_path / "out")
    log = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(log[-1])
    assert row["step"] == 8
    scores = {name: row["scores"][name] for name in SCORES}
    assert scores == evaluate(config, tmp_path / "out" / "model-last")
    if ours:  # what is trained is something else
        raw = tmp_path / "out" / "checkpoints" / "step-00000009" / "pipeline"
        assert weights_of(raw) != weights_of(tmp_path / "out" / "model-last")


def test_averages_that_thinc_holds_in_numpy_are_no_copies_on_a_gpu(monkeypatch):
    # As with a Mac's GPU, which "meta" stands for.
    monkeypatch.setattr(optimizer_module, "torch2xp", lambda x: np.zeros(x.shape, "float32"))
    net, _ = make_pair_of_nets()
    optimizer = create_adamw_v1(0.1, average_decay=0.9)
    net.to("meta")
    for average_of, name in zip(optimizer._begin_averages(7, net), dict(net.named_parameters())):
        average_of += 1
        assert (optimizer.averages[7, name] == 1).all()
