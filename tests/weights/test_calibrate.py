"""`calibrate`: the same predictions with better probabilities, or an error and no file."""

import json
from collections import Counter

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.util import fix_random_seed
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.data.corpus import Corpus, make_example
from bert_spacy.data.pairs import set_gold_answers
from bert_spacy.pipeline import known
from bert_spacy.scored import read_scored
from bert_spacy.scoring.qa import given_probability, score_question
from bert_spacy.segments import count_choices, get_choice, set_choice
from bert_spacy.types import SCORED, SEGMENTS
from bert_spacy.weights.calibrate import calibrate, calibrate_heads

from ..util import (
    TEXTS,
    choice_examples,
    make_nlp,
    ner_examples,
    qa_examples,
    textcat_examples,
    train_steps,
    trained,
)

HEADS = ["bert_textcat", "bert_ner"]
LABELS = "bert_textcat_multilabel"


@pytest.fixture(scope="module")
def folder(bert, tmp_path_factory):
    """A pipeline that is surer than it should be: a third of the gold says otherwise."""
    folder = tmp_path_factory.mktemp("calibrate")
    fix_random_seed(0)  # whatever ran before
    nlp = trained(bert, HEADS, steps=60)
    nlp.to_disk(folder / "pipeline")
    docs = []
    for i in range(12):
        for eg in [*ner_examples(nlp), *textcat_examples(nlp)]:
            doc = eg.reference.copy()
            if i % 3 == 0 and doc.ents:
                doc.set_ents(doc.ents[:1])
            if i % 3 == 0 and doc.cats:
                names = sorted(doc.cats)
                doc.cats = {name: doc.cats[names[k - 1]] for k, name in enumerate(names)}
            docs.append(doc)
    DocBin(docs=docs).to_disk(folder / "dev.spacy")
    return folder


def run(*args):
    return CliRunner().invoke(app, ["calibrate", *map(str, args)])


def evaluate(nlp, path):
    return nlp.evaluate(list(Corpus([path])(nlp)))


def test_probabilities_come_nearer_and_predictions_stay(folder, tmp_path):
    result = run(folder / "pipeline", folder / "dev.spacy", "-o", tmp_path / "new")
    assert result.exit_code == 0, result.output
    old, new = spacy.load(folder / "pipeline"), spacy.load(tmp_path / "new")
    report = json.loads((tmp_path / "new" / "calibrate.json").read_text())
    assert set(report) == set(HEADS)
    scores = [nlp.evaluate(list(Corpus([folder / "dev.spacy"])(nlp))) for nlp in (old, new)]
    for name, key in (("bert_ner", "ents_ece"), ("bert_textcat", "cats_ece")):
        part = report[name]
        assert part["before"]["ece"] == pytest.approx(scores[0][key], abs=1e-5)
        assert scores[1][key] < scores[0][key]
        assert sum(part["before"]["reliability"]["count"]) == part["predictions"]
        assert new.get_pipe(name).cfg["temperature"] == part["temperature"] > 1
    assert scores[1]["ents_f"] == scores[0]["ents_f"]
    assert scores[1]["cats_macro_f"] == scores[0]["cats_macro_f"]
    assert scores[1]["ents_brier"] < scores[0]["ents_brier"]


def test_temperature_is_that_of_the_least_loss(folder, tmp_path):
    report = calibrate(folder / "pipeline", [folder / "dev.spacy"], tmp_path / "new")
    nlp = spacy.load(folder / "pipeline")
    head, losses = nlp.get_pipe("bert_textcat"), {}
    best = report["bert_textcat"]["temperature"]
    for temperature in (best * 0.9, best, best * 1.1):
        head.cfg["temperature"] = temperature
        examples = [eg for eg in Corpus([folder / "dev.spacy"])(nlp) if eg.reference.cats]
        docs = nlp.pipe([eg.predicted for eg in examples])
        gold = [max(eg.reference.cats, key=eg.reference.cats.get) for eg in examples]
        losses[temperature] = -np.mean([np.log(doc.cats[x]) for doc, x in zip(docs, gold)])
    assert min(losses, key=losses.get) == best


