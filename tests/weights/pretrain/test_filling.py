"""Masks are filled as the plain model fills them."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.weights.pretrain.filling import Filler, fill_masks, load_filler

from ...tiny import ARCHITECTURES
from ..vocab_tools import make_masked

TEXTS = [
    "anna [MASK] in paris",
    "the [MASK] won the [MASK] and bob was there",
    "[MASK]",
    "a [MASK]",
]


@pytest.fixture
def folder(tmp_path):
    return make_masked(tmp_path / "masked")


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_fills_are_those_of_the_plain_model(folder, batch_size):
    found = fill_masks(load_filler(str(folder)), TEXTS, top_k=4, batch_size=batch_size)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertForMaskedLM.from_pretrained(folder).eval()
    for text, masks in zip(TEXTS, found, strict=True):
        batch = tokenizer(text, return_tensors="pt")
        places = batch["input_ids"][0] == tokenizer.mask_token_id
        with torch.inference_mode():
            best = model(**batch).logits[0, places].softmax(-1).topk(4)
        assert [[fill.id for fill in fills] for fills in masks] == best.indices.tolist()
        for fills, scores in zip(masks, best.values.tolist()):
            assert [fill.probability for fill in fills] == pytest.approx(scores, rel=1e-4)
            pieces = tokenizer.convert_ids_to_tokens([fill.id for fill in fills])
            assert [fill.piece for fill in fills] == pieces


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_architecture_has_its_head_asked_about_masks_alone(kind, tiny_folder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder(kind))
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(tiny_folder(kind))
    model = AutoModelForMaskedLM.from_config(config).eval()
    texts = [text.replace("[MASK]", tokenizer.mask_token) for text in TEXTS[:2]]
    found = [fill for masks in fill_masks(Filler(model, tokenizer), texts, 4) for fill in masks]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**batch).logits  # as if there had been no other call
    logits = logits[batch["input_ids"] == tokenizer.mask_token_id][:, : len(tokenizer)]
    best = logits.softmax(-1).topk(4)
    assert [[fill.id for fill in fills] for fills in found] == best.indices.tolist()
    for fills, scores in zip(found, best.values.tolist()):
        assert [fill.probability for fill in fills] == pytest.approx(scores, rel=1e-4)


def test_no_text_and_more_pieces_than_there_are(folder):
    filler = load_filler(str(folder))
    assert fill_masks(filler, []) == []
    assert len(fill_masks(filler, ["[MASK]"], 10_000)[0][0]) == len(filler.tokenizer)


def test_roberta_has_a_mask_of_its_own(tiny_folder, tmp_path):
    with pytest.raises(ValueError, match="B703.*lm_head"):
        load_filler(str(tiny_folder("roberta")))


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "camembert"])
def test_positions_that_begin_behind_the_padding_are_counted(tiny_folder, kind):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder("roberta"))
    small = {"num_hidden_layers": 1, "hidden_size": 8, "intermediate_size": 8}
    config = AutoConfig.for_model(
        kind, max_position_embeddings=20, num_attention_heads=2, vocab_size=len(tokenizer), **small
    )
    filler = Filler(AutoModelForMaskedLM.from_config(config).eval(), tokenizer)
    assert filler.max_pieces == 20 - config.pad_token_id - 1
    mask, a = tokenizer.mask_token, " the"
    room = filler.max_pieces - 3
    assert fill_masks(filler, [mask + a * room])
    with pytest.raises(ValueError, match="B704"):
        fill_masks(filler, [mask + a * (room + 1)])


def test_what_cannot_be_filled_is_told(folder, bert):
    filler = load_filler(str(folder))
    with pytest.raises(ValueError, match=r"B704.*text 2.*no \[MASK\]"):
        fill_masks(filler, ["[MASK]", "paris"])
    assert fill_masks(filler, ["a " * 61 + "[MASK]"])
    with pytest.raises(ValueError, match=r"B704.*65 pieces.*takes 64"):
        fill_masks(filler, ["a " * 62 + "[MASK]"])
    with pytest.raises(ValueError, match="B704.*text 2.*not valid UTF-8"):
        fill_masks(filler, ["[MASK]", "\udcff [MASK]"])
    with pytest.raises(ValueError, match="B703.*lacks"):
        load_filler(str(bert))
    # No hub name is taken, so none is offered; how its folder is got is.
    for name in ("./nowhere", "bert-base-chinese"):
        with pytest.raises(ValueError, match=r"B804.*folder or an alias.*hf download") as info:
            load_filler(name)
        assert "or a name on the Hugging Face hub" not in str(info.value)


def test_damaged_weights_are_told(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="B100"):
        load_filler(str(folder))


def test_a_tokenizer_without_a_mask(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match="B703.*no mask"):
        load_filler(str(folder))


def test_the_command(folder):
    done = CliRunner().invoke(app, ["fill-mask", str(folder), TEXTS[1], "-k", "2"])
    assert done.exit_code == 0, done.output
    fills = fill_masks(load_filler(str(folder)), TEXTS[1:2], 2)[0]
    for masks in fills:
        for fill in masks:
            assert fill.piece in done.output
    done = CliRunner().invoke(app, ["fill-mask", str(folder), "no mask"])
    assert done.exit_code == 1
    assert "B704" in done.output
