"""The configs are complete, resolve as they stand, and name what exists."""

import runpy
from dataclasses import fields
from pathlib import Path

import pytest
from spacy.cli.init_config import fill_config
from spacy.schemas import ConfigSchemaTraining
from spacy.util import load_config, load_model_from_config, registry

from bert_spacy.sources import SOURCES
from bert_spacy.training.optimizer import AdamW
from bert_spacy.weights.pretrain.settings import read_settings

ROOT = Path(__file__).parents[2]
# Configs of tools, which are no pipelines.
TOOLS = {"distill", "pretrain"}
CONFIGS = sorted(p for p in (ROOT / "configs").glob("*.cfg") if p.stem not in TOOLS)
PRETRAIN = ROOT / "configs" / "pretrain.cfg"
HEADS = {
    "textcat": ["bert_textcat"],
    "textcat_multilabel": ["bert_textcat_multilabel"],
    "ner": ["bert_ner"],
    "qa": ["bert_qa"],
    "choice": ["bert_choice"],
    "regressor": ["bert_regressor"],
    "joint": ["bert_textcat", "bert_ner", "bert_qa"],
}
PATHS = {"paths.train": "train.spacy", "paths.dev": "dev.spacy"}
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "make_config.py"))
make_config, find_doubts = SCRIPT["make_config"], SCRIPT["find_doubts"]


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_there_is_a_config_for_each_task():
    assert {path.stem for path in CONFIGS} == set(HEADS)


def test_filling_changes_nothing(path, tmp_path):
    before = load_config(path, interpolate=False)
    _, after = fill_config(tmp_path / "filled.cfg", path, silent=True)
    assert dict(after) == dict(before)


def test_it_resolves_without_defaults(path):
    config = load_config(path, overrides=PATHS)
    nlp = load_model_from_config(config, auto_fill=False, validate=True)
    assert nlp.pipe_names == ["bert_encoder", *HEADS[path.stem]]
    interpolated = nlp.config.interpolate()
    registry.resolve(interpolated["training"], schema=ConfigSchemaTraining, validate=True)
    registry.resolve(interpolated["corpora"], validate=True)


def test_the_optimizer_resolves_by_itself(path):
    """As for `spacy debug data`, `nlp.initialize()` and `nlp.resume_training()`."""
    nlp = load_model_from_config(load_config(path, overrides=PATHS, interpolate=False))
    assert isinstance(nlp.create_optimizer(), AdamW)


def test_one_setting_gives_the_length_of_a_run(path):
    overrides = {**PATHS, "training.optimizer.learn_rate.total_steps": 7}
    assert load_config(path, overrides=overrides, interpolate=True)["training"]["max_steps"] == 7


def test_default_weights_are_a_known_alias(path):
    config = load_config(path, interpolate=False)
    source = SOURCES[config["components"]["bert_encoder"]["model"]["name"]]
    assert source.language == config["nlp"]["lang"]


def test_score_weights_add_up_to_one(path):
    weights = load_config(path, interpolate=False)["training"]["score_weights"]
    assert sum(value for value in weights.values() if value) == pytest.approx(1.0)
    if path.stem == "joint":
        thirds = [weights[name] for name in ("cats_score", "ents_f", "qa_f1")]
        assert thirds == pytest.approx([1 / 3] * 3, abs=0.01)


def test_evaluations_fall_on_the_last_step(path):
    training = load_config(path, overrides=PATHS, interpolate=True)["training"]
    assert training["max_steps"] % training["eval_frequency"] == 0
    warmup = training["optimizer"]["learn_rate"]["warmup_steps"]
    assert 0 < warmup < training["max_steps"] / 2


@pytest.mark.parametrize("lang", ["en", "zh", "xx"])
def test_it_can_be_put_in_another_language(path, lang):
    config = make_config(path, lang)
    again = type(config)().from_str(config.to_str(), overrides=PATHS)
    nlp = load_model_from_config(again, auto_fill=False, validate=True)
    assert nlp.lang == lang
    assert [token.text for token in nlp.make_doc("北京 a")][:1] == (
        ["北"] if lang == "zh" else ["北京"]
    )


def test_another_language_gets_other_weights_and_another_rate(path):
    before = load_config(path, interpolate=False)
    config = make_config(path, "en", "minilm-l6-en", 5e-5)
    assert config["components"]["bert_encoder"]["model"]["name"] == "minilm-l6-en"
    assert config["training"]["optimizer"]["learn_rate"]["initial_rate"] == 5e-5
    assert not find_doubts(config, before)


def test_weights_of_another_language_and_a_rate_for_others_are_told(path):
    before = load_config(path, interpolate=False)
    (note,) = find_doubts(make_config(path, "en"), before)
    assert "'albert-tiny-zh' was made for 'zh', not 'en'" in note and "--weights" in note
    (note,) = find_doubts(make_config(path, "en", "minilm-l6-en"), before)
    assert "--learn-rate" in note
    assert not find_doubts(make_config(path, "zh"), before)


def test_the_config_of_a_pretraining_is_complete():
    overrides = {"paths.train": "train.txt"}
    config = load_config(PRETRAIN, overrides=overrides, interpolate=True)
    settings = read_settings(config)
    assert settings.main.weights in SOURCES
    assert SOURCES[settings.main.weights].language == settings.corpus.lang
    sections = {
        "pretrain": settings.main,
        "corpus": settings.corpus,
        "masking": settings.masking,
        "sentences": settings.sentences,
    }
    for name, section in sections.items():
        assert set(config[name]) == {field.name for field in fields(section)}
        # Beside the paths and the language, it holds the defaults.
        plain = {field.name: field.default for field in fields(section)}
        differ = {key for key, value in config[name].items() if value != plain[key]}
        assert differ <= {"weights", "train", "lang"}


@pytest.mark.parametrize(("name", "lang"), [("pretrain", "en"), ("ner", "qq"), ("none", "en")])
def test_what_makes_no_config_is_told(name, lang, tmp_path, monkeypatch, capsys):
    path = ROOT / "configs" / f"{name}.cfg"
    argv = ["make_config.py", str(path), str(tmp_path / "out.cfg"), "--lang", lang]
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(SystemExit) as stopped:
        SCRIPT["main"]()
    assert stopped.value.code == 1 and "Can't make" in capsys.readouterr().out
    assert not (tmp_path / "out.cfg").exists()
