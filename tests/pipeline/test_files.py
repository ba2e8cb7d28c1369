"""Saved pipelines: whole, damaged, mixed up, and written to a full disk."""

import errno
import os
import shutil

import pytest
import spacy
import srsly
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

import bert_spacy.util
from bert_spacy.pipeline.files import load_pipeline

from ..util import (
    HEADS,
    encoder_of,
    make_nlp,
    predictions,
    same_weights,
    train_steps,
    trained,
    weights,
)
from ..util import all_examples as gold


@pytest.fixture(scope="module")
def saved(bert, tmp_path_factory):
    """Return the folder of a pipeline; tests copy it before they touch it."""
    path = tmp_path_factory.mktemp("saved") / "model"
    trained(bert, HEADS).to_disk(path)
    return path


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


@pytest.fixture(scope="module")
def blank(bert):
    """Return a pipeline whose parts read the saved ones, faster than spacy.load."""
    return make_nlp(bert, HEADS)


def read(blank, folder, name):
    config = {k: v for k, v in blank.get_pipe_config(name).items() if k != "factory"}
    part = blank.create_pipe(name, config=config)
    return part.from_disk(folder / name, exclude=["vocab"])


def test_encoder_folder_is_an_ordinary_one_without_pickles(saved):
    nlp = spacy.load(saved)
    path = saved / "bert_encoder" / "encoder"
    plain = AutoModel.from_pretrained(path, use_safetensors=True)
    assert same_weights(weights(plain), weights(encoder_of(nlp).model))
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert tokenizer("anna")["input_ids"] == encoder_of(nlp).tokenizer("anna")["input_ids"]
    assert {p.suffix for p in path.iterdir()} <= {".json", ".safetensors", ".txt"}
    assert not list(saved.rglob(".*"))


@pytest.mark.skipif(os.name == "nt", reason="there are no such modes here")
def test_all_files_can_be_read_by_those_who_can_read_a_new_one(saved, tmp_path):
    (tmp_path / "new").touch()
    modes = {p.name: p.stat().st_mode for p in saved.rglob("*") if p.is_file()}
    assert "model.safetensors" in modes
    assert set(modes.values()) == {(tmp_path / "new").stat().st_mode}


@pytest.mark.parametrize(
    "name, code",
    [
        ("bert_encoder/cfg", "B303"),
        ("bert_encoder/encoder", "B303"),
        ("bert_encoder/encoder/model.safetensors", "B303"),
        ("bert_encoder/encoder/config.json", "B303"),
        ("bert_ner", "B303"),
        ("bert_ner/cfg", "B303"),
        ("bert_ner/model", "B303"),
        ("bert_textcat/model", "B303"),
        ("bert_qa/cfg", "B303"),
    ],
)
def test_missing_file_is_named(folder, name, code):
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    # A file of the encoder is named itself, not its folder alone.
    wanted = name.split("/")[-1 if "encoder/encoder/" in name else 0]
    with pytest.raises(ValueError, match=rf"\[{code}\].*{wanted}"):
        spacy.load(folder)


def test_missing_tokenizer_is_named(folder):
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / "bert_encoder" / "encoder" / name).unlink()
    with pytest.raises(ValueError, match=r"\[B303\].*bert_encoder.*tokenizer\.json"):
        spacy.load(folder)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.9])
@pytest.mark.parametrize(
    "name, code",
    [
        ("bert_encoder/cfg", "B303"),
        ("bert_encoder/encoder/model.safetensors", "B100"),
        ("bert_encoder/encoder/config.json", "B100"),
        ("bert_encoder/encoder/tokenizer.json", "B101"),
        ("bert_textcat/cfg", "B303"),
        ("bert_ner/model", "B303"),
    ],
)
def test_file_cut_short_is_reported(blank, folder, name, code, keep):
    path = folder / name
    data = path.read_bytes()
    size = keep if isinstance(keep, int) else int(keep * len(data))
    if size >= len(data):
        size = len(data) - 2
    path.write_bytes(data[:size])
    with pytest.raises(ValueError, match=rf"\[{code}"):
        read(blank, folder, name.split("/")[0])


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.floats(0, 1), value=st.integers(0, 255))
def test_one_wrong_byte_in_a_head_is_an_error_or_harmless(saved, blank, at, value):
    data = bytearray((saved / "bert_ner" / "model").read_bytes())
    data[int(at * (len(data) - 1))] = value
    folder = saved.parent / "wrong" / "bert_ner"
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "cfg").write_bytes((saved / "bert_ner" / "cfg").read_bytes())
    (folder / "model").write_bytes(bytes(data))
    try:
        read(blank, folder.parent, "bert_ner")
    except ValueError as err:
        assert str(err).startswith(("[B303]", "[B304]"))


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", "null", '"labels"'])
@pytest.mark.parametrize("name", ["bert_encoder", "bert_textcat"])
def test_cfg_that_is_no_table_is_reported(blank, folder, name, content):
    (folder / name / "cfg").write_text(content)
    with pytest.raises(ValueError, match=r"\[B303\]"):
        read(blank, folder, name.split("/")[0])


@pytest.mark.parametrize("labels", [[], ["A"], ["A", "B", "C", "D", "E"], None, 3])
@pytest.mark.parametrize("name", ["bert_textcat", "bert_ner"])
def test_labels_that_do_not_match_the_weights_are_refused(blank, folder, name, labels):
    path = folder / name / "cfg"
    path.write_text(srsly.json_dumps({**srsly.read_json(path), "labels": labels}))
    with pytest.raises(ValueError, match=rf"\[B304\].*{name}"):
        read(blank, folder, name.split("/")[0])


