import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bert_spacy.nn import elmo
from bert_spacy.nn.elmo import ElmoEncoder, load_elmo
from bert_spacy.text.characters import spell_words
from bert_spacy.training.optimizer import create_adamw_v1

from ..elmo import TINY, make_elmo, plain_elmo, plain_mix

TEXTS = [
    ["the", "team", "won", "an", "unbelievably-long", "game"],
    ["北京是中国的首都", "café", "the"],
    ["a", "a"],
    [],
]


def run(encoder, texts, state=None):
    """Return the layers of each text, and the state after all of them."""
    words = sorted({word for text in texts for word in text})
    table, _ = spell_words(words, encoder.config.max_characters, encoder.config.widest_filter)
    vectors = encoder.embeddings(torch.from_numpy(table))
    number = {word: i for i, word in enumerate(words)}
    rows = [[len(words), *(number[w] for w in text), len(words) + 1] for text in texts]
    lengths = np.array([len(row) for row in rows])
    flat = torch.tensor([x for row in rows for x in row])
    layers, state = encoder.read(vectors[flat], lengths, state)
    return [layer.split(lengths.tolist()) for layer in layers], state


def compare(encoder, layers, n, wanted):
    for layer, plain in zip(layers, wanted, strict=True):
        torch.testing.assert_close(layer[n], torch.stack(plain), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"cell_clip": 0, "projection_clip": 0, "use_skip_connections": False},
        {"activation": "tanh", "n_highway": 0, "n_layers": 1},
        {"n_layers": 3, "n_highway": 1},
    ],
)
def test_layers_equal_a_plain_reading_text_by_text(tmp_path, monkeypatch, change):
    monkeypatch.setattr(elmo, "POSITIONS_AT_ONCE", 5)
    monkeypatch.setattr(elmo, "WORDS_AT_ONCE", 3)
    encoder = load_elmo(make_elmo(tmp_path, replace(TINY, **change)))
    with torch.no_grad():
        layers, _ = run(encoder, TEXTS)
        for n, text in enumerate(TEXTS):
            wanted = plain_elmo(encoder, text)
            compare(encoder, layers, n, wanted)
            mixed = encoder.mix([layer[n] for layer in layers])
            torch.testing.assert_close(mixed, plain_mix(encoder, wanted), atol=2e-6, rtol=1e-5)


def test_clips_of_the_tiny_model_are_felt(tmp_path):
    encoder = load_elmo(make_elmo(tmp_path))
    with torch.no_grad():
        (_, first, _), state = run(encoder, TEXTS[:1])
    limit = torch.tensor(TINY.projection_clip)
    assert (first[0].abs() == limit).any() and first[0].abs().max() == limit
    assert state[0][1].abs().max() == torch.tensor(TINY.cell_clip)


def test_a_state_goes_on_where_the_last_batch_ended(tmp_path):
    encoder = load_elmo(make_elmo(tmp_path))
    with torch.no_grad():
        _, state = run(encoder, [TEXTS[0], TEXTS[2]])
        layers, _ = run(encoder, [TEXTS[1], TEXTS[3]], state)
        for n, (before, after) in enumerate([(TEXTS[0], TEXTS[1]), (TEXTS[2], TEXTS[3])]):
            memory = {}
            plain_elmo(encoder, before, memory)
            compare(encoder, layers, n, plain_elmo(encoder, after, memory))


def test_gradients_equal_those_of_finite_differences(tmp_path):
    encoder = load_elmo(make_elmo(tmp_path)).double()

    def loss():
        words = sorted({word for text in TEXTS for word in text})
        table, _ = spell_words(words, TINY.max_characters, TINY.widest_filter)
        vectors = encoder.embeddings(torch.from_numpy(table))
        order = torch.arange(len(vectors)) % 5
        state = [(torch.zeros(2, 2, 8).double(), torch.zeros(2, 2, 9).double())] * 2
        mixed, _ = encoder(vectors[order], np.array([len(order) - 3, 3]), state)
        return (mixed * torch.linspace(-1, 1, mixed.numel()).view_as(mixed)).sum()

    loss().backward()
    for name, parameter in encoder.named_parameters():
        at = int(parameter.grad.abs().argmax())
        flat, step = parameter.data.view(-1), 1e-6
        flat[at] += step
        up = loss().item()
        flat[at] -= 2 * step
        down = loss().item()
        flat[at] += step
        found = parameter.grad.view(-1)[at].item()
        assert found == pytest.approx((up - down) / (2 * step), rel=1e-3, abs=1e-7), name


def test_a_saved_model_comes_back(tmp_path):
    encoder = load_elmo(make_elmo(tmp_path / "a"))
    (tmp_path / "b").mkdir()
    encoder.save(tmp_path / "b")
    again = load_elmo(tmp_path / "b")
    assert again.config == encoder.config == TINY and not again.training
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


@pytest.mark.parametrize(
    "what, still",
    [
        ("none", ()),
        ("embeddings", ("embeddings",)),
        (0, ("embeddings",)),
        (1, ("embeddings", "layers.0")),
        (2, ("embeddings", "layers")),
        ("lm", ("embeddings", "layers")),
        ("all", ("embeddings", "layers", "mix")),
    ],
)
def test_freezing(what, still):
    encoder = ElmoEncoder(TINY)
    encoder.freeze(what)
    for name, parameter in encoder.named_parameters():
        assert parameter.requires_grad is not name.startswith(still or "-"), name


@pytest.mark.parametrize("what", ["half", -1, 3])
def test_impossible_freezing_is_refused(what):
    with pytest.raises(ValueError, match=r"\[B126\].*from 0 to 2"):
        ElmoEncoder(TINY).freeze(what)


def damage(folder, how):
    config = folder / "config.json"
    settings = json.loads(config.read_text())
    if how == "no config":
        config.unlink()
    elif how == "no weights":
        (folder / "model.safetensors").unlink()
    elif how == "cut":
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:200])
    elif how == "list":
        config.write_text("[]")
    else:
        config.write_text(json.dumps({**settings, **how}))


@pytest.mark.parametrize(
    "how",
    [
        "no config",
        "no weights",
        "cut",
        "list",
        {"model_type": "bert"},
        {"cell_width": 10},
        {"cell_width": "9"},
        {"cell_clip": None},
        {"cell_clip": -1},
        {"cell_clip": math.nan},
        {"projection_clip": math.nan},
        {"projection_clip": math.inf},
        {"activation": "gelu"},
        {"max_characters": 2},
        {"filters": []},
        {"filters": [[1]]},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_damaged_folder_is_refused(tmp_path, how):
    damage(make_elmo(tmp_path), how)
    with pytest.raises(ValueError, match=r"\[B125\]"):
        load_elmo(tmp_path)


def test_weight_decay_leaves_the_mix_alone():
    encoder = ElmoEncoder(TINY)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    for parameter in encoder.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = create_adamw_v1(learn_rate=1.0, weight_decay=0.5, grad_clip=0.0)
    optimizer.step_module(0, encoder, lambda name: 1.0)
    after = encoder.state_dict()
    assert torch.equal(after["mix.gamma"], torch.ones(1))
    weight = "layers.0.output_weight"
    torch.testing.assert_close(after[weight], before[weight] / 2)
