"""A run that is stopped at any step goes on to the weights of one that was not."""

import errno
import io
import json
import os
import shutil
from pathlib import Path

import pytest
import spacy
import torch
from safetensors.torch import load_file
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.util import load_config, load_model_from_path, registry
from thinc.api import Config
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.training import run as run_module
from bert_spacy.training.checkpoint import CONFIG, find_checkpoint, read_progress
from bert_spacy.training.run import CHECKPOINTS, train

from ..util import ANY_ENCODER, all_examples, make_nlp

ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """Stands for a kill: nothing in the package may catch it and tidy up."""


KILL_AT: set[int] = set()


@registry.callbacks("bert-spacy-tests.kill.v1")
def create_kill():
    def before_update(nlp, args):
        if args["step"] in KILL_AT:
            KILL_AT.remove(args["step"])
            raise Killed

    return before_update


@pytest.fixture
def config(bert, tmp_path):
    nlp = make_nlp(bert, ANY_ENCODER)
    docs = [eg.reference for eg in all_examples(nlp, ANY_ENCODER) * 3]
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    config = load_config(ROOT / "configs" / "joint.cfg", interpolate=False)
    data = str(tmp_path / "train.spacy")
    config["paths"].update(train=data, dev=data, log=str(tmp_path / "log.jsonl"))
    config["components"]["bert_encoder"]["model"].update(name=str(bert), mixed_precision=False)
    config["nlp"]["lang"] = "en"
    config["nlp"].pop("tokenizer", None)
    training = config["training"]
    training.update(max_steps=11, eval_frequency=4, dropout=0.2)
    training["before_update"] = {"@callbacks": "bert-spacy-tests.kill.v1"}
    training["batcher"].update(size=5, same_gold=False)
    training["logger"].update(progress_bar=None)
    return config


def weights_of(folder: Path) -> dict[str, bytes]:
    files = [*folder.rglob("model"), *folder.rglob("*.safetensors")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.is_file()}


def run(config: Config, output: Path, kills: list[int], **options) -> None:
    shutil.rmtree(output, ignore_errors=True)
    KILL_AT.update(kills)
    for n in range(len(kills) + 1):
        try:
            train(config, output, resume=n > 0, **options)
        except Killed:
            continue
        break
    assert not KILL_AT


@pytest.mark.parametrize("optimizer", ["bert-spacy.AdamW.v1", "Adam.v1"])
def test_kills_change_nothing(config, tmp_path, optimizer):
    if optimizer == "Adam.v1":  # thinc's own, with averages
        config["training"]["optimizer"] = {"@optimizers": optimizer, "learn_rate": 0.001}
    run(config, tmp_path / "whole", [], checkpoint_every=3)
    log = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    # Before the first checkpoint, just after one, between two, at an evaluation, at the end.
    run(config, tmp_path / "killed", [1, 3, 5, 8, 11], checkpoint_every=3)
    for name in ("model-best", "model-last"):
        wanted = weights_of(tmp_path / "whole" / name)
        assert len(wanted) > 3
        assert weights_of(tmp_path / "killed" / name) == wanted
    rows = [json.loads(line) for line in log.splitlines()]
    again = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    assert [row["step"] for row in rows] == [0, 4, 8]
    for row, other in zip(rows, map(json.loads, again.splitlines()), strict=True):
        row["scores"].pop("speed", None), other["scores"].pop("speed", None)
        assert other == row


@pytest.mark.parametrize("kind", ["fgm", "awp"])
def test_kills_change_nothing_in_a_run_with_extra_passes(config, tmp_path, kind):
    components = config["components"]
    config["nlp"]["pipeline"].remove("bert_qa")
    components.pop("bert_qa")
    components["bert_encoder"].update(adversarial=kind, r_drop_alpha=0.5)
    components["bert_textcat"].update(loss="focal", class_weights="balanced")
    components["bert_textcat"]["model"]["dropout_samples"] = 2
    config["training"].update(score_weights={"cats_score": 0.5, "ents_f": 0.5})
    config["training"].update(accumulate_gradient=2)
    run(config, tmp_path / "whole", [], checkpoint_every=3)
    run(config, tmp_path / "killed", [5, 8], checkpoint_every=3)
    wanted = weights_of(tmp_path / "whole" / "model-last")
    assert len(wanted) == 3
    assert weights_of(tmp_path / "killed" / "model-last") == wanted


