"""Losses are those of the plain Hugging Face classes, and heads are new where there are none."""

import pytest
import torch
from transformers import AlbertForPreTraining, AutoModel, BertForMaskedLM, BertForPreTraining

from bert_spacy.weights.pretrain.task import kept_state, load_task, new_task

from ..vocab_tools import make_masked

CLASSES = {"bert": BertForPreTraining, "albert": AlbertForPreTraining}


def batch():
    ids = torch.randint(5, 60, (3, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    types = (torch.arange(9) > 4).long().expand(3, 9)
    places = torch.tensor([1, 4, 10, 20, 25])
    return ids, mask, types, places, torch.tensor([7, 8, 9, 10, 11]), torch.tensor([0, 1, 1])


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_losses_are_those_of_the_plain_class(tiny_folder, tmp_path, kind):
    task, new = load_task(tiny_folder(kind), kind, True)
    assert new == ["masked-word head", "sentence head"]
    task.model.save_pretrained(tmp_path)
    plain = CLASSES[kind].from_pretrained(tmp_path).eval()
    ids, mask, types, places, labels, pairs = batch()
    words, sentences, right = task.eval()(ids, mask, types, places, labels, pairs)
    all_labels = torch.full(ids.shape, -100).flatten()
    all_labels[places] = labels
    name = "next_sentence_label" if kind == "bert" else "sentence_order_label"
    output = plain(
        ids,
        attention_mask=mask,
        token_type_ids=types,
        labels=all_labels.reshape(ids.shape),
        **{name: pairs},
    )
    torch.testing.assert_close(words / len(labels) + sentences / len(pairs), output.loss)
    logits = output.prediction_logits.flatten(0, 1)[places]
    pair_logits = output.seq_relationship_logits if kind == "bert" else output.sop_logits
    want = [(logits.argmax(-1) == labels).sum(), (pair_logits.argmax(-1) == pairs).sum()]
    assert right.tolist() == [int(x) for x in want]


def test_heads_that_are_there_are_kept(tmp_path):
    folder = make_masked(tmp_path / "masked")
    task, new = load_task(folder, "x", False)
    assert new == ["pooler", "sentence head"]
    plain = BertForMaskedLM.from_pretrained(folder).eval()
    ids, mask, types, places, _, _ = batch()
    logits, pairs = task.eval().predict(ids, mask, types, places)
    assert pairs is None
    want = plain(ids, attention_mask=mask, token_type_ids=types).logits.flatten(0, 1)[places]
    torch.testing.assert_close(logits, want)
    kind, state = kept_state(task, new)
    assert kind == "BertForMaskedLM"
    assert not [key for key in state if "pooler" in key or "seq_relationship" in key]


def test_a_pooler_that_is_there_is_kept(bert):
    task, new = load_task(bert, "x", False)
    kind, state = kept_state(task, new)
    assert kind == "BertForMaskedLM"
    pooler = AutoModel.from_pretrained(bert).pooler.dense.weight
    assert torch.equal(state["bert.pooler.dense.weight"], pooler)
    assert not [key for key in state if "seq_relationship" in key]
    task, new = load_task(bert, "x", True)
    assert kept_state(task, new)[0] == "BertForPreTraining"


@pytest.mark.parametrize("heads_alone", [False, True])
@pytest.mark.parametrize("has_pairs", [False, True])
def test_what_is_trained(bert, heads_alone, has_pairs):
    task, _ = load_task(bert, "x", has_pairs)
    task.set_trained(heads_alone)
    words, pairs, _ = task(*batch())
    (words + pairs).backward()
    for name, parameter in task.model.named_parameters():
        # All that learns gets a gradient, as processes would wait for it.
        assert parameter.requires_grad == (parameter.grad is not None), name
        if name.startswith("bert.encoder"):
            assert parameter.requires_grad != heads_alone
    head = task.model.cls.seq_relationship.weight
    assert head.requires_grad == has_pairs


@pytest.mark.parametrize("kind", ["roberta", "distilbert"])
def test_another_architecture_is_refused(tiny_folder, kind):
    with pytest.raises(ValueError, match=f"B702.*{kind}"):
        load_task(tiny_folder(kind), "x", False)


def test_damaged_weights_are_refused(bert, tmp_path):
    (tmp_path / "config.json").write_bytes((bert / "config.json").read_bytes())
    with pytest.raises(ValueError, match="B100"):
        load_task(tmp_path, "x", False)
    data = (bert / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="B100"):
        load_task(tmp_path, "x", False)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"model_type": "gpt2"}, "model_type"),
        ({"model_type": "bert", "layers": 2}, "layers"),
        ({"model_type": "bert", "vocab_size": 9}, "vocab_size"),
        ({"model_type": "bert", "hidden_size": 10, "num_attention_heads": 3}, "model"),
    ],
)
def test_settings_that_make_no_model(settings, name):
    with pytest.raises(ValueError, match=f"B701.*{name}"):
        new_task(settings, 100, 0, False)
