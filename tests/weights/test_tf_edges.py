"""`import-tf` and `export-tf`: what fails half-way, and what the other side cannot say."""

import codecs
import json
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForPreTraining, AutoTokenizer, BertTokenizerFast
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.weights.tf import exporting
from bert_spacy.weights.tf.exporting import export_tf
from bert_spacy.weights.tf.files import read_config
from bert_spacy.weights.tf.importing import import_tf

from ..tiny import vocabulary
from .tf_models import SIZES, bert_variables, make_model, save, write


def contents(folder):
    """Return all paths in a folder with what the files hold."""
    paths = folder.rglob("*")
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


def fill_disk(path, _):
    """Write a little and run out of space."""
    path.with_name(f"{path.name}.data-00000-of-00001").write_bytes(b"half")
    raise OSError(28, "No space left on device")


def test_an_export_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    folder = save(tmp_path / "hf", make_model("bert"))
    checkpoint = tmp_path / "tf" / "x.ckpt"
    export_tf(str(folder), checkpoint)
    before = contents(tmp_path / "tf")
    assert len(before) == 4
    other = save(tmp_path / "other", make_model("bert", layer_norm_eps=1e-5))
    for name in ("write_bundle", "write_vocab"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(exporting, name, fill_disk)
            export_tf(str(other), checkpoint, force=True)
        assert contents(tmp_path / "tf") == before
    export_tf(str(other), checkpoint, force=True)
    after = contents(tmp_path / "tf")
    assert after.keys() == before.keys() and after != before


def test_a_folder_in_place_of_a_file_is_refused_before_anything_is_written(tmp_path):
    folder = save(tmp_path / "hf", make_model("bert"))
    (tmp_path / "tf" / "vocab.txt").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"\[B810\].*vocab.txt"):
        export_tf(str(folder), tmp_path / "tf" / "x.ckpt", force=True)
    assert list(contents(tmp_path / "tf")) == [tmp_path / "tf" / "vocab.txt"]


def test_a_decoder_is_not_exported(tmp_path):
    folder = save(tmp_path / "hf", make_model("bert", is_decoder=True))
    with pytest.raises(ValueError, match=r"\[B661\].*reads from left to right"):
        export_tf(str(folder), tmp_path / "tf" / "x.ckpt")
    assert not (tmp_path / "tf").exists()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("tokenizer.json", None, "B101"),
        ("tokenizer.json", "{}", "B101"),
        ("tokenizer_config.json", "[]", "B101"),
        ("tokenizer_config.json", "?", "B101"),
        ("config.json", "[]", "B100"),
        ("config.json", "?", "B100"),
        ("config.json", '{"model_type": "nosuch"}', "B100"),
    ],
)
def test_a_damaged_folder_is_a_coded_error_of_the_command(tmp_path, name, content, code):
    path = save(tmp_path / "hf", make_model("bert")) / name
    path.write_text(path.read_text()[:500] if content is None else content)
    command = ["export-tf", str(tmp_path / "hf"), str(tmp_path / "tf" / "x.ckpt")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    assert re.search(rf"\[{code}\]", done.output)
    assert not (tmp_path / "tf").exists()


def test_nothing_is_told_where_nothing_is_lost(tmp_path):
    folder = save(tmp_path / "hf", make_model("bert"))
    assert export_tf(str(folder), tmp_path / "x.ckpt").notes == []
    BertTokenizerFast(
        str(folder / "vocab.txt"), do_lower_case=True, strip_accents=True
    ).save_pretrained(folder)
    assert export_tf(str(folder), tmp_path / "x.ckpt", force=True).notes == []


def test_settings_of_the_tokenizer_that_are_lost_are_told(tmp_path):
    folder = save(tmp_path / "hf", make_model("bert"))
    vocab = str(folder / "vocab.txt")
    BertTokenizerFast(vocab, strip_accents=False, tokenize_chinese_chars=False).save_pretrained(
        folder
    )
    accents, chinese = export_tf(str(folder), tmp_path / "a.ckpt").notes
    assert "strip_accents=False is lost" in accents
    assert "tokenize_chinese_chars=False is lost" in chinese

    BertTokenizerFast(vocab, do_lower_case=False).save_pretrained(folder)
    (note,) = export_tf(str(folder), tmp_path / "x.ckpt", force=True).notes
    assert "import with --cased" in note
    # As the note says: without the option the import takes the wrong way.
    for cased, output in (([], "wrong"), (["--cased"], "right")):
        command = ["import-tf", str(tmp_path / "x.ckpt"), str(tmp_path / output), *cased]
        assert CliRunner().invoke(app, command).exit_code == 0
    before, wrong, right = (
        AutoTokenizer.from_pretrained(tmp_path / name).tokenize("The team")
        for name in ("hf", "wrong", "right")
    )
    assert before == right != wrong


def test_a_lower_casing_vocabulary_with_capitals_is_told(tmp_path):
    folder = save(tmp_path / "hf", make_model("bert"))
    pieces = [*vocabulary()[:-1], "Q"]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    (note,) = export_tf(str(folder), tmp_path / "x.ckpt").notes
    assert "import with --lowercase" in note


def test_another_pad_token_is_told(tmp_path):
    folder = save(tmp_path / "hf", make_model("bert"))
    pieces = ["<pad>" if piece == "[PAD]" else piece for piece in vocabulary()]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), pad_token="<pad>").save_pretrained(folder)
    (note,) = export_tf(str(folder), tmp_path / "x.ckpt").notes
    assert "vocab.txt has no [PAD]" in note
    with pytest.raises(ValueError, match=r"\[B659\].*no \[PAD\]"):
        import_tf(tmp_path / "x.ckpt", tmp_path / "again")