def test_thresholds_turn_entities_into_candidates(folder, tmp_path):
    args = (folder / "pipeline", folder / "dev.spacy", "-o", tmp_path / "new")
    result = run(*args, "--min-precision", "0.99")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "new" / "calibrate.json").read_text())["bert_ner"]
    nlp = spacy.load(tmp_path / "new")
    assert nlp.get_pipe("bert_ner").cfg["thresholds"] == report["thresholds"]
    assert "LOC" in report["unreached"]  # a third of the places is wrong by gold
    doc = nlp("bob lives in london")
    assert "LOC" not in [ent.label_ for ent in doc.ents]
    weak = {span.text: span.label_ for span, _ in read_scored(doc, "bert_ner_candidates")}
    assert weak["london"] == "LOC"


def test_thresholds_of_another_temperature_are_removed_and_named(folder, tmp_path):
    nlp = spacy.load(folder / "pipeline")
    nlp.get_pipe("bert_ner").set_thresholds({"LOC": 0.75})
    nlp.to_disk(tmp_path / "old")
    told = "bert_ner has no thresholds any more"
    result = run(tmp_path / "old", folder / "dev.spacy", "-o", tmp_path / "new")
    assert told in result.output and "Those of LOC" in result.output
    report = json.loads((tmp_path / "new" / "calibrate.json").read_text())["bert_ner"]
    assert report["removed_thresholds"] == {"LOC": 0.75} and "thresholds" not in report
    cfg = spacy.load(tmp_path / "new").get_pipe("bert_ner").cfg
    assert cfg["thresholds"] == {} and cfg["temperature"] == report["temperature"]
    args = (tmp_path / "old", folder / "dev.spacy", "-o", tmp_path / "new")
    for other in ((*args, "--min-precision", "0.5"), (folder / "pipeline", *args[1:])):
        assert told not in run(*other).output


def test_what_is_not_fitted_or_at_a_bound_is_told(folder, tmp_path):
    nlp = spacy.load(folder / "pipeline")
    docs = [eg.reference for eg in [*textcat_examples(nlp) * 5, *ner_examples(nlp)]]
    DocBin(docs=docs).to_disk(tmp_path / "dev.spacy")
    result = run(folder / "pipeline", tmp_path / "dev.spacy", "-o", tmp_path / "new")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "new" / "calibrate.json").read_text())
    assert report["bert_ner"] == {"predictions": 4}
    assert "bert_ner is left as it is" in result.output and "It has 4 pred" in result.output
    # All classes are right, so that no temperature is low enough.
    assert report["bert_textcat"]["at_bound"] and report["bert_textcat"]["temperature"] < 0.21
    assert "temperature of bert_textcat is a bound" in result.output
    assert spacy.load(tmp_path / "new").get_pipe("bert_ner").cfg["temperature"] == 1.0


def test_what_cannot_be_fitted_leaves_no_file(folder, tmp_path):
    few = tmp_path / "few.spacy"
    nlp = spacy.load(folder / "pipeline")
    DocBin(docs=[eg.reference for eg in ner_examples(nlp)]).to_disk(few)
    result = run(folder / "pipeline", few, "-o", tmp_path / "new")
    assert result.exit_code == 1 and "B632" in result.output
    assert not (tmp_path / "new").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="B633"):
        calibrate(folder / "pipeline", [folder / "dev.spacy"], other)
    assert (other / "mine.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="B526"):
        calibrate(folder / "pipeline", [folder / "dev.spacy"], tmp_path / "n", min_precision=95)


@pytest.fixture(scope="module")
def questions(bert, tmp_path_factory):
    """A pipeline that answers, and gold that says otherwise for a third of the questions."""
    folder = tmp_path_factory.mktemp("questions")
    fix_random_seed(0)
    nlp = trained(bert, ["bert_qa"], steps=80)
    nlp.to_disk(folder / "pipeline")
    docs = []
    for i in range(9):
        for eg in qa_examples(nlp):
            doc = eg.reference.copy()
            if i % 3 == 0:
                set_gold_answers(doc, [{"text": doc[-1].text, "start": -1, "end": -1}])
            docs.append(doc)
    DocBin(docs=docs).to_disk(folder / "dev.spacy")
    return folder


def test_answers_and_their_absence_get_one_temperature(questions, tmp_path):
    result = run(questions / "pipeline", questions / "dev.spacy", "-o", tmp_path / "new")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "new" / "calibrate.json").read_text())["bert_qa"]
    old, new = spacy.load(questions / "pipeline"), spacy.load(tmp_path / "new")
    scores, answers = [], []
    for nlp in (old, new):
        examples = list(Corpus([questions / "dev.spacy"])(nlp))
        scores.append(nlp.evaluate(examples))
        answers.append([[a.text for a in eg.predicted._.answers] for eg in examples])
    assert answers[0] == answers[1] and [] in answers[0]
    assert report["temperature"] == pytest.approx(new.get_pipe("bert_qa").cfg["temperature"])
    assert report["temperature"] > 1
    for part, score in zip((report["before"], report["after"]), scores):
        assert score["qa_ece"] == pytest.approx(part["ece"], abs=1e-5)
        assert score["qa_brier"] == pytest.approx(part["brier"], abs=1e-5)
    assert scores[1]["qa_ece"] < scores[0]["qa_ece"]
    head = new.get_pipe("bert_qa")
    losses = {}
    for temperature in (report["temperature"] * f for f in (0.9, 1.0, 1.1)):
        head.set_temperature(temperature)
        examples = list(Corpus([questions / "dev.spacy"])(new))
        list(new.pipe([eg.predicted for eg in examples]))
        p = np.array([given_probability(eg.predicted) for eg in examples])
        hit = [score_question(eg).exact == 1.0 for eg in examples]
        losses[temperature] = -np.log(np.where(hit, p, 1 - p)).mean()
    assert min(losses, key=losses.get) == report["temperature"]


