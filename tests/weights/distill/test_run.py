"""Students of tiny teachers: what they learn, what is written, and kills."""

import json
import math
import shutil

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import DocBin
from transformers import AutoModel, BertConfig, BertModel
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.nn.encoder import load_encoder
from bert_spacy.util import checksum
from bert_spacy.weights.distill import targets as targets_module
from bert_spacy.weights.distill.run import distill
from bert_spacy.weights.distill.settings import load_settings, make_settings
from bert_spacy.weights.distill.soft import compare, make_loss, shift_scores, split_scores
from bert_spacy.weights.distill.student import make_encoder, make_start, save_encoder
from bert_spacy.weights.distill.targets import Targets
from bert_spacy.weights.distill.teacher import open_teacher
from bert_spacy.weights.folders import check_pipeline_output

from ...util import ANY_ENCODER, all_examples, encoder_of, make_nlp, textcat_examples


class Killed(BaseException):
    """Stands for a kill: nothing in the package may catch it and tidy up."""


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_student_is_an_ordinary_pipeline_and_can_be_repeated_and_killed(
    values, place, tmp_path, monkeypatch
):
    settings = make_settings(values)
    report = distill(settings, tmp_path / "out")
    assert report["distance"]["after"] < report["distance"]["before"]
    assert report["layers"] == {"teacher": 2, "student": 1}
    assert report["taken"] == report["map"] == [2]
    assert report["variants"] == 0 and not (tmp_path / "out" / "variants").exists()
    assert report["parameters"]["student"] < report["parameters"]["teacher"]
    assert report["scores"]["teacher"]["ents_f"] > 0.9
    check_pipeline_output(tmp_path / "out" / "model")  # another may take its place
    nlp = spacy.load(tmp_path / "out" / "model")
    assert nlp.pipe_names == ["bert_encoder", *ANY_ENCODER]
    assert nlp.get_pipe("bert_ner").labels == ("LOC", "PER")
    doc = nlp("anna was in paris")
    assert doc.cats and "bert_ner_scores" in doc.spans
    folder = tmp_path / "out" / "model" / "bert_encoder" / "encoder"
    plain = AutoModel.from_pretrained(folder)
    assert plain.config.num_hidden_layers == 1
    ours = encoder_of(nlp).model.state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in plain.state_dict().items())
    n_docs, sha256 = report["data"]["train"]["documents"], report["sha256"]
    assert n_docs == 2 * len(all_examples(nlp, ANY_ENCODER))
    steps = 2 * math.ceil(n_docs / 8)
    assert report["steps"] == {"layers": steps, "heads": steps}
    cards = [
        (path / "README.md").read_text(encoding="utf-8")
        for path in (tmp_path / "out" / "model", folder)
    ]
    assert cards[0] == cards[1].replace("../../distill.cfg", "distill.cfg")
    assert load_settings(folder / "../../distill.cfg") == settings
    for part in (
        str(place / "teacher"),
        "Licence",
        f"data.spacy; {n_docs} documents",
        f"Steps: {steps} of the phase 'layers', {steps} of the phase 'heads'; seed 0",
        f"SHA-256 of the encoder's model.safetensors: {sha256}",
        "`python -m bert_spacy distill CONFIG -o OUT`, from the folder where the run was started",
    ):
        assert part in cards[0]
    assert "None" not in cards[0] and "Variants" not in cards[0]
    assert sha256 == checksum(folder / "model.safetensors")

    # Killed in each phase, it goes on to the very weights.
    kills, n = {3, 8}, 0
    update = Language.update

    def count(*args, **kwargs):
        nonlocal n
        n += 1
        if n in kills:
            raise Killed
        return update(*args, **kwargs)

    monkeypatch.setattr(Language, "update", count)
    values["training"]["checkpoint_every"] = 2
    settings, runs = make_settings(values), 0
    while True:
        try:
            again = distill(settings, tmp_path / "again", resume=runs > 0)
        except Killed:
            runs += 1
            continue
        break
    assert runs == len(kills)
    assert again["sha256"] == report["sha256"]
    heads = [
        [(tmp_path / out / "model" / name / "model").read_bytes() for name in ANY_ENCODER]
        for out in ("out", "again")
    ]
    assert heads[0] == heads[1]

    # A finished one is not run again.
    monkeypatch.setattr(Language, "update", lambda *args, **kwargs: pytest.fail("it learns"))
    assert distill(settings, tmp_path / "again", resume=True) == again
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(ValueError, match="B725"):
        distill(settings, tmp_path / "other")