def test_weights_of_another_head_are_refused(folder):
    shutil.copy(folder / "bert_textcat" / "model", folder / "bert_ner" / "model")
    with pytest.raises(ValueError, match=r"\[B303\]"):
        spacy.load(folder)
    nlp = spacy.load(folder, exclude=["bert_ner"])
    assert nlp("anna").cats


def test_weights_that_do_not_fit_their_settings_are_refused(saved):
    shim = spacy.load(saved).get_pipe("bert_ner").shim
    message = srsly.msgpack_loads(shim.to_bytes())
    message["settings"]["n_labels"] += 1
    with pytest.raises(ValueError, match=r"\[B207\]"):
        shim.from_bytes(srsly.msgpack_dumps(message))


def test_window_set_while_loading_must_fit_the_model(folder):
    with pytest.raises(ValueError, match=r"\[B205\]"):
        spacy.load(folder, config={"components.bert_encoder.model.window": 3})


def test_damaged_pipeline_config_is_an_error(folder):
    (folder / "config.cfg").write_text("[nlp\nlang = ")
    with pytest.raises(ValueError):
        spacy.load(folder)


def test_tensors_of_another_shape_are_refused(folder):
    path = folder / "bert_encoder" / "encoder" / "config.json"
    path.write_text(path.read_text().replace('"intermediate_size": 32', '"intermediate_size": 40'))
    with pytest.raises(ValueError, match=r"\[B100\]"):
        spacy.load(folder)
    path.write_text(path.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(ValueError, match=r"\[B100\]"):
        spacy.load(folder)


def test_layers_that_the_config_lacks_are_refused(folder):
    path = folder / "bert_encoder" / "encoder" / "config.json"
    path.write_text(path.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 1'))
    with pytest.raises(ValueError, match=r"\[B100\].*config\.json.*layer\.1\."):
        spacy.load(folder)


def test_saving_without_weights_is_refused(bert, tmp_path):
    nlp = make_nlp(bert, ["bert_ner"])
    with pytest.raises(ValueError, match=r"\[B308\]"):
        nlp.to_disk(tmp_path / "model")
    nlp.get_pipe("bert_encoder").to_disk(tmp_path / "part", exclude=["model"])
    nlp.get_pipe("bert_encoder").from_disk(tmp_path / "part", exclude=["model"])
    empty = nlp.get_pipe("bert_ner").to_bytes()
    assert make_nlp(bert, ["bert_ner"]).get_pipe("bert_ner").from_bytes(empty).labels == ()


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["encoder", "tokenizer", "head", "rename"])
def test_full_disk_leaves_the_saved_pipeline(folder, monkeypatch, where):
    nlp = spacy.load(folder)
    texts = ["anna was in paris", "a good film"]
    wanted = predictions(nlp.pipe(texts))
    files = sorted(p.relative_to(folder) for p in folder.rglob("*"))
    train_steps(nlp, gold(nlp), 2)
    part = nlp.get_pipe("bert_ner" if where == "head" else "bert_encoder")
    if where == "encoder":
        monkeypatch.setattr(encoder_of(nlp).model, "save_pretrained", full)
    elif where == "tokenizer":
        monkeypatch.setattr(encoder_of(nlp).tokenizer, "save_pretrained", full)
    elif where == "head":
        monkeypatch.setattr(part.shim, "to_bytes", full)
    else:
        monkeypatch.setattr(bert_spacy.util.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        part.to_disk(folder / part.name, exclude=["vocab"])
    monkeypatch.undo()
    assert sorted(p.relative_to(folder) for p in folder.rglob("*")) == files
    assert predictions(spacy.load(folder).pipe(texts)) == wanted


def test_bert_encoder_takes_names_that_lead_somewhere_alone(tmp_path):
    for name, code in ((str(tmp_path / "none"), "B804"), (str(tmp_path), "B803")):
        with pytest.raises(ValueError, match=rf"\[{code}\]"):
            make_nlp(name).initialize()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("[E002] Can't find factory for 'x'."),
        ValueError("[B303] The file x is damaged."),
        ImportError("No module named 'x'"),
        MemoryError(),
    ],
)
def test_errors_that_are_no_damage_are_told_as_they_are(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(spacy, "load", fail)
    with pytest.raises(type(error)) as caught:
        load_pipeline("model")
    assert caught.value is error


def test_a_pipeline_of_an_unknown_component_is_no_damaged_one(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path)
    config = (tmp_path / "config.cfg").read_text()
    text = config.replace('factory = "sentencizer"', 'factory = "no_such"')
    (tmp_path / "config.cfg").write_text(text)
    with pytest.raises(ValueError, match=r"^\[E002\].*no_such"):
        load_pipeline(tmp_path)


@pytest.mark.parametrize("reason", ["It is\n\ncut off.", "[E050] It is cut off."])
def test_the_reason_of_a_damaged_pipeline_stands_on_one_line(monkeypatch, reason):
    def fail(name):
        raise OSError(reason)

    monkeypatch.setattr(spacy, "load", fail)
    with pytest.raises(ValueError, match=r"^\[B310\].*: .*It is cut off\. Give") as caught:
        load_pipeline("model")
    assert "\n" not in str(caught.value)