def test_settings_of_the_model_that_are_not_heeded_are_told(tmp_path):
    model = make_model("bert", layer_norm_eps=1e-3)
    model.config.hidden_act = "silu"
    folder = save(tmp_path / "hf", model)
    done = CliRunner().invoke(app, ["export-tf", str(folder), str(tmp_path / "x.ckpt")])
    told = " ".join(done.output.split())
    assert done.exit_code == 0 and "layer_norm_eps is 0.001" in told
    assert "hidden_act silu is not known" in told and "nothing like it" in told
    model = make_model("albert")
    model.config.hidden_act = "gelu_new"
    folder = save(tmp_path / "albert", model)
    (note,) = export_tf(str(folder), tmp_path / "y.ckpt", force=True).notes
    assert "hidden_act gelu_new" in note and "write gelu" in note


@pytest.mark.parametrize(
    ("lost", "first", "architecture"),
    [
        ("cls/predictions/output_bias", "masked words is not complete", "BertModel"),
        ("cls/predictions", "masked words is not in", "BertModel"),
        ("bert/pooler/dense/bias", "pooler is not complete", "BertForMaskedLM"),
        ("bert/pooler", "pooler is not in", "BertForMaskedLM"),
    ],
)
def test_a_sentence_head_without_the_other_parts(tmp_path, lost, first, architecture):
    model = make_model("bert")
    named = {k: v for k, v in bert_variables(model).items() if not k.startswith(lost)}
    prefix = write(tmp_path / "tf", named)
    reason = rf"\[B656\].*{lost}.*part for sentence pairs needs"
    with pytest.raises(ValueError, match=reason) as refusal:
        import_tf(prefix, tmp_path / "hf")
    assert not any(name in str(refusal.value) for name in named)  # these are there
    report = import_tf(prefix, tmp_path / "hf", allow_unknown=True)
    assert report.architecture == architecture
    assert first in report.notes[0]
    assert report.notes[1].startswith("The part for sentence pairs was left out")
    state = load_file(tmp_path / "hf" / "model.safetensors")
    prefix = "" if architecture == "BertModel" else "bert."
    wanted = model.state_dict()["bert.encoder.layer.1.output.dense.weight"]
    assert torch.equal(state[f"{prefix}encoder.layer.1.output.dense.weight"], wanted)
    assert not any("seq_relationship" in key for key in state)


def test_settings_of_a_full_config_that_tell_nothing_of_the_checkpoint(tmp_path):
    model = make_model("bert")
    prefix = write(tmp_path / "tf", bert_variables(model))
    wrong = {"tie_word_embeddings": False, "is_decoder": True, "torch_dtype": "float16"}
    full = {**model.config.to_dict(), **wrong, "add_cross_attention": True}
    (tmp_path / "config.json").write_text(json.dumps(full))
    report = import_tf(prefix, tmp_path / "hf", config=tmp_path / "config.json")
    (note,) = [note for note in report.notes if "Settings" in note]
    assert all(key in note for key in wrong)
    written = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert written.get("tie_word_embeddings", True) and not written.get("is_decoder")
    assert written.get("torch_dtype", "float32") == "float32"
    assert not written.get("add_cross_attention")
    again, info = AutoModelForPreTraining.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids = torch.tensor([[2, 9, 40, 77, 12, 3]])
    with torch.no_grad():
        for one, other in zip(again(ids)[:2], model(ids)[:2], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)

    (tmp_path / "config.json").write_text(
        json.dumps({**SIZES, "torch_dtype": "float32", "dtype": None})
    )
    report = import_tf(prefix, tmp_path / "hf2", config=tmp_path / "config.json")
    assert not any("Settings" in note for note in report.notes)


@pytest.mark.parametrize("family", ["bert", "albert"])
@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("hidden_act", ["null", "3", '"nosuch"', '["gelu"]'], ['"relu"', '"gelu_new"']),
        (
            "layer_norm_eps",
            ["null", '"x"', '"1e-12"', "true", "0", "-1e-12", "NaN", "Infinity"],
            ["1e-5", "1"],
        ),
        ("hidden_dropout_prob", ["null", '"x"', "false", "-0.1", "1.0", "NaN"], ["0", "0.5"]),
        ("attention_probs_dropout_prob", ["null", "1", "true"], ["0.0", "0.99"]),
        ("classifier_dropout_prob", ["1"], ["0.1"]),
    ],
)
def test_settings_with_which_no_model_runs(tmp_path, family, name, bad, good):
    path = tmp_path / "config.json"
    sizes = {**SIZES, "embedding_size": 8}
    del sizes["hidden_act"]
    assert name not in read_settings(path, family, json.dumps(sizes))  # may be left out
    for value in [*bad, *good]:
        text = json.dumps(sizes)[:-1] + f', "{name}": {value}}}'
        if value in bad:
            with pytest.raises(ValueError, match=rf"\[B658\].*config.json.*: {name} is "):
                read_settings(path, family, text)
        else:
            assert read_settings(path, family, text)[name] == json.loads(value)


def add_mark(path):
    """Put a byte order mark before a file, as editors of Windows do."""
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())


@pytest.mark.parametrize("name", ["vocab.txt", "bert_config.json"])
def test_a_byte_order_mark_changes_nothing(tmp_path, name):
    prefix = write(tmp_path / "tf", bert_variables(make_model("bert")))
    import_tf(prefix, tmp_path / "plain")
    add_mark(tmp_path / "tf" / name)
    import_tf(prefix, tmp_path / "marked")
    for path in (tmp_path / "plain").iterdir():
        if path.name != "README.md":  # names its sources
            assert (tmp_path / "marked" / path.name).read_bytes() == path.read_bytes()


def read_settings(path, family, text):
    """Write a configuration and read it."""
    path.write_text(text)
    return read_config(path, family)