def test_the_run_learns_and_kills_come_before_the_end(config, tmp_path):
    run(config, tmp_path / "out", [])
    first, last = (
        load_file(tmp_path / "out" / name / "bert_encoder" / "encoder" / "model.safetensors")
        for name in ("checkpoints/step-00000012/pipeline", "model-last")
    )
    assert all(torch.equal(first[name], last[name]) for name in last)
    begun = load_file(
        Path(config["components"]["bert_encoder"]["model"]["name"]) / "model.safetensors"
    )
    moved = [name for name in last if name in begun and not torch.equal(begun[name], last[name])]
    assert len(moved) > 10
    assert load_model_from_path(tmp_path / "out" / "model-last")("anna was in paris").cats


def test_what_kills_cut_off_does_not_pile_up(config, tmp_path):
    output = tmp_path / "out"
    cut_off = [output / ".model-last.a1b2c3d4", output / ".model-best.e5f6g7h8"]
    others = [output / "model-best.mine", output / ".model-last.a1b2c3d4.old"]
    for folder in (*cut_off, *others):
        folder.mkdir(parents=True)
        (folder / "config.cfg").write_text("")
    train(config, output)
    assert not any(folder.exists() for folder in cut_off)
    assert all((folder / "config.cfg").exists() for folder in others)
    cut_off[0].mkdir()
    train(config, output, resume=True)
    assert not cut_off[0].exists()


def test_a_finished_run_is_not_trained_again(config, tmp_path, monkeypatch):
    run(config, tmp_path / "out", [])
    before = weights_of(tmp_path / "out" / "model-last")
    monkeypatch.setattr(Language, "update", lambda *args, **kwargs: pytest.fail("it learns"))
    train(config, tmp_path / "out", resume=True)
    assert weights_of(tmp_path / "out" / "model-last") == before
    assert read_progress(find_checkpoint(tmp_path / "out" / CHECKPOINTS)).step == 12


@pytest.mark.parametrize("name", ["train", "dev"])
def test_a_run_that_cannot_begin_leaves_the_earlier_one_alone(config, tmp_path, name):
    run(config, tmp_path / "out", [])
    before = weights_of(tmp_path / "out")
    config["paths"][name] = str(tmp_path / "typo.spacy")
    with pytest.raises(ValueError, match="B413"):
        train(config, tmp_path / "out")
    DocBin().to_disk(tmp_path / "typo.spacy")
    with pytest.raises(ValueError, match="B424"):
        train(config, tmp_path / "out")
    assert weights_of(tmp_path / "out") == before


@pytest.mark.parametrize("section", ["nlp", "components", "corpora", "training"])
def test_a_config_that_was_cut_short_is_refused(config, tmp_path, section):
    del config[section]
    with pytest.raises(ValueError, match=rf"B543.*\[{section}\]"):
        train(config, tmp_path / "out")


def test_without_resume_the_run_begins_anew(config, tmp_path):
    run(config, tmp_path / "out", [8])
    with pytest.raises(Killed):
        KILL_AT.add(1)
        train(config, tmp_path / "out", checkpoint_every=5)
    assert find_checkpoint(tmp_path / "out" / CHECKPOINTS) is None


def test_checkpoints_of_an_earlier_run_are_not_gone_on_with(config, tmp_path):
    output = tmp_path / "out"
    run(config, output, [])
    (output / CHECKPOINTS / "notes.txt").touch()
    with pytest.raises(Killed):
        KILL_AT.add(0)
        train(config, output)
    assert find_checkpoint(output / CHECKPOINTS) is None
    assert (output / CHECKPOINTS / "notes.txt").exists()
    assert (output / "model-best").exists() and (output / "model-last").exists()