def test_no_answer_gets_the_threshold_of_the_best_f1(questions, tmp_path):
    nlp = spacy.load(questions / "pipeline")
    nlp.get_pipe("bert_qa").set_null_threshold(-100.0)  # never an answer
    nlp.to_disk(tmp_path / "shy")
    result = run(tmp_path / "shy", questions / "dev.spacy", "-o", tmp_path / "new")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "new" / "calibrate.json").read_text())["bert_qa"]
    new = spacy.load(tmp_path / "new")
    head = new.get_pipe("bert_qa")
    assert head.null_threshold == pytest.approx(report["null_threshold"])
    assert f"null_threshold {report['null_threshold']:.3f}" in result.output
    before, after = (evaluate(x, questions / "dev.spacy") for x in (nlp, new))
    assert before["qa_f1"] == pytest.approx(report["f_before"])
    # Found on predictions that gave no answer at all, from what was withheld.
    assert before["qa_best_f1"] == pytest.approx(report["f_after"])
    assert before["qa_best_threshold"] == pytest.approx(report["null_threshold"], abs=1e-3)
    assert after["qa_f1"] == pytest.approx(report["f_after"]) and after["qa_f1"] > before["qa_f1"]
    assert after["qa_brier"] == pytest.approx(report["after"]["brier"], abs=1e-5)
    docs = new.pipe(eg.predicted for eg in Corpus([questions / "dev.spacy"])(new))
    for gap in {doc.spans["answers"].attrs["null_score"] for doc in docs}:
        for head.null_threshold in (gap - 1e-3, gap + 1e-3):
            assert evaluate(new, questions / "dev.spacy")["qa_f1"] <= after["qa_f1"] + 1e-9


