"""What stands on the command line and cannot be ends with a message and exit code 2."""

import sys

import pytest
import spacy
import torch
from spacy.cli import _util
from typer.testing import CliRunner
from wasabi import msg

from bert_spacy.cli import app as app_module
from bert_spacy.cli.app import app, main

CONFIGS = ("distill", "pretrain", "train")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "any.cfg"
    path.write_text("[paths]\ntrain = null\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("command", CONFIGS)
def test_an_option_that_is_no_setting(command, config, tmp_path):
    args = [command, str(config), "-o", str(tmp_path / "out"), "--nope", "1"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 2
    assert "--nope" in result.stderr and "--section.name" in result.stderr


@pytest.mark.parametrize("command", ["distill", "train", "evaluate", "report", "predict"])
@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_a_gpu_that_cannot_be_used(command, kind, config, tmp_path, monkeypatch):
    def fail(gpu_id):
        raise kind("no such GPU")

    monkeypatch.setattr(_util, "require_gpu", fail)
    more = [] if command in CONFIGS else [str(config)]
    args = [command, str(config), *more, "-o", str(tmp_path / "out"), "--gpu-id", "3"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 2
    assert "no such GPU" in result.stderr and "-1" in result.stderr


def test_a_gpu_that_cuda_does_not_show(config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    args = ["pretrain", str(config), "-o", str(tmp_path / "out"), "--gpu-id", "3"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 2
    assert "shows: 3." in result.stderr and "-1" in result.stderr


@pytest.mark.parametrize(
    "reason, is_told",
    [
        ("Error while serializing: I/O error: No space left on device (os error 28)", True),
        ("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0", True),
        ("something else", False),
    ],
)
def test_a_full_disk_is_told_without_a_traceback(reason, is_told, monkeypatch, capsys):
    def fail(**options):
        raise RuntimeError(reason)

    monkeypatch.setattr(app_module, "app", fail)
    with pytest.raises(SystemExit if is_told else RuntimeError):
        main()
    output = " ".join(capsys.readouterr().out.split())
    assert (f"[B627] The disk is full, or cannot be written: {reason}." in output) is is_told


@pytest.mark.parametrize("value", ["", "1"])
def test_no_color(value, monkeypatch, capsys):
    monkeypatch.setenv("NO_COLOR", value)
    monkeypatch.setenv("ANSI_COLORS_DISABLED", "")
    monkeypatch.setattr(msg, "show_color", True)
    monkeypatch.setattr(sys, "argv", ["bert-spacy", "weights", "path", "nope"])
    with pytest.raises(SystemExit):
        main()
    output = capsys.readouterr().out
    assert "B801" in output and ("\x1b" in output) is not bool(value)


@pytest.mark.parametrize("command", ["evaluate", "predict", "report"])
@pytest.mark.parametrize(
    "name, content",
    [
        ("vocab/vectors", b""),
        ("vocab/strings.json", b"3"),
        ("vocab/vectors.cfg", b"[]"),
        ("vocab/lookups.bin", b"\x01"),
        ("config.cfg", b"[nl"),
    ],
)
def test_a_damaged_pipeline_is_named(command, name, content, tmp_path):
    folder, data = tmp_path / "pipeline", tmp_path / "rows.jsonl"
    spacy.blank("en").to_disk(folder)
    (folder / name).write_bytes(content)
    data.touch()
    result = CliRunner().invoke(app, [command, str(folder), str(data), "-o", str(tmp_path / "o")])
    told = " ".join(result.output.split())
    assert result.exit_code == 1 and f"[B310] The pipeline {folder} cannot be loaded: " in told
    assert "Error" in told


def test_a_pipeline_that_is_not_there_is_named(tmp_path):
    result = CliRunner().invoke(app, ["evaluate", "no_such_name", str(tmp_path)])
    assert result.exit_code == 1 and "[B310] The pipeline no_such_name" in result.output


@pytest.mark.parametrize("command", ["evaluate", "predict", "report", "calibrate"])
def test_a_package_that_a_pipeline_lacks_is_named(command, tmp_path, monkeypatch):
    def fail(name):
        raise ImportError("No module named 'x'")

    monkeypatch.setattr(spacy, "load", fail)
    folder, data = tmp_path / "pipeline", tmp_path / "rows.jsonl"
    folder.mkdir()
    data.touch()
    result = CliRunner().invoke(app, [command, str(folder), str(data), "-o", str(tmp_path / "o")])
    told = " ".join(result.output.split())
    assert result.exit_code == 1 and "No module named 'x'" in told and "B310" not in told


@pytest.mark.parametrize(
    "command", ["pretrain", "distill", "train-tokenizer", "vocab analyze", "vocab prune"]
)
def test_help_names_the_key_of_texts(command):
    assert 'under "text"' in " ".join(run_help(command).replace("│", "").split())


def run_help(command):
    return CliRunner().invoke(app, [*command.split(), "--help"]).stdout


def test_help_shows_what_stands_in_brackets():
    assert "[unused1]" in run_help("vocab extend")