def stop(*args, **kwargs):
    raise KeyboardInterrupt


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("part", ["last", "best"])
def test_a_full_disk_leaves_the_earlier_run(config, tmp_path, monkeypatch, part):
    output = tmp_path / "out"
    run(config, output, [])
    before = {k: data for k, data in weights_of(output).items() if CHECKPOINTS not in k}
    if part == "last":
        monkeypatch.setattr(Language, "to_disk", full)
    else:
        monkeypatch.setattr(run_module.shutil, "copytree", full)
        before = {name: data for name, data in before.items() if "model-last" not in name}
    with pytest.raises(OSError, match="No space left"):
        train(config, output)
    after = weights_of(output)
    assert len(before) > 3
    assert {name: after.get(name) for name in before} == before


def test_a_first_score_that_is_no_number_leaves_no_earlier_pipeline(config, tmp_path, monkeypatch):
    run(config, tmp_path / "out", [])
    monkeypatch.setattr(
        run_module, "create_evaluation_callback", lambda *args: lambda: (float("nan"), {})
    )
    with pytest.raises(Killed):
        KILL_AT.add(1)
        train(config, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        CHECKPOINTS,
        "model-last",
    ]


def test_ctrl_c_before_the_first_checkpoint_leaves_the_best_pipeline(config, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "Killed", KeyboardInterrupt)
    best = tmp_path / "out" / "model-best"
    config.to_disk(tmp_path / "train.cfg")
    args = ["train", str(tmp_path / "train.cfg"), "-o", str(best.parent)]
    KILL_AT.add(5)
    result = CliRunner().invoke(app, [*args, "--checkpoint-every", "100"])
    told = " ".join(result.output.split())
    assert result.exit_code == 130 and "Stopped before the first checkpoint" in told
    assert "model-best stays until" in told
    before = weights_of(best)
    assert len(before) > 3
    for step in (0, 1):  # with --resume too it stays until there is a new one
        KILL_AT.add(step)
        assert CliRunner().invoke(app, [*args, "--resume"]).exit_code == 130
        assert (weights_of(best) == before) is (step == 0)
    assert set(weights_of(best)) == set(before)


@pytest.mark.parametrize(
    "section, name, meant",
    [
        ("training", "max_stepz", "Did you mean 'max_steps'?"),
        ("nlp", "batch_sise", "Did you mean 'batch_size'?"),
        ("initialize", "qqq", "no setting 'qqq'. Allowed: vocab_data"),
    ],
)
def test_a_misspelt_setting_is_refused_before_anything_is_read(
    config, tmp_path, monkeypatch, section, name, meant
):
    monkeypatch.setattr(run_module, "init_nlp", stop)
    config[section][name] = 3
    with pytest.raises(ValueError, match=rf"\[B546\] \[{section}\]") as refused:
        train(config, tmp_path / "out")
    assert meant in str(refused.value)


def test_a_language_that_is_not_there_is_told_without_a_traceback(config, tmp_path):
    config["nlp"]["lang"] = "qq"
    config.to_disk(tmp_path / "train.cfg")
    result = CliRunner().invoke(app, ["train", str(tmp_path / "train.cfg"), "-o", str(tmp_path)])
    assert isinstance(result.exception, SystemExit) and result.exit_code == 1
    assert "qq" in result.output


