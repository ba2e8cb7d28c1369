"""The project file fits together, and its workflow runs on a few Docs with a tiny encoder."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from weasel.util import load_project_config

import bert_spacy
from bert_spacy.cli.app import app

from ..tiny import make_folder

ROOT = Path(__file__).parents[2]
FILES = ("README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "setup.cfg", "MANIFEST.in")
COPIED = ("configs", "scripts", "corpus")
ALWAYS = {"weights", "glue-weights", "glue-run"}
LABELS = "bert_textcat_multilabel"
TASKS = ["textcat", "ner", "qa", "multilabel", "regressor", "choice"]


@pytest.fixture(scope="module")
def config():
    return load_project_config(ROOT)


@pytest.fixture(scope="module")
def commands(config):
    return {command["name"]: command for command in config["commands"]}


def test_every_command_has_help_dependencies_and_outputs(commands):
    for name, command in commands.items():
        assert command["help"], name
        assert command["deps"], name
        assert command["outputs"], name
        assert command.get("no_skip", False) == (name in ALWAYS)


@pytest.mark.parametrize("workflow", ["all", *TASKS, "pretrain", "distill"])
def test_dependencies_exist_or_are_made_before(config, commands, workflow):
    made = {asset["dest"] for asset in config["assets"]}
    for name in config["workflows"][workflow]:
        for path in commands[name]["deps"]:
            path = path.removesuffix("/.")
            assert path in made or (ROOT / path).exists(), f"{name} needs {path}"
        made.update(commands[name]["outputs"])


def test_a_release_runs_again_what_runs_our_code(commands):
    """The file with the version changes; setup.cfg need not."""
    for name, command in commands.items():
        script = "\n".join(command["script"])
        if any(part in script for part in ("-m bert_spacy", "pip wheel", "install_check")):
            assert "bert_spacy/__init__.py" in command["deps"], name


def test_the_source_archive_has_what_its_pages_and_tests_need():
    lines = [line.split() for line in (ROOT / "MANIFEST.in").read_text("utf-8").splitlines()]
    single = {name for words in lines if words[0] == "include" for name in words[1:]}
    inside = {words[1]: words[2:] for words in lines if words[0] == "recursive-include"}
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*"), *ROOT.glob("benchmarks/**/*.*")):
        if path.suffix != ".pyc":
            name = path.relative_to(ROOT)
            patterns = inside.get(name.parts[0], ())
            assert str(name) in single or any(path.match(p) for p in patterns), name


def test_what_computes_does_so_where_gpu_id_says(commands):
    computing = re.compile(r"bert_spacy (train|pretrain|distill|evaluate|report|predict|glue) ")
    lines = [line for command in commands.values() for line in command["script"]]
    assert all("--gpu-id -1" in line for line in lines if computing.search(line))


def test_no_workflow_has_the_name_of_a_command(config, commands):
    """Weasel then runs none of them."""
    assert not set(config["workflows"]) & set(commands)


def test_the_workflow_does_what_it_should_in_order(config):
    steps = "weights convert train evaluate report package install-check predict"
    assert config["workflows"]["all"] == steps.split()


def test_options_of_our_commands_exist(commands):
    ours = get_command(app).commands
    for command in commands.values():
        for line in command["script"]:
            words = line.split()
            if words[:3] != ["python", "-m", "bert_spacy"]:
                continue
            params = ours[words[3]].params
            options = {x for param in params for x in (*param.opts, *param.secondary_opts)}
            # Options with a dot are settings of the config.
            used = {word.split("=")[0] for word in words if re.match(r"--[^.]+$", word)}
            assert used <= options, line


@pytest.mark.parametrize("name", ["pretrain", "distill"])
def test_a_repeat_goes_on_after_a_kill(commands, name):
    (line,) = commands[f"{name}-train"]["script"]
    command = get_command(app).commands[name]
    assert command.make_context(name, line.split()[4:]).params["resume"] is True


def test_scripts_exist(commands):
    for command in commands.values():
        for line in command["script"]:
            for name in re.findall(r"scripts/\w+\.py", line):
                assert (ROOT / name).is_file()


@pytest.mark.parametrize("task", TASKS)
def test_variables_reach_the_commands(task):
    overrides = {
        f"vars.{task}.train": "mine/train.txt",
        f"vars.{task}.format": "csv",
        f"vars.{task}.options": " --header",
        f"vars.{task}.max_steps": 123,
        "vars.weights": "my-weights",
        "vars.lang": "en",
    }
    found = load_project_config(ROOT, overrides=overrides)
    scripts = {command["name"]: "\n".join(command["script"]) for command in found["commands"]}
    convert, train = scripts[f"{task}-convert"], scripts[f"{task}-train"]
    assert f"convert csv mine/train.txt data/{task}/train.spacy --lang en" in convert
    assert "--header" in convert
    assert "--training.optimizer.learn_rate.total_steps 123" in train
    assert "--weights my-weights --learn-rate 0.0" in train


@pytest.mark.parametrize("task", TASKS)
def test_a_calibrated_pipeline_can_be_evaluated(task):
    overrides = {
        "vars.calibrate.task": task,
        "vars.calibrate.dev": f"data/{task}/dev.spacy",
        "vars.calibrate.options": " --min-precision 0.9",
        "vars.model": "model-calibrated",
    }
    found = load_project_config(ROOT, overrides=overrides)
    commands = {command["name"]: command for command in found["commands"]}
    train, calibrate = commands[f"{task}-train"], commands["calibrate"]
    evaluate = commands[f"{task}-evaluate"]
    assert calibrate["deps"][0] in train["outputs"]
    assert calibrate["deps"][1].removesuffix("/.") in train["deps"]
    assert calibrate["outputs"] == [evaluate["deps"][0]] == [f"training/{task}/model-calibrated"]
    assert f"training/{task}/model-calibrated" in evaluate["script"][0]
    assert "--min-precision 0.9" in calibrate["script"][0]


def test_glue_runs_in_one_command():
    overrides = {"vars.glue_data": "mine", "vars.glue.weights": "my-weights"}
    found = load_project_config(ROOT, overrides=overrides)
    assert found["workflows"]["glue"] == ["glue-weights", "glue-run"]
    scripts = {command["name"]: "\n".join(command["script"]) for command in found["commands"]}
    assert "glue mine training/glue --weights my-weights" in scripts["glue-run"]
    assert "fetch_weights.py my-weights" in scripts["glue-weights"]


def test_assets_have_a_source_or_say_that_they_are_private(config):
    for asset in config["assets"]:
        assert asset["dest"].startswith("assets/")
        assert asset["description"]
        if "url" in asset:
            assert asset["url"].startswith("https://")
            assert "checksum" in asset or "No" in asset["description"]
        else:
            assert "your own copy" in asset["description"]


def test_clean_refuses_what_is_outside(tmp_path):
    inside, outside = tmp_path / "here", tmp_path / "other"
    inside.mkdir()
    outside.mkdir()
    script = str(ROOT / "scripts" / "clean.py")
    (inside / "a").mkdir()
    (inside / "b").write_text("x")
    subprocess.run([sys.executable, script, "a", "b", "missing"], cwd=inside, check=True)
    assert not list(inside.iterdir())
    done = subprocess.run([sys.executable, script, "../other"], cwd=inside, check=False)
    assert done.returncode != 0
    assert outside.exists()


def test_checksums_of_weights_change_with_the_weights(bert, tmp_path):
    folder, output = tmp_path / "weights", tmp_path / "assets" / "weights.json"
    shutil.copytree(bert, folder)
    script = [sys.executable, str(ROOT / "scripts" / "fetch_weights.py")]
    home = {**os.environ, "HOME": str(tmp_path)}
    texts = []
    for content in (b"one", b"one", b"two"):
        (folder / "model.safetensors").write_bytes(content)
        command = [*script, "~/weights", str(output)]
        subprocess.run(command, check=True, capture_output=True, env=home)
        texts.append(output.read_text(encoding="utf-8"))
    assert texts[0] == texts[1] != texts[2]
    command = [*script, "./no/weights", str(output)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "[B804]" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"cats": {"a": 0.5}}, {"cats": {"a": 0.5000001}}, True),
        ({"cats": {"a": 0.5}}, {"cats": {"a": 0.51}}, False),
        ({"cats": {"a": 0.5}}, {"cats": {"b": 0.5}}, False),
        ({"ents": [[0, 2, "PER"]]}, {"ents": [[0, 2, "PER"]]}, True),
        ({"ents": [[0, 2, "PER"]]}, {"ents": []}, False),
    ],
)
def test_install_check_compares_predictions(left, right, same, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import install_check

    assert install_check.is_same(left, right) is same


@pytest.fixture
def project(tmp_path):
    """Copy the project without what earlier runs made, with a few rows of each task."""
    folder = tmp_path / "project"
    shutil.copytree(Path(bert_spacy.__file__).parent, folder / "bert_spacy", ignore=_no_caches)
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=_no_caches)
    for name in ("project.yml", *FILES):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    _shorten(folder / "corpus")
    make_folder(tmp_path / "weights", "bert")
    return folder


def _no_caches(folder, names):
    return [name for name in names if name == "__pycache__"]


def _shorten(corpus):
    for split in ("train", "dev", "test"):
        news = corpus / "news" / f"zh.{split}.tsv"
        rows = sorted(news.read_text("utf-8").splitlines(), key=lambda row: row.split("\t")[0])
        groups = itertools.groupby(rows, key=lambda row: row.split("\t")[0])
        # Two rows of each class: what a teacher has not learnt is refused.
        kept = [row for _, group in groups for row in itertools.islice(group, 2)]
        news.write_text("\n".join(kept) + "\n", "utf-8")
        ner = corpus / "ner" / f"zh.{split}.bio"
        ner.write_text("\n\n".join(ner.read_text("utf-8").split("\n\n")[:8]) + "\n", "utf-8")
        qa = corpus / "qa" / f"zh.{split}.json"
        data = json.loads(qa.read_text("utf-8"))
        data["data"] = data["data"][:2]
        qa.write_text(json.dumps(data, ensure_ascii=False), "utf-8")


def run(folder, workflow, *overrides):
    """Run a workflow in a project with the tiny weights, offline, and return what it prints."""
    weights = folder.parent / "weights"
    done = subprocess.run(
        [sys.executable, "-m", "spacy", "project", "run", workflow, "."]
        + ["--vars.weights", str(weights), *overrides],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_weights_are_pretrained_and_a_student_is_made(project):
    run(project, "pretrain", "--vars.pretrain.max_steps", "2", "--vars.pretrain.window", "64")
    assert (project / "training" / "pretrained" / "model.safetensors").is_file()
    less = ("--vars.distill.epochs", "0.2", "--vars.distill.layers", "1")
    run(project, "distill", "--vars.joint.max_steps", "2", *less)
    scores = json.loads((project / "metrics" / "distill.json").read_text("utf-8"))
    assert {"cats_score", "ents_f", "qa_f1"} <= set(scores)


@pytest.mark.slow
def test_all_runs_and_a_second_run_does_nothing(project):
    overrides = ("--vars.joint.max_steps", "2")
    first = run(project, "all", *overrides)
    assert "Skipping" not in first
    scores = json.loads((project / "metrics" / "joint.json").read_text("utf-8"))
    assert {"cats_score", "ents_f", "qa_f1"} <= set(scores)
    assert json.loads((project / "metrics" / "install-check.json").read_text("utf-8"))["same"]
    assert (project / "report" / "joint" / "index.html").stat().st_size > 1000
    rows = (project / "predictions" / "samples.jsonl").read_text("utf-8").splitlines()
    assert len(rows) == len((ROOT / "corpus/samples/zh.jsonl").read_text("utf-8").splitlines())

    second = run(project, "all", *overrides)
    assert second.count("Skipping") == 7

    (project / "corpus" / "samples" / "zh.jsonl").write_text('{"text": "新"}\n', "utf-8")
    third = run(project, "all", *overrides)
    assert second.count("Skipping 'train'") == third.count("Skipping 'train'") == 1
    assert "Skipping 'predict'" not in third
    assert "Skipping 'install-check'" not in third


@pytest.mark.slow
@pytest.mark.parametrize("task", ["textcat", "ner", "qa", "multilabel"])
def test_own_files_run(project, task):
    steps = (f"--vars.{task}.max_steps", "2")
    run(project, task, *steps)
    scores = json.loads((project / "metrics" / f"{task}.json").read_text("utf-8"))
    assert scores
    assert run(project, task, *steps).count("Skipping") == 3


@pytest.mark.slow
def test_a_calibrated_pipeline_is_evaluated(project):
    run(project, "multilabel", "--vars.multilabel.max_steps", "2")
    dev = ("--vars.calibrate.dev", "data/multilabel/dev.spacy")
    run(project, "calibrate", "--vars.calibrate.task", "multilabel", *dev)
    folder = project / "training" / "multilabel" / "model-calibrated"
    assert "temperature" in json.loads((folder / "calibrate.json").read_text("utf-8"))[LABELS]
    before = (project / "metrics" / "multilabel.json").read_text("utf-8")
    run(project, "multilabel-evaluate", "--vars.model", "model-calibrated")
    assert (project / "metrics" / "multilabel.json").read_text("utf-8") != before


@pytest.mark.slow
def test_pretraining_runs_once(project):
    steps = ("--vars.pretrain.max_steps", "2", "--vars.pretrain.window", "32")
    run(project, "pretrain", *steps)
    card = (project / "training" / "pretrained" / "README.md").read_text("utf-8")
    assert "Perplexity" in card
    assert run(project, "pretrain", *steps).count("Skipping") == 2