def test_a_narrower_student_of_other_weights_has_projections_on_the_way(values, place, tmp_path):
    narrow = tmp_path / "narrow"
    shutil.copytree(place / "bert", narrow)
    given = BertConfig.from_pretrained(narrow)
    given.hidden_size, given.intermediate_size, given.num_hidden_layers = 8, 16, 3
    BertModel(given).save_pretrained(narrow)
    values["student"] = {"name": str(narrow), "layers": 2, "take": [1, 3], "dropout": 0.25}
    values["layers"]["map"] = "last"
    values["heads"]["layers"] = 0.5
    report = distill(make_settings(values), tmp_path / "out")
    assert report["taken"] == [1, 3] and report["map"] == [1, 2]
    assert report["distance"]["after"] < report["distance"]["before"]
    nlp = spacy.load(tmp_path / "out" / "model")
    assert nlp.pipe_names == ["bert_encoder", *ANY_ENCODER]
    assert encoder_of(nlp).width == 8
    assert encoder_of(nlp).model.config.hidden_dropout_prob == 0.25
    assert nlp("bob lives in london").cats


def test_an_encoder_teaches_its_layers_on_plain_text(values, place, tmp_path):
    texts = str(place / "texts.txt")
    values.update(teacher=str(place / "bert"), train=texts, dev=texts)
    values["layers"].update(steps=6, learn_rate=0.01)
    report = distill(make_settings(values), tmp_path / "out")
    assert report["distance"]["after"] < report["distance"]["before"]
    folder = tmp_path / "out" / "model"
    assert AutoModel.from_pretrained(folder).config.num_hidden_layers == 1
    old, new = (load_encoder(str(x), local=True) for x in (tmp_path / "out" / "student", folder))
    name = "encoder.layer.0.output.dense.weight"
    taken = load_encoder(str(place / "bert"), local=True).model.state_dict()
    assert torch.equal(old.model.state_dict()[name], taken[name.replace("0", "1", 1)])
    assert not torch.equal(old.model.state_dict()[name], new.model.state_dict()[name])
    assert not (tmp_path / "out" / "heads").exists()
    again = distill(make_settings(values), tmp_path / "again")
    assert again["sha256"] == report["sha256"]
    # By the command, from the same config.
    config = tmp_path / "distill.cfg"
    config.write_text(
        f'[distill]\nteacher = "{place / "bert"}"\ntrain = "{texts}"\ndev = "{texts}"\n'
        "[distill.student]\nlayers = 1\n[distill.layers]\nsteps = 1\n",
        encoding="utf-8",
    )
    args = ["distill", str(config), "-o", str(tmp_path / "cli"), "--distill.layers.steps", "2"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "cli" / "settings.json")["layers"]["steps"] == 2
    assert "Removing" not in result.output
    told = " ".join(CliRunner().invoke(app, args).output.split())
    assert "Removing student, start, layers of an earlier run" in told
    assert "model stays until the new one is written" in told


def test_albert_shares_its_layers(tiny_folder, place, values, tmp_path):
    values.update(teacher=str(tiny_folder("albert")), train=str(place / "texts.txt"))
    values["dev"] = values["train"]
    values["layers"]["steps"] = 2
    distill(make_settings(values), tmp_path / "out")
    assert AutoModel.from_pretrained(tmp_path / "out" / "model").config.num_hidden_layers == 1


@pytest.fixture(scope="module")
def teacher(place):
    return open_teacher(str(place / "teacher"), "xx")


def test_heads_have_nothing_to_learn_from_themselves(teacher, tmp_path):
    docs = [eg.predicted for eg in all_examples(teacher.nlp, ANY_ENCODER)]
    found = Targets(teacher)
    found.build(docs, tmp_path / "targets.safetensors", 10**6)
    batch = teacher.nlp.get_pipe("bert_encoder").predict(docs)
    for name, head in teacher.heads.items():
        scores = split_scores(head, head.model.attrs["compute"](head.model, batch), docs)
        assert [len(x) for x in scores] == [len(x) for x in found.get(name, docs)]
        scores = [x.detach() for x in scores]
        rounded = found.get(name, docs)  # on disk
        with torch.no_grad():
            for temperature in (1.0, 3.0):
                assert abs(float(compare(head, head, scores, scores, temperature))) < 1e-6
                assert abs(float(compare(head, head, scores, rounded, temperature))) < 1e-4
                others = compare(head, head, [x * 2 for x in scores], scores, temperature)
                assert float(others) > 1e-3
        assert all(float(shift_scores(head, x).max()) == 0 for x in scores if len(x))


def test_what_is_not_on_disk_is_predicted(teacher, tmp_path, monkeypatch):
    docs = [eg.predicted for eg in all_examples(teacher.nlp, ANY_ENCODER)]
    path, whole = tmp_path / "targets.safetensors", Targets(teacher)
    whole.build(docs, path, 10**6)
    part = Targets(teacher)
    monkeypatch.setattr(targets_module, "DOCS_AT_ONCE", 4)
    part.build(docs, tmp_path / "part.safetensors", 400)
    assert 0 < len(part._places) < len(whole._places)
    assert (tmp_path / "part.safetensors").stat().st_size < path.stat().st_size
    for name in ANY_ENCODER:
        for a, b in zip(part.get(name, docs), whole.get(name, docs), strict=True):
            torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-3)
    # Read again, nothing is predicted; another teacher's are not taken.
    monkeypatch.setattr(Targets, "_predict", lambda *args: pytest.fail("it predicts"))
    Targets(teacher).build(docs, path, 10**6)
    head = teacher.heads["bert_textcat"].shim.module.output
    with torch.no_grad():
        head.bias += 1
    with pytest.raises(pytest.fail.Exception):
        Targets(teacher).build(docs, path, 10**6)
    with torch.no_grad():
        head.bias -= 1