@pytest.mark.parametrize("when", ["data", "step"])
def test_ctrl_c_speaks_of_resume_for_a_checkpoint_of_this_run_alone(
    config, tmp_path, monkeypatch, when
):
    monkeypatch.setitem(globals(), "Killed", KeyboardInterrupt)
    run(config, tmp_path / "out", [])
    config.to_disk(tmp_path / "train.cfg")
    args = ["train", str(tmp_path / "train.cfg"), "-o", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        if when == "data":
            patch.setattr(run_module, "init_nlp", stop)
        else:
            KILL_AT.add(0)
        result = CliRunner().invoke(app, args)
    told = " ".join(result.output.split())
    assert result.exit_code == 130 and "go on with --resume" not in told
    wanted = {"data": "start again without --resume", "step": "--resume would start again"}
    assert wanted[when] in told
    KILL_AT.add(11)
    result = CliRunner().invoke(app, args)  # the checkpoint has the name of the earlier one
    assert result.exit_code == 130 and "go on with --resume" in " ".join(result.output.split())


def test_another_config_is_refused_with_the_difference(config, tmp_path):
    with pytest.raises(Killed):
        KILL_AT.add(6)
        train(config, tmp_path / "out")
    config["training"]["max_steps"] = 20
    with pytest.raises(ValueError, match=r"B541.* training\.max_steps: 11 -> 20[.;]"):
        train(config, tmp_path / "out", resume=True)


def reverse(section):
    for key in reversed(list(section)):
        section[key] = value = section.pop(key)
        if isinstance(value, dict):
            reverse(value)


def test_the_same_config_in_another_order_goes_on(config, tmp_path):
    run(config, tmp_path / "whole", [])
    with pytest.raises(Killed):
        KILL_AT.add(6)
        train(config, tmp_path / "killed")
    text = (find_checkpoint(tmp_path / "killed" / CHECKPOINTS) / CONFIG).read_text()
    reverse(config)
    train(config, tmp_path / "killed", resume=True)
    after = (find_checkpoint(tmp_path / "killed" / CHECKPOINTS) / CONFIG).read_text()
    assert after != text
    wanted = weights_of(tmp_path / "whole" / "model-last")
    assert weights_of(tmp_path / "killed" / "model-last") == wanted


@pytest.mark.parametrize("name", ["state.json", "state.safetensors", "pipeline/bert_ner/model"])
def test_a_damaged_checkpoint_is_named(config, tmp_path, name):
    with pytest.raises(Killed):
        KILL_AT.add(6)
        train(config, tmp_path / "out")
    path = find_checkpoint(tmp_path / "out" / CHECKPOINTS) / name
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="B540.*step-"):
        train(config, tmp_path / "out", resume=True)


def test_what_a_kill_left_half_written_is_passed_over(config, tmp_path):
    with pytest.raises(Killed):
        KILL_AT.add(6)
        train(config, tmp_path / "out")
    folder = tmp_path / "out" / CHECKPOINTS
    half = folder / ".step-a1b2c3d4"
    half.mkdir()
    assert find_checkpoint(folder).name == "step-00000005"
    train(config, tmp_path / "out", resume=True)
    assert not half.exists()


@pytest.mark.parametrize("part, code", [("train", "B542.*first 5 batches"), ("dev", "B544")])
def test_other_data_are_refused(config, tmp_path, part, code):
    shutil.copy(config["paths"]["train"], tmp_path / "dev.spacy")
    config["paths"]["dev"] = str(tmp_path / "dev.spacy")
    with pytest.raises(Killed):
        KILL_AT.add(6)
        train(config, tmp_path / "out")
    path = Path(config["paths"][part])
    docs = list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))
    for doc in docs:
        doc.cats = {name: 1.0 - value for name, value in doc.cats.items()}
    DocBin(docs=docs).to_disk(path)
    log = (tmp_path / "log.jsonl").read_bytes()
    (tmp_path / "log.jsonl.before").write_text("mine")
    for _ in range(2):
        with pytest.raises(ValueError, match=code):
            train(config, tmp_path / "out", resume=True)
        assert (tmp_path / "log.jsonl").read_bytes() == log  # the curve so far is not lost
    assert (tmp_path / "log.jsonl.before").read_text() == "mine"


def test_a_log_that_was_set_aside_survives_a_kill_and_goes_with_its_checkpoint(config, tmp_path):
    output, log = tmp_path / "out", tmp_path / "log.jsonl"
    run(config, output, [])
    rows = log.read_bytes()
    checkpoint = find_checkpoint(output / CHECKPOINTS)
    (checkpoint / "log").write_bytes(rows)
    log.write_bytes(rows[:50])  # a kill came while the rows were written again
    train(config, output, resume=True)
    assert log.read_bytes() == rows and not (checkpoint / "log").exists()
    (checkpoint / "log").write_bytes(b"old")
    with pytest.raises(Killed):
        KILL_AT.add(6)
        train(config, output)
    train(config, output, resume=True)
    assert log.read_bytes()[:1] == b"{" and not list(output.glob("checkpoints/*/log"))


