"""Teachers, students, settings and places that `distill` refuses."""

import math
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc, DocBin

from bert_spacy.weights.distill.run import check_place, distill
from bert_spacy.weights.distill.settings import make_settings

from ...util import make_nlp


def check(values, tmp_path, match):
    with pytest.raises(ValueError, match=match):
        distill(make_settings(values), tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()


def test_another_vocabulary_is_refused(values, tiny_folder, tmp_path):
    values["student"] = {"name": str(tiny_folder("roberta"))}
    check(values, tmp_path, "B720.*pieces")


def test_a_run_that_cannot_start_leaves_earlier_work(values, tiny_folder, tmp_path):
    output = tmp_path / "out"
    distill(make_settings(values), output)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    DocBin().to_disk(tmp_path / "empty.spacy")
    wrong = [
        ("B424", {"train": [str(tmp_path / "empty.spacy")]}),
        ("B424", {"dev": [str(tmp_path / "empty.spacy")]}),
        ("B720", {"student": {"name": str(tiny_folder("roberta"))}}),
        ("B722.*student.layers", {"student": {"layers": 9}}),
        ("B722.*layers.map", {"layers": {**values["layers"], "map": [9]}}),
        ("B703", {"augment": {"name": str(tiny_folder("bert"))}}),
        ("B725.*which is read", {"teacher": str(output / "model")}),
    ]
    for match, changes in wrong:
        with pytest.raises(ValueError, match=match):
            distill(make_settings({**values, **changes}), output)
        assert {p: p.read_bytes() for p in output.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("part", ["train", "dev"])
def test_labels_that_the_teacher_does_not_know_are_refused(values, part, tmp_path):
    nlp = spacy.blank("en")
    doc = nlp("a good film")
    doc.cats = {"music": 1.0, "film": 0.0}
    other = Doc(nlp.vocab, ["anna"], ents=["B-ANIMAL"])
    for n, (bad, name) in enumerate(((doc, "music"), (other, "ANIMAL"))):
        DocBin(docs=[bad]).to_disk(tmp_path / f"{n}.spacy")
        values[part] = [*values[part], str(tmp_path / f"{n}.spacy")]
        check(values, tmp_path, f"B721.*{name}")
        values[part].pop()


@pytest.mark.parametrize(
    ("section", "given", "message"),
    [
        ("student", {"layers": 3}, "student.layers.*3 of 2 layers"),
        ("student", {"layers": 1, "take": [3]}, "student.take.*numbers from 1 to 2"),
        ("student", {"layers": 2, "take": [1]}, "student.take"),
        ("student", {"layers": 0}, "student.layers"),
        ("student", {"take": "first"}, "student.take"),
        ("student", {"size": 1}, "there is no such setting.*copy_heads"),
        ("layers", {"map": [0]}, "layers.map"),
        ("layers", {"map": [1, 2]}, "layers.map"),
        ("layers", {"learn_rate": 0}, "layers.learn_rate"),
        ("layers", {"epochs": math.inf}, "layers.epochs"),
        ("heads", {"learn_rate": math.nan}, "heads.learn_rate"),
        ("heads", {"temperature": math.inf}, "heads.temperature"),
        ("heads", {"gold": 1.5}, "heads.gold"),
        ("heads", {"temperature": "warm"}, "heads.temperature"),
        ("training", {"batch_size": True}, "training.batch_size"),
    ],
)
def test_bad_settings_are_refused(values, section, given, message, tmp_path):
    values[section] = {**(values[section] if section == "layers" else {}), **given}
    check(values, tmp_path, f"B722.*{message}")


def test_a_setting_that_is_missing(values, tmp_path):
    values.pop("teacher")
    check(values, tmp_path, "B722.*teacher.*missing")


def test_layers_that_differ_in_kind_are_all_or_none(values, place, tiny_folder, tmp_path):
    values.update(teacher=str(tiny_folder("modernbert")), train=str(place / "texts.txt"))
    values["dev"] = values["train"]
    check(values, tmp_path, "B722.*ModernBertModel differ in kind")
    values["student"] = {}
    check(values, tmp_path, "B727")


def test_bad_teachers_are_refused(values, tmp_path, bert):
    values["teacher"] = str(tmp_path)
    check(values, tmp_path, "B724.*config.json")
    nlp = make_nlp(bert)
    nlp.initialize()
    nlp.to_disk(tmp_path / "bare")
    values["teacher"] = str(tmp_path / "bare")
    check(values, tmp_path, "B724.*no head")
    spacy.blank("en").to_disk(tmp_path / "blank")
    values["teacher"] = str(tmp_path / "blank")
    check(values, tmp_path, "B724.*0 components")


def test_nothing_is_written_into_the_teacher(values):
    inside = Path(values["teacher"]) / "student"
    with pytest.raises(ValueError, match="B725.*which is read"):
        distill(make_settings(values), inside)
    assert not inside.exists()


@pytest.mark.parametrize("part", ["train", "dev"])
@pytest.mark.parametrize("teacher", ["teacher", "bert"])
def test_nothing_is_written_into_the_folders_of_the_data(values, place, part, teacher, tmp_path):
    """Data that cannot be read show that they were not read before."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "bad.spacy").write_text("no Docs")
    values["teacher"], values[part] = str(place / teacher), [*values[part], str(data)]
    for output in (data / "out", data / "more" / "out"):
        with pytest.raises(ValueError, match="B725.*it lies in the data that are read, .*data"):
            distill(make_settings(values), output)
    assert [path.name for path in data.rglob("*")] == ["bad.spacy"]
    check_place(make_settings(values), tmp_path / "data-2")


def test_plain_text_is_not_for_the_teacher_of_a_pipeline(values, place, tmp_path):
    values["dev"] = [*values["dev"], str(place / "texts.txt")]
    check(values, tmp_path, r"B722.*distill\.dev.*texts\.txt.*\.spacy files")
