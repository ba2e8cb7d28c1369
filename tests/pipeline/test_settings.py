"""Settings of saved pipelines: the config is their one place; the cfg holds what was learnt."""

import shutil

import pytest
import spacy
import srsly
from spacy.training import Example
from thinc.api import Config

from bert_spacy.data.pairs import make_question

from ..util import TEXTS, make_nlp, qa_examples, train_steps, trained

LABELS = "bert_textcat_multilabel"
pytestmark = pytest.mark.filterwarnings(r"ignore:\[BW305\]")
OWN = {"bert_qa": {"n_best": 4, "max_answer_tokens": 6, "null_threshold": 1e9}}
QUESTION = ("who lives in london", "bob lives in london and anna was in paris")
NEW = {
    "components.bert_qa.n_best": 2,
    "components.bert_qa.max_answer_tokens": 1,
    "components.bert_encoder.keep_outputs": True,
    f"components.{LABELS}.threshold": 0.999,
}


@pytest.fixture(scope="module")
def saved(bert, tmp_path_factory):
    nlp = make_nlp(bert, ["bert_qa", LABELS], configs=OWN)
    cats = [{"a": float(i < 2), "b": float(i % 2)} for i in range(len(TEXTS))]
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": row}) for text, row in zip(TEXTS, cats)
    ]
    examples += qa_examples(nlp)
    nlp.initialize(lambda: examples)
    train_steps(nlp, examples, 40)
    folder = tmp_path_factory.mktemp("settings") / "model"
    nlp.to_disk(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def write_cfg(folder, name, **values):
    """Put values into the cfg of a component, as an earlier version did with its settings."""
    path = folder / name / "cfg"
    path.write_text(srsly.json_dumps({**srsly.read_json(path), **values}))


def write_config(folder, name, **values):
    config = Config().from_disk(folder / "config.cfg")
    config["components"][name].update(values)
    config.to_disk(folder / "config.cfg")


def ask(nlp):
    return nlp(make_question(nlp, *QUESTION))


def look(nlp):
    """Return what the settings decide."""
    doc = ask(nlp)
    longest = max((len(answer.span) for answer in doc._.answers), default=0)
    given = [nlp.get_pipe(LABELS).given_labels(nlp(text)) for text in TEXTS]
    return len(doc._.answers), longest, doc._.trf_data is not None, given


def agrees(nlp):
    """Say whether the config shows the settings that the components have."""
    return all(
        getattr(nlp.get_pipe(name), key) == nlp.config["components"][name][key]
        for name, keys in (
            ("bert_qa", ("n_best", "max_answer_tokens", "null_threshold")),
            ("bert_encoder", ("keep_outputs",)),
            (LABELS, ("threshold",)),
        )
        for key in keys
    )


def check_new(nlp):
    n, longest, keeps, given = look(nlp)
    assert (n, longest, keeps) == (2, 1, True)
    assert given == [[] for _ in TEXTS] and agrees(nlp)


def test_settings_given_while_loading_count(folder, tmp_path):
    before = look(spacy.load(folder))
    assert before[0] == 4 and before[1] > 1 and not before[2] and ["a"] in before[3]
    nlp = spacy.load(folder, config=NEW)
    check_new(nlp)
    assert not ask(spacy.load(folder, config={"components.bert_qa.null_threshold": -1e9}))._.answers
    nlp.to_disk(tmp_path / "again")
    check_new(spacy.load(tmp_path / "again"))
    check_new(spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes()))


def test_settings_edited_in_the_config_of_a_saved_pipeline_count(folder):
    for dotted, value in NEW.items():
        _, name, key = dotted.split(".")
        write_config(folder, name, **{key: value})
    check_new(spacy.load(folder))


def test_two_processes_keep_to_the_settings(folder):
    nlp = spacy.load(folder, config=NEW)
    docs = list(nlp.pipe([make_question(nlp, *QUESTION)] * 3, n_process=2, batch_size=1))
    assert [len(doc._.answers) for doc in docs] == [2, 2, 2]
    assert all(doc._.trf_data is not None for doc in docs)


@pytest.mark.parametrize("value", [-1e6, 0.0])
def test_a_threshold_that_is_set_stands_in_the_config_and_stays(folder, tmp_path, value):
    nlp = spacy.load(folder)
    nlp.get_pipe("bert_qa").set_null_threshold(value)
    wanted = [answer.text for answer in ask(nlp)._.answers]
    assert nlp.config["components"]["bert_qa"]["null_threshold"] == value
    nlp.to_disk(tmp_path / "new")
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    for other in (spacy.load(tmp_path / "new"), again):
        assert other.get_pipe("bert_qa").null_threshold == value and agrees(other)
        assert [answer.text for answer in ask(other)._.answers] == wanted


def test_a_threshold_is_written_under_the_name_that_a_component_has_now(folder):
    nlp = spacy.load(folder)
    nlp.rename_pipe("bert_qa", "questions")
    nlp.get_pipe("questions").set_null_threshold(2.0)
    assert nlp.config["components"]["questions"]["null_threshold"] == 2.0


def make_old(folder, **own):
    """Turn a pipeline into one of before, with settings that its config does not say."""
    usual = {"n_best": 5, "max_answer_tokens": 30, "null_threshold": 0.0}
    write_config(folder, "bert_qa", **usual)
    write_cfg(folder, "bert_qa", **{**usual, **own})
    write_cfg(folder, "bert_encoder", keep_outputs=True)
    write_cfg(folder, LABELS, threshold=0.999)


