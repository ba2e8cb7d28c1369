import json
import shutil

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertTokenizerFast

from bert_spacy.nn import encoder as encoder_module
from bert_spacy.nn.encoder import TransformerEncoder, layer_of, load_encoder
from bert_spacy.sources import resolve_name

from ..tiny import ARCHITECTURES


@pytest.fixture
def folder(bert, tmp_path):
    return shutil.copytree(bert, tmp_path / "model")


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_facts_are_read_from_the_model(tiny_folder, kind):
    encoder = load_encoder(str(tiny_folder(kind)), local=True)
    assert encoder.width == 16 and encoder.max_positions == 64
    assert encoder.has_pooler == (kind in ("bert", "albert", "roberta"))
    assert encoder.has_types == (kind in ("bert", "albert", "electra"))
    assert not encoder.training
    ids = torch.full((1, encoder.max_positions), 7)
    hidden, _ = encoder(ids, torch.ones_like(ids), torch.zeros_like(ids))
    assert hidden.shape == (1, 64, 16) and torch.isfinite(hidden).all()


@pytest.mark.parametrize("kind", ["distilbert", "roberta", "modernbert"])
def test_segment_ids_of_a_foreign_tokenizer_are_left_out(tiny_folder, bert, kind):
    tokenizer = BertTokenizerFast.from_pretrained(bert)
    encoder = load_encoder(str(tiny_folder(kind)), local=True)
    mixed = TransformerEncoder(encoder.model, tokenizer)
    ids = torch.tensor([[2, 7, 3, 8, 3]])
    hidden, _ = mixed(ids, torch.ones_like(ids), torch.tensor([[0, 0, 0, 1, 1]]))
    assert torch.equal(hidden, encoder(ids, torch.ones_like(ids), ids)[0])


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_dropout_of_the_config_reaches_every_layer(tiny_folder, kind):
    encoder = load_encoder(str(tiny_folder(kind)), local=True).train()
    ids = torch.arange(5, 25)[None]
    mask, types = torch.ones_like(ids), torch.zeros_like(ids)

    def differs():
        return not torch.equal(encoder(ids, mask, types)[0], encoder(ids, mask, types)[0])

    encoder.set_dropout(0.5)
    assert differs()
    encoder.set_dropout(0.0)
    assert not differs()


@pytest.mark.parametrize(
    "name, layer",
    [
        ("model.encoder.layer.11.attention.self.query.weight", 11),
        ("model.transformer.layer.0.ffn.lin1.bias", 0),
        ("model.layers.3.mlp.Wi.weight", 3),
        ("model.embeddings.LayerNorm.weight", None),
        ("model.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight", None),
    ],
)
def test_layer_is_read_from_a_name(name, layer):
    assert layer_of(name) == layer


def test_weights_of_a_task_model_lose_their_head_and_its_missing_pooler(folder):
    model = AutoModelForMaskedLM.from_pretrained(folder)
    model.save_pretrained(folder)
    encoder = load_encoder(str(folder), local=True)
    assert not encoder.has_pooler
    encoder.save(folder)
    assert not load_encoder(str(folder), local=True).has_pooler


def test_padding_and_truncation_of_the_tokenizer_file_are_switched_off(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    backend = load_encoder(str(folder), local=True).tokenizer.backend_tokenizer
    assert len(backend.encode("a b c d e f", add_special_tokens=False)) == 6


@pytest.mark.parametrize(
    "damage, code",
    [
        (lambda f: (f / "model.safetensors").unlink(), "B100"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), "B100"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "B100"),
        (lambda f: [(f / n).unlink() for n in ("tokenizer.json", "vocab.txt")], "B101"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "B101"),
        (lambda f: (f / "tokenizer.json").write_text('{"model": 1}'), "B101"),
        (lambda f: (f / "config.json").write_text("{"), "B10"),
        (lambda f: shutil.rmtree(f), "B101"),
    ],
)
def test_damaged_folder_is_reported(folder, damage, code):
    damage(folder)
    with pytest.raises(ValueError, match=rf"\[{code}"):
        load_encoder(str(folder), local=True)


def test_roberta_in_its_older_files(tiny_folder, tmp_path):
    """vocab.json and merges.txt alone, of which a fast tokenizer is made."""
    folder = shutil.copytree(tiny_folder("roberta"), tmp_path / "model")
    wanted = load_encoder(str(folder), local=True).tokenizer
    bpe = json.loads((folder / "tokenizer.json").read_text("utf8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(bpe["vocab"]), "utf8")
    rows = [" ".join(pair) if isinstance(pair, list) else pair for pair in bpe["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *rows]) + "\n", "utf8")
    (folder / "tokenizer.json").unlink()
    found = load_encoder(resolve_name(str(folder)), local=True).tokenizer
    text = "Anna was in Paris"
    assert found(text)["input_ids"] == wanted(text)["input_ids"]


@pytest.mark.parametrize("answers", [True, False])
def test_the_cache_alone_is_asked_where_the_hub_does_not_answer(monkeypatch, answers):
    class Session:
        def head(self, url, timeout):
            assert timeout <= 10
            if not answers:
                raise ConnectionError

    def load(name, *, local_files_only, **options):
        assert local_files_only is not answers
        raise OSError("not there")

    monkeypatch.setattr(encoder_module, "get_session", Session)
    monkeypatch.setattr(encoder_module.AutoTokenizer, "from_pretrained", load)
    with pytest.raises(ValueError, match=r"\[B101\].*not there"):
        load_encoder("nobody/nothing", local=False)
