"""A killed run goes on to the same weights; two processes draw the curve of one."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bert_spacy.util import checksum
from bert_spacy.weights.pretrain import run as run_module
from bert_spacy.weights.pretrain.run import pretrain

from .tools import COMMAND, ROOT, make_config, make_corpus

WAIT = 120
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


class Killed(BaseException):
    """Stands for a signal that no handler sees."""


def stopping(monkeypatch, step):
    """Make the trainer die when it has made so many steps, in the midst of a checkpoint."""

    class Dying(run_module.PretrainTrainer):
        def _save_checkpoint(self, model, trial):
            if self.state.global_step < step:
                return super()._save_checkpoint(model, trial)
            folder = f"{self.args.output_dir}/checkpoint-{self.state.global_step}"
            self._save(folder)
            raise Killed

    monkeypatch.setattr(run_module, "PretrainTrainer", Dying)


@pytest.mark.parametrize("step", [2, 4])
def test_a_stopped_run_goes_on_to_the_same_weights(bert, tmp_path, monkeypatch, step):
    """Dropout is on; the stop tears the checkpoint of the step."""
    corpus = make_corpus(tmp_path / "corpus.txt")
    config = make_config(corpus, bert, trainer__max_steps=6)
    whole = pretrain(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stopping(patch, step)
        with pytest.raises(Killed):
            pretrain(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.work" / "checkpoints" / f"checkpoint-{step}").is_dir()
    other = make_config(corpus, bert, trainer__max_steps=7)
    with monkeypatch.context() as patch:
        patch.delattr(run_module, "read_sums")  # nothing large is read before
        with pytest.raises(ValueError, match=r"B706.*--resume"):
            pretrain(config, tmp_path / "out")
        with pytest.raises(ValueError, match=r"B707.*another config.*same settings"):
            pretrain(other, tmp_path / "out", resume=True)
        sums = tmp_path / "out.work" / "sums.json"
        sums.rename(tmp_path / "sums.json")
        with pytest.raises(ValueError, match=r"B707.*earlier version"):
            pretrain(config, tmp_path / "out", resume=True)
        (tmp_path / "sums.json").rename(sums)
    corpus.unlink()  # it was read once
    result = pretrain(config, tmp_path / "out", resume=True)
    assert result.checksum == whole.checksum
    assert result == whole
    assert not (tmp_path / "out.work").exists()


def test_a_run_that_fails_later_keeps_its_checkpoints(bert, tmp_path, monkeypatch):
    config = make_config(make_corpus(tmp_path / "corpus.txt"), bert)

    def fail(*args):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_result", fail)
        with pytest.raises(OSError, match="disk full"):
            pretrain(config, tmp_path / "out")
    done = pretrain(config, tmp_path / "out", resume=True)
    assert done.steps == 4 and done == pretrain(config, tmp_path / "whole")


def test_a_kill_before_the_first_checkpoint_keeps_the_prepared_corpus(bert, tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path / "corpus.txt")
    config = make_config(corpus, bert, trainer__max_steps=2)
    with monkeypatch.context() as patch:
        stopping(patch, 1)
        with pytest.raises(Killed):
            pretrain(config, tmp_path / "out")
    corpus.unlink()  # it was read once
    assert pretrain(config, tmp_path / "out", resume=True).steps == 2


def test_a_kill_while_the_rest_is_removed_leaves_no_run(bert, tmp_path, monkeypatch):
    config = make_config(make_corpus(tmp_path / "corpus.txt"), bert, trainer__max_steps=2)
    remove = shutil.rmtree

    def die(folder, **options):
        if Path(folder).is_dir() and "work" in str(folder):
            remove(Path(folder) / "corpus")
            raise Killed
        remove(folder, **options)

    with monkeypatch.context() as patch:
        patch.setattr(run_module.shutil, "rmtree", die)
        with pytest.raises(Killed):
            pretrain(config, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").is_file()
    assert pretrain(config, tmp_path / "out", resume=True).steps == 2
    assert not list(tmp_path.glob("*.work*"))


def test_resume_without_a_stopped_run_starts(bert, tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path / "corpus.txt")
    config, output = make_config(corpus, bert, trainer__max_steps=2), tmp_path / "out"
    result = pretrain(config, output, resume=True)
    assert result.steps == 2
    with monkeypatch.context() as patch:  # what is done is not done again
        stopping(patch, 1)
        again = pretrain(config, output, resume=True)
        assert (again.checksum, again.rows()) == (result.checksum, result.rows())
        with pytest.raises(Killed):
            pretrain(config, output)
    shutil.rmtree(tmp_path / "out.work")
    other = make_config(corpus, bert, trainer__max_steps=1)
    assert pretrain(other, output, resume=True).steps == 1
    (output / "model.safetensors").write_bytes(b"others")
    assert pretrain(other, output, resume=True).checksum == checksum(output / "model.safetensors")


@pytest.mark.parametrize("part", ["corpus", "weights"])
def test_other_files_make_another_run(bert, tmp_path, monkeypatch, part):
    """A finished run is done anew; a stopped one is not gone on with."""
    corpus = make_corpus(tmp_path / "corpus" / "a" / "corpus.txt")
    weights = shutil.copytree(bert, tmp_path / "weights")
    config = make_config(tmp_path / "corpus", weights, trainer__max_steps=2)
    output = tmp_path / "out"
    old = pretrain(config, output, resume=True)
    name = {"corpus": "corpus.txt", "weights": "tokenizer.json"}[part]
    with monkeypatch.context() as patch:
        stopping(patch, 1)
        with pytest.raises(Killed):
            pretrain(config, output)
    if part == "corpus":
        make_corpus(corpus, seed=1)
    else:
        path = weights / name
        path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    with pytest.raises(ValueError, match=rf"\[B707\].*{name} has changed"):
        pretrain(config, output, resume=True)
    shutil.rmtree(tmp_path / "out.work")
    new = pretrain(config, output, resume=True)
    assert new.sums != old.sums and new == pretrain(config, tmp_path / "again")
    (corpus.parent / "more.txt").write_text("anna lives in paris.\n")
    assert pretrain(config, output, resume=True).facts["train"]["files"] == 2
    (corpus.parent / "more.txt").unlink()
    assert pretrain(config, output, resume=True) == new
    shutil.rmtree(tmp_path / "corpus")  # it was read once
    assert pretrain(config, output, resume=True).checksum == new.checksum


@pytest.mark.parametrize("report", ["{}", '{"before": {', "[]"])
def test_a_report_that_is_not_whole_is_none(bert, tmp_path, report):
    config = make_config(make_corpus(tmp_path / "corpus.txt"), bert, trainer__max_steps=1)
    result = pretrain(config, tmp_path / "out")
    (tmp_path / "out" / "pretrain_report.json").write_text(report)
    assert pretrain(config, tmp_path / "out", resume=True) == result


@pytest.mark.slow
def test_a_killed_process_goes_on(bert, tmp_path):
    corpus = make_corpus(tmp_path / "corpus.txt", 300)
    config = make_config(corpus, bert, trainer__max_steps=60, trainer__save_steps=5)
    config.to_disk(tmp_path / "config.cfg")
    command = [*COMMAND, str(tmp_path / "config.cfg"), "-o"]
    subprocess.run([*command, str(tmp_path / "whole")], env=ENVIRONMENT, check=True, cwd=ROOT)
    running = subprocess.Popen([*command, str(tmp_path / "out")], env=ENVIRONMENT, cwd=ROOT)
    checkpoints = tmp_path / "out.work" / "checkpoints"
    end = time.monotonic() + WAIT
    while not list(checkpoints.glob("*/complete")) and time.monotonic() < end:
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "out").exists()
    again = [*command, str(tmp_path / "out"), "--resume"]
    subprocess.run(again, env=ENVIRONMENT, check=True, cwd=ROOT)
    sums = [checksum(tmp_path / name / "model.safetensors") for name in ("whole", "out")]
    assert sums[0] == sums[1]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["none", "order"])
def test_two_processes_draw_the_curve_of_one(tiny_folder, tmp_path, monkeypatch, task):
    corpus = make_corpus(tmp_path / "corpus.txt", 100)
    folder = tmp_path / "albert"
    shutil.copytree(tiny_folder("albert"), folder)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings["classifier_dropout_prob"] = 0.0  # the only dropout that an ALBERT has
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    config = make_config(
        corpus,
        folder,
        trainer__max_steps=12,
        trainer__eval_steps=4,
        trainer__save_steps=4,
        sentences__task=task,
        pretrain__batch_size=8,
        pretrain__device_batch=8,
    )
    config.to_disk(tmp_path / "config.cfg")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    torchrun += ["--master_port", str(port), *COMMAND[1:]]
    curves = []
    # One process is stopped and two go on: their device is another.
    with monkeypatch.context() as patch:
        stopping(patch, 8)
        with pytest.raises(Killed):
            pretrain(config, tmp_path / "resumed")
    for name, command in (("one", COMMAND), ("two", torchrun), ("resumed", torchrun)):
        output = tmp_path / name
        args = [*command, str(tmp_path / "config.cfg"), "-o", str(output)]
        args += ["--resume"] * (name == "resumed")
        subprocess.run(args, env=ENVIRONMENT, check=True, cwd=ROOT, timeout=WAIT * 3)
        report = json.loads((output / "pretrain_report.json").read_text(encoding="utf-8"))
        rows = [report["before"], *report["curve"], report["after"]]
        curves.append([row[key] for row in rows for key in ("loss", "eval_loss") if key in row])
        assert not (tmp_path / f"{name}.work").exists()
    assert len(curves[0]) == 1 + 12 + 3 + 1
    assert curves[0][1] != curves[0][5]
    for curve in curves[1:]:
        assert curves[0] == pytest.approx(curve, abs=2e-4)  # the log rounds to four digits