def test_scores_are_shown_in_percent_and_thresholds_are_not(questions):
    command = ["evaluate", str(questions / "pipeline"), str(questions / "dev.spacy")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "qa_best_f1" in result.output and "qa_best_threshold" not in result.output


def test_no_answer_keeps_its_threshold_where_all_have_one(questions, tmp_path):
    nlp = spacy.load(questions / "pipeline")
    docs = [eg.reference for eg in qa_examples(nlp)[:3] * 7]
    DocBin(docs=docs).to_disk(tmp_path / "dev.spacy")
    report = calibrate_heads(nlp, [tmp_path / "dev.spacy"])["bert_qa"]
    assert "null_threshold" not in report and report["predictions"] == 21
    assert nlp.get_pipe("bert_qa").null_threshold == 0.0


@pytest.fixture(scope="module")
def labels(bert, tmp_path_factory):
    """A pipeline of labels by themselves, and gold that says otherwise at times."""
    folder = tmp_path_factory.mktemp("labels")
    nlp = make_nlp(bert, [LABELS])
    rows = [(text, {"a": float(i < 2), "b": float(i % 2)}) for i, text in enumerate(TEXTS)]
    examples = [Example.from_dict(nlp.make_doc(text), {"cats": cats}) for text, cats in rows]
    nlp.initialize(lambda: examples)
    train_steps(nlp, examples, 250)
    nlp.to_disk(folder / "pipeline")
    docs = [eg.reference.copy() for eg in examples for _ in range(8)]
    for doc in docs[::8]:
        doc.cats = {**doc.cats, "b": 1 - doc.cats["b"]}
    DocBin(docs=docs).to_disk(folder / "dev.spacy")
    return folder


def test_labels_that_do_not_exclude_each_other_get_thresholds(labels, tmp_path):
    result = run(labels / "pipeline", labels / "dev.spacy", "-o", tmp_path / "new")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "new" / "calibrate.json").read_text())[LABELS]
    old, new = spacy.load(labels / "pipeline"), spacy.load(tmp_path / "new")
    scores = [evaluate(nlp, labels / "dev.spacy") for nlp in (old, new)]
    assert report["predictions"] == 64
    assert new.get_pipe(LABELS).cfg["temperature"] == report["temperature"] > 1
    for part, score in zip((report["before"], report["after"]), scores):
        assert score["cats_ece"] == pytest.approx(part["ece"], abs=1e-5)
        assert score["cats_brier"] == pytest.approx(part["brier"], abs=1e-5)
    assert scores[1]["cats_brier"] < scores[0]["cats_brier"]
    assert report["f_before"] == pytest.approx(scores[0]["cats_macro_f"])
    assert report["f_after"] == pytest.approx(scores[1]["cats_macro_f"])
    assert report["f_after"] >= report["f_before"]
    # The component's own way, on Docs that went through the pipeline.
    docs = [eg.reference for eg in Corpus([labels / "dev.spacy"])(new)]
    found = new.get_pipe(LABELS).tune_thresholds([Example(new(doc.text), doc) for doc in docs])
    assert report["thresholds"] == pytest.approx(found)
    assert "Threshold" in result.output


def test_labels_that_do_not_exclude_each_other_get_a_precision(labels, tmp_path):
    args = (labels / "pipeline", labels / "dev.spacy", "-o", tmp_path / "new")
    result = run(*args, "--min-precision", "0.93")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "new" / "calibrate.json").read_text())[LABELS]
    assert report["min_precision"] == 0.93 and "f_after" not in report
    found = []
    for folder in (labels / "pipeline", tmp_path / "new"):
        nlp = spacy.load(folder)
        head = nlp.get_pipe(LABELS)
        docs = [eg.reference for eg in Corpus([labels / "dev.spacy"])(nlp)]
        hits = [doc.cats[label] for doc in docs for label in head.given_labels(nlp(doc.text))]
        found.append((sum(hits) / len(hits), sum(hits) / 32))
    assert head.cfg["thresholds"] == pytest.approx(report["thresholds"])
    # All 16 of a and 14 of 16 of b are right by gold.
    assert found[0] == (report["precision_before"], report["recall_before"]) == (30 / 32, 30 / 32)
    assert found[1] == pytest.approx((report["kept_precision"], report["kept_recall"]))
    assert report["kept_precision"] > 30 / 32


@pytest.mark.parametrize("is_own", [True, False])
def test_labels_without_a_yes_give_what_they_gave(labels, tmp_path, is_own):
    nlp = spacy.load(labels / "pipeline")
    head = nlp.get_pipe(LABELS)
    values = sorted(nlp(text).cats["a"] for text in TEXTS)
    cut = (values[-1] + values[-2]) / 2  # gives one of two that are true
    if is_own:
        head.set_thresholds({"a": cut})
    else:
        head.threshold = cut
    docs = [eg.reference for eg in Corpus([labels / "dev.spacy"])(nlp)]
    for doc in docs:
        doc.cats = {"b": doc.cats["b"]}
    DocBin(docs=docs).to_disk(tmp_path / "dev.spacy")
    before = ["a" in head.given_labels(nlp(text)) for text in TEXTS]
    report = calibrate_heads(nlp, [tmp_path / "dev.spacy"])[LABELS]
    assert before == ["a" in head.given_labels(nlp(text)) for text in TEXTS]
    assert sum(before) == 1 and report["temperature"] > 1
    # Temperature divides the log-odds.
    odds = (cut / (1 - cut)) ** (1 / report["temperature"])
    assert report["thresholds"]["a"] == pytest.approx(odds / (1 + odds))


