"""Runs in the folder of an earlier one: what stays, what goes, and what is told of it."""

import json

import pytest
from spacy.language import Language

from bert_spacy.weights.distill import run as run_module
from bert_spacy.weights.distill.run import distill
from bert_spacy.weights.distill.settings import make_settings


class Killed(BaseException):
    """Stands for a kill: nothing in the package may catch it and tidy up."""


def kill(*args, **kwargs):
    raise Killed


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def output(values, tmp_path):
    """Return the folder of a finished run, and shorten those to come."""
    values["layers"] = {"steps": 1, "learn_rate": 0.003}
    values["heads"] = {"steps": 1, "learn_rate": 0.003}
    told = []
    distill(make_settings(values), tmp_path / "out", on_removal=told.append)
    assert not told
    for name in ("start", "layers", "heads"):
        (tmp_path / "out" / name / "earlier").touch()
    return tmp_path / "out"


def with_seed(values, seed):
    return make_settings({**values, "seed": seed})


def is_removed(output, names=("start", "layers", "heads")):
    return [not (output / name / "earlier").exists() for name in names]


@pytest.mark.parametrize("resume", [False, True])
def test_a_student_stays_until_the_new_one_is_written(values, output, resume, monkeypatch):
    before, told = files_of(output / "model"), []
    with monkeypatch.context() as patch:
        patch.setattr(Language, "update", kill)
        with pytest.raises(Killed):
            distill(with_seed(values, 1), output, resume=resume, on_removal=told.append)
    assert files_of(output / "model") == before
    assert all(is_removed(output))
    (line,) = told
    assert line.startswith(
        "Removing student, start, layers, heads, targets.safetensors of an earlier"
    )
    assert "model stays until" in line
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_result", kill)
        with pytest.raises(Killed):
            distill(with_seed(values, 1), output, resume=True, on_removal=told.append)
    assert files_of(output / "model") == before
    # The report that stands there is not taken for that of the new run.
    monkeypatch.setattr(Language, "update", lambda *args, **kwargs: pytest.fail("it learns"))
    report = distill(with_seed(values, 1), output, resume=True, on_removal=told.append)
    assert report["settings"]["seed"] == 1 and len(told) == 1
    there = json.loads((output / "model" / "distill.json").read_text(encoding="utf-8"))
    assert there == report


def test_a_finished_run_of_the_same_begins_anew_without_resume(values, output):
    distill(make_settings(values), output, resume=True)
    assert not any(is_removed(output))
    distill(make_settings(values), output)
    assert all(is_removed(output))


def test_a_stopped_run_of_others_is_refused_and_goes_without_resume(values, output, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Language, "update", kill)
        with pytest.raises(Killed):
            distill(with_seed(values, 1), output)
    before = files_of(output)
    with pytest.raises(ValueError, match="B725.*differs from this one, seed: 1 -> 2. Give"):
        distill(with_seed(values, 2), output, resume=True)
    other = {**values, "layers": {**values["layers"], "steps": 2}}
    with pytest.raises(ValueError, match=r"B725.* layers.steps: 1 -> 2\. .*leave out --resume"):
        distill(with_seed(other, 1), output, resume=True)
    assert files_of(output) == before
    assert distill(with_seed(values, 2), output)["settings"]["seed"] == 2


def test_a_model_that_was_deleted_is_written_again(values, output, monkeypatch):
    before = files_of(output / "model")
    (output / "model").rename(output.with_name("elsewhere"))
    monkeypatch.setattr(Language, "update", lambda *args, **kwargs: pytest.fail("it learns"))
    distill(make_settings(values), output, resume=True)
    weights = output / "model" / "bert_encoder" / "encoder" / "model.safetensors"
    assert weights.read_bytes() == before[weights]