@pytest.mark.parametrize("mixing", ["sqrt", "annealed"])
def test_kills_change_nothing_where_corpora_are_mixed(config, tmp_path, mixing):
    docs = list(DocBin().from_disk(tmp_path / "train.spacy").get_docs(spacy.blank("en").vocab))
    corpora = {}
    for name, part in (("few", docs[::6]), ("many", docs)):
        DocBin(docs=part).to_disk(tmp_path / f"{name}.spacy")
        path = str(tmp_path / f"{name}.spacy")
        corpora[name] = {"@readers": "bert-spacy.Corpus.v1", "path": path}
    config["corpora"]["train"] = {
        "@readers": "bert-spacy.MixedCorpus.v1",
        "mixing": mixing,
        "corpora": corpora,
        "epochs": 3 if mixing == "annealed" else 0,
    }
    training = config["training"]
    training["max_epochs"] = -2 if mixing == "annealed" else 0
    training["batcher"]["size"] = 12
    run(config, tmp_path / "whole", [], checkpoint_every=3)
    epochs = [row["epoch"] for row in map(json.loads, (tmp_path / "log.jsonl").open())]
    # 36 + 15 Docs are five steps; 36 + 6, and then 36 + 12, are four.
    assert epochs == ([0, 1, 2] if mixing == "annealed" else [0, 0, 1])
    run(config, tmp_path / "killed", [2, 7, 10], checkpoint_every=3)
    wanted = weights_of(tmp_path / "whole" / "model-last")
    assert weights_of(tmp_path / "killed" / "model-last") == wanted


def test_patience_stops_a_run_that_grows_no_better(config, tmp_path):
    config["training"]["optimizer"]["learn_rate"] = 0.0
    config["training"].update(max_steps=100, eval_frequency=2, patience=5)
    run(config, tmp_path / "out", [3], checkpoint_every=2)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    # The first evaluation is the best, and after step 5 its score is five steps old.
    assert [row["step"] for row in rows] == [0, 2, 4]
    assert read_progress(find_checkpoint(tmp_path / "out" / CHECKPOINTS)).step == 6


class Terminal(io.StringIO):
    """Bars of progress are for terminals alone."""

    def isatty(self):
        return True


CONSOLE = {"@loggers": "spacy.ConsoleLogger.v1", "progress_bar": True}


@pytest.mark.parametrize("chained", [False, True])
def test_loggers_of_spacy_and_of_spacy_loggers_are_named_in_the_config(config, tmp_path, chained):
    logger = CONSOLE
    if chained:
        name = "spacy.ChainLogger.v1"
        if not registry.has("loggers", name):
            pytest.skip("spacy-loggers is not installed")
        lookup = {"@loggers": "spacy.LookupLogger.v1", "patterns": ["score"]}
        logger = {"@loggers": name, "logger1": CONSOLE, "logger2": lookup}
    config["training"]["logger"] = logger
    out, err = io.StringIO(), Terminal()
    train(config, tmp_path / "out", stdout=out, stderr=err)
    rows = [line.split()[:2] for line in out.getvalue().splitlines() if line[:3] == "  0"]
    assert rows == [["0", "0"], ["0", "4"]]
    assert ("score -> " in out.getvalue()) == chained
    assert "Epoch 1" in err.getvalue()


@pytest.mark.parametrize(
    "name, value", [("dropout", 2), ("dropout", -0.1), ("eval_frequency", 0),
                    ("accumulate_gradient", 0)]
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused_before_data_are_read(
    config, tmp_path, monkeypatch, name, value
):
    monkeypatch.setattr(run_module, "init_nlp", lambda *_, **__: pytest.fail("reads the data"))
    config["training"][name] = value
    with pytest.raises(ValueError, match=rf"\[B545\] training.{name} cannot be {value}"):
        train(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_dropout_that_is_a_whole_number(config, tmp_path):
    config["training"].update(dropout=0, max_steps=1)
    assert train(config, tmp_path / "out").is_dir()