@pytest.mark.parametrize("extra", [(), ("--min-precision", "0.93")])
def test_before_is_as_the_pipeline_came(labels, tmp_path, extra):
    nlp = spacy.load(labels / "pipeline")
    head = nlp.get_pipe(LABELS)
    head.set_temperature(3.0)
    head.set_thresholds({"a": 0.05, "b": 0.05})
    nlp.to_disk(tmp_path / "old")
    scores = evaluate(nlp, labels / "dev.spacy")
    args = (tmp_path / "old", labels / "dev.spacy", "-o", tmp_path / "new")
    assert run(*args, *extra).exit_code == 0
    report = json.loads((tmp_path / "new" / "calibrate.json").read_text())[LABELS]
    assert report["before"]["ece"] == pytest.approx(scores["cats_ece"], abs=1e-5)
    if extra:
        assert report["precision_before"] == pytest.approx(scores["cats_micro_p"])
        assert report["recall_before"] == pytest.approx(scores["cats_micro_r"])
    else:
        assert report["f_before"] == pytest.approx(scores["cats_macro_f"])
        assert report["f_after"] > report["f_before"]


def test_a_precision_that_a_component_does_not_know_is_told(folder, tmp_path):
    args = (folder / "pipeline", folder / "dev.spacy", "-o", tmp_path / "new")
    assert "sets no threshold of: bert_textcat" in run(*args, "--min-precision", "0.5").output
    assert "sets no threshold" not in run(*args).output


def test_choices_get_a_temperature_and_stay(bert, tmp_path):
    nlp = trained(bert, ["bert_choice"], steps=60)
    nlp.to_disk(tmp_path / "pipeline")
    docs = []
    for i in range(8):
        for eg in choice_examples(nlp):
            doc = eg.reference.copy()
            if i % 2:  # half of the gold says otherwise
                set_choice(doc, (get_choice(doc) + 1) % count_choices(doc))
            docs.append(doc)
    DocBin(docs=docs).to_disk(tmp_path / "dev.spacy")
    result = run(tmp_path / "pipeline", tmp_path / "dev.spacy", "-o", tmp_path / "new")
    assert result.exit_code == 0, result.output
    new = spacy.load(tmp_path / "new")
    assert new.get_pipe("bert_choice").cfg["temperature"] > 1.5
    for eg in choice_examples(nlp):
        before, after = nlp(eg.predicted.copy()), new(make_example(new, eg.reference).predicted)
        assert before._.choice == after._.choice
        assert max(after._.choice_scores) < max(before._.choice_scores)


def test_judging_leaves_the_docs_as_they_are(folder):
    nlp = spacy.load(folder / "pipeline")
    examples = list(Corpus([folder / "dev.spacy"])(nlp))
    for name in HEADS:
        outcomes = nlp.get_pipe(name).judge(examples)
        assert len(outcomes.at(1.0)) == len(outcomes.hit) == len(outcomes.label) > 0
        assert outcomes.labels == nlp.get_pipe(name).labels
    assert not any(eg.predicted.ents or eg.predicted.cats for eg in examples)
    ents = [ent.label_ for eg in examples for ent in eg.reference.ents]
    outcomes = nlp.get_pipe("bert_ner").judge(examples)
    assert dict(zip(outcomes.labels, outcomes.n_gold)) == Counter(ents)


@Language.component("test_calibrate_merge")
def merge_names(doc: Doc) -> Doc:
    """Make one token of the first two, so that gold entities there are lost."""
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[:2])
    return doc


@Language.component("test_calibrate_part")
def part_text(doc: Doc) -> Doc:
    """Make a pair of texts."""
    parts = [Span(doc, 0, 2, label="a"), Span(doc, 2, len(doc), label="b")]
    doc.spans[SEGMENTS] = parts
    return doc


@pytest.fixture(scope="module")
def tagger(bert):
    fix_random_seed(0)
    return trained(bert, ["bert_textcat", "bert_ner"], steps=60)