def test_the_threshold_of_the_teacher_is_its_own(place, values, tmp_path):
    nlp = spacy.load(place / "teacher")
    nlp.get_pipe("bert_qa").set_null_threshold(3.21)
    nlp.to_disk(tmp_path / "teacher")
    teacher = open_teacher(str(tmp_path / "teacher"), "xx")
    encoder, _ = make_encoder(make_settings(values).student, teacher)
    save_encoder(encoder, tmp_path / "encoder")
    make_start(teacher, tmp_path / "encoder", make_settings(values).student, tmp_path / "start")
    student = spacy.load(tmp_path / "start")
    assert student.get_pipe("bert_qa").null_threshold == 0.0
    assert student.config["components"]["bert_qa"]["null_threshold"] == 0.0
    assert teacher.nlp.get_pipe("bert_qa").null_threshold == 3.21


def test_targets_of_other_data_are_removed(place, values, tmp_path, monkeypatch):
    values["layers"] = {"epochs": 0}
    values["heads"] = {"steps": 1}
    distill(make_settings(values), tmp_path / "out")
    docs = [spacy.blank("en").make_doc("anna was in paris again")]
    DocBin(docs=docs).to_disk(tmp_path / "other.spacy")
    built = []
    build = Targets.build

    def watch(self, *args):
        build(self, *args)
        built.append(len(self._places))

    monkeypatch.setattr(Targets, "build", watch)
    values["train"] = str(tmp_path / "other.spacy")
    distill(make_settings(values), tmp_path / "out")
    assert built == [1]


@pytest.mark.parametrize("settings", ['{"port": 80}', '{"teacher": "Ms Smith"}', "[1]", "{"])
def test_settings_of_another_program_are_no_earlier_run(values, tmp_path, settings):
    for name in ("model", "start", "layers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("x")
    (tmp_path / "settings.json").write_text(settings)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for resume in (False, True):
        with pytest.raises(ValueError, match="B725.*something else"):
            distill(make_settings(values), tmp_path, resume=resume)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("gold", [0.0, 0.25, 1.0])
def test_gold_and_teacher_are_mixed(teacher, gold):
    head, examples = teacher.heads["bert_textcat"], textcat_examples(teacher.nlp)
    scores, goal = torch.randn(4, 3), torch.randn(4, 3)
    loss = make_loss(head, head, lambda docs: list(goal[:, None]), gold, 1.0)
    p, q = torch.softmax(goal, 1).numpy(), torch.softmax(scores, 1).numpy()
    soft = (p * np.log(p / q)).sum(1).mean()
    number = {label: i for i, label in enumerate(head.labels)}
    right = [number[max(eg.reference.cats, key=eg.reference.cats.get)] for eg in examples]
    hard = -np.log(q[range(4), right]).mean()
    expected = gold * hard + (1 - gold) * soft
    np.testing.assert_allclose(float(loss(examples, scores)), expected, rtol=1e-5)
    other = torch.randn(4, 3)  # of another drawing of dropout
    parts = [float(loss(examples, x)) for x in (scores, other, torch.cat((scores, other)))]
    np.testing.assert_allclose(parts[2], (parts[0] + parts[1]) / 2, rtol=1e-5)
    # Without gold the teacher teaches alone.
    for eg in examples:
        eg.reference.cats = {}
    found = loss(examples, scores)
    assert (found is None) == (gold == 1)
    if found is not None:
        np.testing.assert_allclose(float(found), (1 - gold) * soft, rtol=1e-5)


def test_labels_and_tags_by_themselves(bert):
    nlp = make_nlp(
        bert,
        ["bert_textcat_multilabel", "bert_ner"],
        configs={"bert_ner": {"model": {"use_crf": False}}},
    )
    examples = all_examples(nlp, ["bert_textcat", "bert_ner"])
    nlp.initialize(lambda: examples)
    ours, goal = torch.randn(2, 3), torch.randn(2, 3)
    p, q = torch.sigmoid(goal).numpy(), torch.sigmoid(ours).numpy()
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    head = nlp.get_pipe("bert_textcat_multilabel")
    found = compare(head, head, list(ours[:, None]), list(goal[:, None]))
    np.testing.assert_allclose(float(found), expected, rtol=1e-4)
    assert torch.equal(shift_scores(head, goal), goal)
    p, q = torch.softmax(goal, 1).numpy(), torch.softmax(ours, 1).numpy()
    head = nlp.get_pipe("bert_ner")
    found = compare(head, head, [ours[:1], ours[1:], ours[:0]], [goal[:1], goal[1:], goal[:0]])
    np.testing.assert_allclose(float(found), (p * np.log(p / q)).sum(1).mean(), rtol=1e-4)
    assert compare(head, head, [ours[:0]], [goal[:0]]) is None
