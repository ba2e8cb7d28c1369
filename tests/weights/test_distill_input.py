"""What a student is made of is looked at: bad lines, changed sources, licences."""

import shutil
from pathlib import Path

import pytest
import spacy
import torch
from spacy.util import load_config
from thinc.api import Config
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.nn import encoder as encoder_module
from bert_spacy.nn.encoder import load_encoder
from bert_spacy.weights.distill.data import read_data
from bert_spacy.weights.distill.run import distill
from bert_spacy.weights.distill.settings import load_settings, make_settings
from bert_spacy.weights.distill.teacher import open_teacher
from bert_spacy.weights.distill.texts import create_texts_v1
from bert_spacy.weights.folders import check_output

from ..tiny import LINES
from ..util import make_nlp, textcat_examples


@pytest.fixture
def texts_file(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(line.strip() for line in LINES), encoding="utf-8")
    return path


@pytest.fixture
def values(texts_file, bert):
    texts = str(texts_file)
    student, layers = {"layers": 1, "dropout": 0.0}, {"steps": 1, "learn_rate": 0.003}
    return {
        "teacher": str(bert),
        "train": texts,
        "dev": texts,
        "student": student,
        "layers": layers,
    }


def test_bad_lines_are_reported_once_and_counted(values, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_bytes(b"a good film\n\xff\xfe\n\n  \nanna was in paris\n")
    values["train"] = str(texts)
    values["layers"]["steps"] = 3
    problems = []
    report = distill(make_settings(values), tmp_path / "out", on_problem=problems.append)
    assert [(problem.line, problem.reason) for problem in problems] == [(2, "not valid UTF-8")]
    found = report["data"]["train"]
    assert (found["texts"], found["bad"], found["empty"]) == (2, 1, 2)
    card = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert "2 texts" in card and "1 bad" in card
    check_output(tmp_path / "out" / "model")  # another may take its place


def test_one_document_and_one_of_ten_million_characters(values, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("a good film\n", encoding="utf-8")
    values.update(train=str(texts), dev=str(texts))
    report = distill(make_settings(values), tmp_path / "one")
    assert report["data"]["train"]["texts"] == 1
    # One step is a step.
    old, new = (
        load_encoder(str(tmp_path / "one" / name), local=True).model.state_dict()
        for name in ("student", "model")
    )
    assert not all(torch.equal(value, new[key]) for key, value in old.items())
    long = "anna won the game " * 555_556
    assert len(long) > 10_000_000
    texts.write_text(f"{long}\n", encoding="utf-8")
    settings, problems = make_settings(values), []
    found = read_data(settings, open_teacher(settings.teacher, "xx"), problems.append)
    assert (found["train"]["texts"], found["train"]["long"]) == (1, 1)
    assert "processed in" in str(problems[0])
    with pytest.warns(UserWarning, match="BW710.*processed in"):
        examples = create_texts_v1(texts)(spacy.blank("xx"))
        parts = [next(examples).predicted.text for _ in range(2)]
    assert long.startswith("".join(parts)) and len(parts[0]) > 90_000
    texts.write_text("\n \n", encoding="utf-8")
    with pytest.raises(ValueError, match="B671"):
        distill(make_settings(values), tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("section", ["layers", "student", "heads", "training", "augment"])
@pytest.mark.parametrize("value", [2, 0, "", False])
def test_a_value_for_a_section_is_refused(values, section, value):
    values[section] = value
    with pytest.raises(ValueError, match=rf"B722.*distill\.{section} cannot.*student\.layers"):
        make_settings(values)


@pytest.mark.parametrize("kind", ["bert", "albert", "distilbert"])
def test_a_student_of_fresh_weights(values, kind, tiny_folder, tmp_path):
    folder, output = tiny_folder(kind), tmp_path / "out"
    values.update(teacher=str(folder))
    values["student"] = {"layers": 1, "config": {"hidden_size": 8}}
    report = distill(make_settings(values), output)
    assert report["taken"] == [] and report["student"] is None
    assert report["distance"]["after"] != report["distance"]["before"]
    config = AutoModel.from_pretrained(output / "model").config
    assert (config.hidden_size, config.num_hidden_layers) == (8, 1)
    pieces = [AutoTokenizer.from_pretrained(x).get_vocab() for x in (folder, output / "model")]
    assert pieces[0] == pieces[1]
    card = (output / "model" / "README.md").read_text(encoding="utf-8")
    assert "Student: fresh weights, with hidden_size = 8; compared" in card
    assert distill(make_settings(values), tmp_path / "again")["sha256"] == report["sha256"]
    values["seed"] = 1
    assert distill(make_settings(values), tmp_path / "other")["sha256"] != report["sha256"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_size": 7}, r"student\.config.*what makes a model"),
        ({"colour": 1}, r"student\.config\.colour.*settings of BertConfig"),
        ({"vocab_size": 9}, r"student\.config\.vocab_size"),
        ({"num_hidden_layers": 1}, r"num_hidden_layers.*student\.layers"),
        (3, r"student\.config"),
    ],
)
def test_sizes_that_make_no_student_are_refused(values, config, message, tmp_path):
    values["student"] = {"config": config}
    with pytest.raises(ValueError, match=f"B722.*{message}"):
        distill(make_settings(values), tmp_path / "out")
    values["student"] = {"config": {"hidden_size": 8}, "name": values["teacher"]}
    with pytest.raises(ValueError, match=r"B722.*student\.config.*other weights"):
        make_settings(values)


def test_a_finished_run_is_that_of_its_teacher_and_data(values, bert, texts_file, tmp_path):
    teacher, texts = tmp_path / "teacher", tmp_path / "texts.txt"
    shutil.copytree(bert, teacher)
    shutil.copy(texts_file, texts)
    values.update(teacher=str(teacher), train=str(texts), dev=str(texts))
    settings = make_settings(values)
    report = distill(settings, tmp_path / "out")
    assert distill(settings, tmp_path / "out", resume=True) == report
    # With others, it begins anew; a stopped one is refused.
    texts.write_text("anna was in paris\n", encoding="utf-8")
    again = distill(settings, tmp_path / "out", resume=True)
    assert again["data"]["train"]["texts"] == 1 and again["sha256"] != report["sha256"]
    (tmp_path / "out" / "done").unlink()
    shutil.copy(texts_file, texts)
    with pytest.raises(ValueError, match="B725.*train_sha256: .* -> .*leave out --resume"):
        distill(settings, tmp_path / "out", resume=True)
    assert distill(settings, tmp_path / "out")["sha256"] == report["sha256"]
    torch.manual_seed(1)
    BertModel(BertConfig.from_pretrained(teacher)).save_pretrained(teacher)
    assert distill(settings, tmp_path / "out", resume=True)["sha256"] != report["sha256"]
    shutil.rmtree(teacher)
    with pytest.raises(ValueError, match="B804"):
        distill(settings, tmp_path / "out", resume=True)


@pytest.mark.parametrize("steps", [1, 20])
def test_training_that_went_astray_is_told(values, steps, tmp_path):
    path, output = tmp_path / "distill.cfg", tmp_path / "out"
    values["layers"].update(steps=steps, learn_rate=1e6)
    Config({"distill": values}).to_disk(path)
    args = ["distill", str(path), "-o", str(output)]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 1, result.output
    assert "[B728]" in result.output
    assert not (output / "model").exists()
    assert CliRunner().invoke(app, [*args, "--distill.layers.learn_rate", "0.001"]).exit_code == 0


def test_the_config_in_the_folder_can_be_read_back(values, tmp_path):
    values["student"] = {"layers": 1, "take": [2], "config": {}, "dropout": None}
    settings = make_settings(values)
    distill(settings, tmp_path / "out")
    folder = tmp_path / "out" / "model"
    assert load_settings(folder / "distill.cfg") == settings
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "distill CONFIG -o OUT" in card and "`distill.cfg` as CONFIG" in card


def test_a_licence_goes_with_the_weights(bert, tmp_path):
    weights, pipeline = tmp_path / "bert", tmp_path / "pipeline"
    shutil.copytree(bert, weights)
    assert "not known" in open_teacher(str(weights), "xx").licence()
    (weights / "README.md").write_text("# X\n\n- Licence as stated: Apache-2.0\n")
    assert open_teacher(str(weights), "xx").licence() == "Apache-2.0"
    # A pipeline, and one whose encoder has a card of its own, as a student has.
    nlp = make_nlp(weights, ["bert_textcat"])
    nlp.initialize(lambda: textcat_examples(nlp))
    nlp.to_disk(pipeline)
    assert open_teacher(str(pipeline), "xx").licence() == "Apache-2.0"
    card = pipeline / "bert_encoder" / "encoder" / "README.md"
    card.write_text("- Licence as stated: MIT\n")
    nlp = spacy.load(pipeline)
    nlp.meta["license"] = "CC BY 4.0"
    nlp.to_disk(tmp_path / "other")
    assert open_teacher(str(pipeline), "xx").licence() == "MIT"
    found = open_teacher(str(tmp_path / "other"), "xx").licence()
    assert found == "Apache-2.0; of the pipeline: CC BY 4.0"


def test_lines_that_are_no_text_are_reported(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes(b"a good film\n\xff\xfe\n\nanna was in paris\n")
    read_texts = create_texts_v1(path)
    nlp = spacy.blank("en")
    with pytest.warns(UserWarning, match=r"BW710.*texts.txt.*2.*UTF-8"):
        docs = [eg.predicted.text for eg in read_texts(nlp)]
    assert docs == ["a good film", "anna was in paris"]
    assert len(list(create_texts_v1([path], limit=1)(nlp))) == 1


def test_a_teacher_that_is_nowhere_is_named_as_one(monkeypatch):
    monkeypatch.setattr(encoder_module, "hub_answers", lambda: False)
    with pytest.raises(ValueError, match=r"\[B724\] 'no-such-model' .*no installed pipeline.*B101"):
        open_teacher("no-such-model", "en")


def test_the_config_holds_every_setting():
    path = Path(__file__).parents[2] / "configs" / "distill.cfg"
    written = load_config(path, interpolate=True)["distill"]
    settings = load_settings(path, {"distill.student.layers": 3}).to_dict()
    assert settings.pop("student") == {**written.pop("student"), "layers": 3}
    assert settings == written


def test_bad_configs_are_refused(tmp_path):
    path = tmp_path / "bad.cfg"
    path.write_text("[paths]\ntrain = null\n", encoding="utf-8")
    with pytest.raises(ValueError, match="B723.*distill"):
        load_settings(path)
    result = CliRunner().invoke(app, ["distill", str(path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "B723" in result.output