@pytest.fixture
def ruled(tagger):
    """A tagger behind a ruler that is right about "bob" and wrong about "paris"."""
    ruler = tagger.add_pipe("entity_ruler", before="bert_ner")
    ruler.add_patterns([{"label": "X", "pattern": "paris"}, {"label": "PER", "pattern": "bob"}])
    yield tagger
    tagger.remove_pipe("entity_ruler")
    head = tagger.get_pipe("bert_ner")
    head.keep_entities = True
    head.set_thresholds({})
    head.set_temperature(1.0)


def given_entities(nlp, examples):
    """Return probability, verdict and label of each scored entity, as the pipeline gives them."""
    docs = nlp.pipe([eg.predicted.copy() for eg in examples])
    rows = []
    for doc, eg in zip(docs, examples):
        gold = {(ent.start_char, ent.end_char, ent.label_) for ent in eg.reference.ents}
        for span, p in read_scored(doc, SCORED):
            rows.append((p, (span.start_char, span.end_char, span.label_) in gold, span.label_))
    return rows


def check_judged(nlp, examples):
    wanted = given_entities(nlp, examples)
    outcomes = nlp.get_pipe("bert_ner").judge(examples)
    assert outcomes.at(1.0) == pytest.approx([row[0] for row in wanted], abs=1e-6)
    assert outcomes.hit.tolist() == [row[1] for row in wanted]
    assert [outcomes.labels[k] for k in outcomes.label] == [row[2] for row in wanted]
    return len(wanted), dict(zip(outcomes.labels, outcomes.n_gold))


def test_entities_of_earlier_components_have_their_part_in_what_is_judged(ruled):
    examples = ner_examples(ruled)
    # "bob" is found, and "paris" is still to be found, though it cannot be.
    assert check_judged(ruled, examples) == (2, {"LOC": 2, "PER": 1})
    assert not any(eg.predicted.ents for eg in examples)
    with ruled.select_pipes(disable=["entity_ruler"]):
        assert check_judged(ruled, examples) == (4, {"LOC": 2, "PER": 2})
    ruled.get_pipe("bert_ner").keep_entities = False
    assert check_judged(ruled, examples) == (4, {"LOC": 2, "PER": 2})


def test_thresholds_behind_a_ruler_keep_what_the_report_says(ruled, tmp_path):
    docs = [eg.reference for eg in ner_examples(ruled)] * 12
    DocBin(docs=docs).to_disk(tmp_path / "dev.spacy")
    report = calibrate_heads(ruled, [tmp_path / "dev.spacy"], min_precision=0.5)["bert_ner"]
    given = given_entities(ruled, list(Corpus([tmp_path / "dev.spacy"])(ruled)))
    assert report["predictions"] == report["kept"] == len(given) == 24
    assert report["kept_precision"] == 1.0
    assert report["kept_recall"] == pytest.approx(24 / 36)  # without the twelve "paris"


def test_components_before_the_encoder_have_their_part_for_every_head(tagger):
    tagger.add_pipe("test_calibrate_merge", first=True)
    check_judged(tagger, ner_examples(tagger))
    tagger.remove_pipe("test_calibrate_merge")
    examples, head = textcat_examples(tagger), tagger.get_pipe("bert_textcat")
    alone = head.judge(examples).at(1.0)
    tagger.add_pipe("test_calibrate_part", first=True)
    docs = tagger.pipe([eg.predicted.copy() for eg in examples])
    wanted = [max(doc.cats.values()) for doc in docs]
    found = head.judge(examples).at(1.0)
    tagger.remove_pipe("test_calibrate_part")
    assert found == pytest.approx(wanted, abs=1e-6)
    assert max(abs(found - alone)) > 1e-4


def test_a_head_that_does_not_know_its_pipeline_says_so(bert, tmp_path, monkeypatch):
    nlp = trained(bert, ["bert_ner"], steps=5)
    nlp.replace_listeners("bert_encoder", "bert_ner", ["model.encoder"])
    nlp.remove_pipe("bert_encoder")
    nlp.to_disk(tmp_path / "model")
    new = spacy.load(tmp_path / "model")
    new.get_pipe("bert_ner").judge(ner_examples(new))
    monkeypatch.setattr(known, "_PIPELINES", [])
    with pytest.warns(UserWarning, match="BW307"):
        new.get_pipe("bert_ner").judge(ner_examples(new))