def test_pipelines_of_before_load_with_the_settings_of_their_cfg(folder, tmp_path):
    make_old(folder, n_best=2, max_answer_tokens=1, null_threshold=1e9)
    nlp = spacy.load(folder)
    check_new(nlp)
    nlp.to_disk(tmp_path / "again")
    again = spacy.load(tmp_path / "again")
    check_new(again)
    assert again.config["components"] == nlp.config["components"]
    # What the config says counts for them too.
    nlp = spacy.load(folder, config={"components.bert_qa.n_best": 1})
    assert look(nlp)[:2] == (1, 1) and agrees(nlp)


def test_what_a_component_keeps_is_what_it_has_learnt(folder):
    assert srsly.read_json(folder / "bert_encoder" / "cfg") == {}
    assert set(srsly.read_json(folder / "bert_qa" / "cfg")) == {
        "labels",
        "knows_null",
        "temperature",
    }


@pytest.mark.parametrize(
    "name, values",
    [
        ("bert_qa", {"n_best": 0}),
        ("bert_qa", {"n_best": "many"}),
        ("bert_qa", {"max_answer_tokens": 2.5}),
        ("bert_qa", {"null_threshold": None}),
        ("bert_qa", {"knows_null": "yes"}),
        ("bert_qa", {"temperature": 0}),
        ("bert_qa", {"temperature": "x"}),
        (LABELS, {"temperature": None}),
        (LABELS, {"thresholds": ["a"]}),
        (LABELS, {"thresholds": {"a": "x"}}),
        (LABELS, {"thresholds": {"a": 2.0}}),
        (LABELS, {"threshold": 7.0}),
        ("bert_encoder", {"keep_outputs": "x"}),
    ],
)
def test_a_cfg_with_values_that_cannot_be_is_refused(folder, name, values):
    if name == "bert_qa":
        make_old(folder)
    write_cfg(folder, name, **values)
    with pytest.raises(ValueError, match=rf"\[B307\].*{name}"):
        spacy.load(folder)


@pytest.mark.parametrize("labels", [["a", "a"], [None, None], [1, 2], ["a", ""], [["a"], ["b"]]])
def test_labels_that_are_no_different_strings_are_refused(folder, labels):
    write_cfg(folder, LABELS, labels=labels)
    with pytest.raises(ValueError, match=rf"\[B309\].*{LABELS}"):
        spacy.load(folder)


def test_bytes_are_checked_as_files_are(saved):
    nlp = spacy.load(saved)
    head = nlp.get_pipe(LABELS)
    head.cfg["temperature"] = 0
    data = head.to_bytes()
    with pytest.raises(ValueError, match=r"\[B307\]"):
        spacy.load(saved).get_pipe(LABELS).from_bytes(data)


@pytest.mark.parametrize("weights", ["x", {"a": 0.0}, {"a": None}])
def test_counted_weights_that_cannot_be_are_refused(folder, weights):
    write_cfg(folder, LABELS, class_weights=weights)
    with pytest.raises(ValueError, match=rf"\[B561\].*{LABELS}"):
        spacy.load(folder)


@pytest.fixture(scope="module")
def saved_models(bert, tmp_path_factory):
    """Return a pipeline of two heads, one with an encoder of its own."""
    nlp = trained(bert, ["bert_textcat", "bert_ner"], steps=20)
    nlp.replace_listeners("bert_encoder", "bert_ner", ["model.encoder"])
    folder = tmp_path_factory.mktemp("models") / "model"
    nlp.to_disk(folder)
    return folder


TEXTCAT, NER = "components.bert_textcat.model", "components.bert_ner.model"


def test_settings_of_a_saved_model_count(saved_models):
    text = "zoe was in paris and bob lives in london"  # the first word has several pieces
    before = spacy.load(saved_models)
    config = {f"{TEXTCAT}.pooling": "mean", f"{NER}.pooling": "mean"}
    nlp = spacy.load(saved_models, config=config)
    from_bytes = spacy.blank("en").from_config(nlp.config).from_bytes(before.to_bytes())
    wanted = nlp(text).cats
    assert wanted != before(text).cats and from_bytes(text).cats == wanted
    scores = [
        x.get_pipe("bert_ner").span_probability([x(text)], [[(0, 1, "PER")]])
        for x in (before, nlp, from_bytes)
    ]
    assert scores[0] != scores[1] == scores[2]


def test_settings_of_an_encoder_of_its_own_count(saved_models):
    def load(**values):
        config = {f"{NER}.encoder.{key}": value for key, value in values.items()}
        return spacy.load(saved_models, config=config)

    text = "anna was in paris and bob lives in london " * 3
    whole, cut = (
        nlp.get_pipe("bert_ner").span_probability([nlp.make_doc(text)], [[(20, 21, "PER")]])
        for nlp in (load(), load(window=10, stride=4))
    )
    assert whole != cut
    for code, values in (("B205", {"window": 1000}), ("B206", {"stride": 65})):
        with pytest.raises(ValueError, match=rf"\[{code}\]"):
            load(**values)


def test_settings_that_the_weights_were_not_made_with_are_refused(saved_models):
    with pytest.raises(ValueError, match=r"\[B304\].*'bert_ner'.*'bio'.*'bioes'.*Put back"):
        spacy.load(saved_models, config={f"{NER}.scheme": "bio"})
