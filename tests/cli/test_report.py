"""Reports on pipelines whose predictions are written down in the test."""

import builtins
import json
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.cli.report import report
from bert_spacy.data.docbin import write_docbin
from bert_spacy.data.pairs import get_question, make_question, set_answers, set_gold_answers
from bert_spacy.report.curves import read_curves
from bert_spacy.report.entities import compare
from bert_spacy.report.render import MAX_MATRIX, cut_matrix, render
from bert_spacy.targets import set_targets

PREDICTED: dict[str, dict] = {}
EVIL = '<script>alert("x")</script>'
VOID = {"meta", "br"}


@Language.component("test_report_lookup")
def look_up(doc: Doc) -> Doc:
    """Set what the test wrote down for the text."""
    found = PREDICTED.get(doc.text, {})
    doc.cats = dict(found.get("cats", {}))
    if "ents" in found:
        spans = [doc.char_span(*ent) for ent in found["ents"]]
        doc.set_ents(spans, default="outside")
    if get_question(doc) and "answers" in found:
        set_answers(doc, found["answers"], null_score=0.0)
    if "regression" in found:
        set_targets(doc, found["regression"])
    return doc


class Page(HTMLParser):
    """Collect tables by section, and check that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.sections: dict[str, list[list[str]]] = {}
        self.words: list[str] = []
        self.section = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = dict(attrs)["id"]
            self.sections[self.section] = []
        if tag == "tr" and self.section:
            self.sections[self.section].append([])
        if tag in ("td", "th"):
            self.sections[self.section][-1].append("")
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in ("src",)
            assert name != "href" or value.startswith("#")

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.sections[self.section][-1][-1] += data

    def rows(self, section: str) -> dict[str, list[str]]:
        """Return the rows of a section's tables by their first cell."""
        return {row[0]: row[1:] for row in self.sections[section]}


@pytest.fixture
def nlp() -> Language:
    PREDICTED.clear()
    nlp = spacy.blank("en")
    nlp.add_pipe("test_report_lookup")
    return nlp


def add_classes(nlp, rows):
    """Make gold Docs and note what is predicted; rows of text, gold, cats."""
    docs = []
    for text, gold, cats in rows:
        doc = nlp.make_doc(text)
        doc.cats = {label: float(label == gold) for label in cats}
        PREDICTED[text] = {"cats": cats}
        docs.append(doc)
    return docs


def make_report(nlp, docs, folder, **settings):
    write_docbin(docs, folder / "test.spacy")
    page, analysis = report(nlp, folder / "test.spacy", folder / "report", **settings)
    return Page(page.read_text("utf-8")), analysis


CLASSES = [
    ("one", "体育", {"体育": 0.9, "A": 0.1}),
    ("two", "A", {"体育": 0.75, "A": 0.25}),
    ("three", "A", {"体育": 0.45, "A": 0.55}),
    ("four", "A", {"体育": 0.04, "A": 0.96}),
    ("five", "体育", {"体育": 0.12, "A": 0.88}),
]


def test_classes(nlp, tmp_path):
    page, analysis = make_report(nlp, add_classes(nlp, CLASSES), tmp_path)
    # 体育: 1 right of 2 gold, 2 predicted; A: 2 right of 3 gold, 3 predicted.
    assert page.rows("classes")["体育"] == ["50.00", "50.00", "50.00", "2"]
    assert page.rows("classes")["A"] == ["66.67", "66.67", "66.67", "3"]
    assert page.rows("summary")["cats_micro_f"] == ["60.00"]
    assert page.rows("summary")["cats_macro_f"] == ["58.33"]
    [classes] = analysis.classes
    assert classes.matrix.tolist() == [[1, 1], [1, 2]]
    assert classes.accuracy == pytest.approx(0.6)
    # Of 15 bins, 0.88 and 0.9 share one; each of the others has its own.
    error = (abs(0.5 - 0.89) * 2 + 0.75 + abs(1 - 0.55) + abs(1 - 0.96)) / 5
    assert classes.calibration_error == pytest.approx(error)
    assert f"{100 * error:.2f}" in "".join(page.words)
    brier = (0.1**2 + 0.75**2 + 0.45**2 + 0.04**2 + 0.88**2) / 5
    assert classes.brier == pytest.approx(brier)
    assert f"Brier score: {brier:.4f}" in "".join(page.words)
    assert [m.text for m in classes.mistakes] == ["five", "two"]
    assert set(page.sections) == {
        "summary",
        "classes",
        "confusion",
        "calibration",
        "class-examples",
    }


def test_multi_label_has_no_confusion_matrix(nlp, tmp_path):
    doc = nlp.make_doc("both")
    doc.cats = {"A": 1.0, "B": 1.0}
    other = nlp.make_doc("none")
    other.cats = {"A": 0.0}
    PREDICTED["both"] = {"cats": {"A": 0.9, "B": 0.2}}
    PREDICTED["none"] = {"cats": {"A": 0.8, "B": 0.9}}
    page, _ = make_report(nlp, [doc, other], tmp_path)
    assert page.rows("classes")["A"] == ["50.00", "100.00", "66.67", "1"]
    assert page.rows("classes")["B"] == ["0.00", "0.00", "0.00", "1"]
    assert "confusion" not in page.sections


def test_many_labels_are_put_together(nlp, tmp_path):
    labels = [f"L{i}" for i in range(MAX_MATRIX + 5)]
    rows = [
        (f"text {label}", label, {name: float(name == label) for name in labels})
        for label in labels
    ]
    rows += [
        (f"more {i}", "L44", {name: float(name == "L44") for name in labels}) for i in range(3)
    ]
    page, analysis = make_report(nlp, add_classes(nlp, rows), tmp_path)
    [classes] = analysis.classes
    names, matrix = cut_matrix(classes)
    assert matrix.sum() == classes.matrix.sum() == len(rows)
    assert (len(names), names[-1], matrix[-1, -1]) == (MAX_MATRIX, "(others)", 6)
    assert matrix[names.index("L44"), names.index("L44")] == 4
    assert "The 6 rarest labels" in "".join(page.words)


def entity_doc(nlp, text, gold, predicted):
    doc = nlp.make_doc(text)
    doc.set_ents([doc.char_span(*ent) for ent in gold], default="outside")
    PREDICTED[text] = {"ents": predicted}
    return doc


def test_entities(nlp, tmp_path):
    text = "Ada Byron met Bob in Paris near Lyon"
    gold = [(0, 9, "PER"), (14, 17, "PER"), (21, 26, "LOC"), (32, 36, "LOC")]
    predicted = [(0, 3, "PER"), (10, 13, "MISC"), (14, 17, "ORG"), (21, 26, "LOC")]
    unannotated = nlp.make_doc("Rome is not annotated")
    PREDICTED["Rome is not annotated"] = {"ents": [(0, 4, "LOC")]}
    page, _ = make_report(nlp, [entity_doc(nlp, text, gold, predicted), unannotated], tmp_path)
    assert page.rows("entities")["LOC"] == ["100.00", "50.00", "66.67", "2"]
    assert page.rows("entities")["PER"] == ["0.00", "0.00", "0.00", "2"]
    assert page.rows("entities")["MISC"] == ["0.00", "0.00", "0.00", "0"]
    assert page.rows("summary")["ents_f"] == ["25.00"]
    assert page.rows("entity-errors") == {
        "Kind": ["Gold", "Predicted", "Count", "Example"],
        "boundary": ["PER", "PER", "1", "Ada Byron → Ada"],
        "spurious": ["–", "MISC", "1", "met"],
        "type": ["PER", "ORG", "1", "Bob"],
        "missed": ["LOC", "–", "1", "Lyon"],
    }
    assert page.tags["mark"] == 8
    assert "classes" not in page.sections


def test_compare_pairs_the_longest_overlap():
    gold = [(0, 10, "A"), (12, 20, "B")]
    predicted = [(8, 19, "B"), (0, 4, "A"), (30, 31, "C")]
    kinds = [(e.kind, e.gold, e.predicted) for e in compare(gold, predicted)]
    assert kinds == [
        ("boundary", (0, 10, "A"), (0, 4, "A")),
        ("boundary", (12, 20, "B"), (8, 19, "B")),
        ("spurious", None, (30, 31, "C")),
    ]
    assert [e.kind for e in compare([(0, 5, "A")], [(2, 6, "B")])] == ["boundary and type"]


def test_questions(nlp, tmp_path):
    context = "The Denver Broncos won in Santa Clara."
    cases = [
        ("Who won?", ["Denver Broncos"], "The Denver Broncos"),
        ("In which place of the world was it that they won?", ["Santa Clara"], "Clara"),
        ("Why did they?", [], ""),
        ("When did they?", [], "Denver"),
    ]
    docs = []
    for question, golds, predicted in cases:
        doc = make_question(nlp, question, context)
        places = [{"text": t, "start": context.find(t)} for t in [*golds, predicted] if t]
        for place in places:
            place["end"] = place["start"] + len(place["text"])
        set_gold_answers(doc, places[: len(golds)])
        PREDICTED[doc.text] = {"answers": places[len(golds) :]}
        docs.append(doc)
    page, _ = make_report(nlp, docs, tmp_path)
    rows = page.rows("questions")
    assert rows["all"] == ["50.00", "66.67", "4"]
    assert rows["with answer"] == ["50.00", "83.33", "2"]
    assert rows["without answer"] == ["50.00", "50.00", "2"]
    assert rows["1 to 5 tokens"] == ["66.67", "66.67", "3"]
    assert rows["11 to 15 tokens"] == ["0.00", "66.67", "1"]
    assert page.rows("summary")["qa_f1"] == ["66.67"]
    text = "".join(page.words)
    assert text.index("When did they?") < text.index("In which place")
    assert "gold: no answer" in text


def test_targets(nlp, tmp_path):
    rows = [("a", 1.0, 1.5), ("b", 2.0, 1.0), ("c far", 3.0, 9.0), ("d", 4.0, None)]
    docs = []
    for text, gold, predicted in rows:
        docs.append(nlp.make_doc(text))
        set_targets(docs[-1], {EVIL: gold, "other": 1.0})
        PREDICTED[text] = {} if predicted is None else {"regression": {EVIL: predicted}}
    page, analysis = make_report(nlp, docs, tmp_path)
    (result,) = analysis.targets
    pearson = np.corrcoef([1, 2, 3], [1.5, 1, 9])[0, 1]
    assert result.pearson == pytest.approx(pearson)
    assert result.spearman == pytest.approx(0.5)
    assert analysis.summary["regression_pearson"] == pytest.approx(pearson)
    row = page.sections["targets"][1]
    rmse = ((0.25 + 1 + 36) / 3) ** 0.5
    assert row == [EVIL, f"{100 * pearson:.2f}", "50.00", f"{rmse:.4g}", "3", "1"]
    assert page.tags["circle"] == 3
    words = " ".join(page.words)
    assert words.index(f"{EVIL}: gold 3, predicted 9") < words.index(f"{EVIL}: gold 2, predicted 1")


def test_everything_is_escaped(nlp, tmp_path):
    rows = [(EVIL, "A", {"A": 0.1, EVIL: 0.9}), ("fine", EVIL, {"A": 0.6, EVIL: 0.4})]
    docs = add_classes(nlp, rows)
    PREDICTED[EVIL]["ents"] = [(1, 7, EVIL)]
    docs[0].set_ents([docs[0].char_span(1, 7, label="A")], default="outside")
    nlp.meta["name"] = EVIL
    log = tmp_path / "log.jsonl"
    entry = {"step": 1, "score": 0.5, "losses": {EVIL: 1.0}, "scores": {EVIL: 2.0}}
    log.write_text(json.dumps(entry), "utf-8")
    page, _ = make_report(nlp, docs, tmp_path, training_log=log)
    assert page.tags["script"] == 0
    assert page.tags["mark"] == 2
    assert EVIL in "".join(page.words)


def test_training_log_of_spacy(nlp, tmp_path):
    # Written by spaCy's own logger, not by hand.
    nlp.add_pipe("textcat").add_label("A")
    nlp.config["training"] = {
        "max_steps": 20,
        "eval_frequency": 10,
        "score_weights": {"cats_score": 1.0},
    }
    log = tmp_path / "training" / "log.jsonl"
    make_logger = spacy.registry.loggers.get("spacy.ConsoleLogger.v3")
    log_step, finalize = make_logger(console_output=False, output_file=log)(nlp)
    for step, score in ((10, 0.5), (20, 0.75)):
        scores = {"cats_score": score}
        info = {"epoch": 0, "step": step, "losses": {"textcat": 1 / step}, "score": score}
        log_step({**info, "other_scores": scores})
    finalize()
    with log.open("a", encoding="utf-8") as file_:
        file_.write('{"epoch": 1, "st')
    curves = read_curves(log)
    assert curves.scores == {
        "cats_score": [(10, 50.0), (20, 75.0)],
        "score": [(10, 0.5), (20, 0.75)],
    }
    assert curves.losses == {"textcat": [(10, 0.1), (20, 0.05)]}
    nlp.remove_pipe("textcat")
    page, _ = make_report(nlp, add_classes(nlp, CLASSES), tmp_path, training_log=log)
    assert "curves" in page.sections
    assert page.tags["polyline"] == 4

    (tmp_path / "other.jsonl").write_text('{"text": "a"}\n[1]\n', "utf-8")
    with pytest.raises(ValueError, match=r"\[B630\]"):
        read_curves(tmp_path / "other.jsonl")


def test_nothing_in_common(nlp, tmp_path):
    doc = entity_doc(nlp, "Ada", [(0, 3, "PER")], [])
    del PREDICTED["Ada"]
    with pytest.raises(ValueError, match=r"\[B631\]"):
        make_report(nlp, [doc], tmp_path)
    assert not (tmp_path / "report").exists()


def test_limit_and_long_texts(nlp, tmp_path):
    long = "word " * 400 + "Paris " + "word " * 400
    start = long.index("Paris")
    docs = [entity_doc(nlp, long, [(start, start + 5, "LOC")], [])]
    docs += [entity_doc(nlp, f"Rome {i}", [(0, 4, "LOC")], []) for i in range(3)]
    page, analysis = make_report(nlp, docs, tmp_path, limit=2)
    assert analysis.n_docs == 2
    text = "".join(page.words)
    assert "Paris" in text
    assert len(text) < 6000
    assert len(render(analysis)) < 20000


def run_cli(nlp, docs, tmp_path):
    nlp.to_disk(tmp_path / "pipeline")
    write_docbin(docs, tmp_path / "test.spacy")
    arguments = [str(tmp_path / name) for name in ("pipeline", "test.spacy")]
    return CliRunner().invoke(app, ["report", *arguments, "-o", str(tmp_path / "report")])


def test_command_writes_pngs(nlp, tmp_path):
    pytest.importorskip("matplotlib")
    assert run_cli(nlp, add_classes(nlp, CLASSES), tmp_path).exit_code == 0
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == ["calibration.png", "confusion.png", "index.html"]
    assert (tmp_path / "report" / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_a_chart_that_cannot_be_written_is_told(nlp, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "report" / "confusion.png").mkdir(parents=True)
    result = run_cli(nlp, add_classes(nlp, CLASSES), tmp_path)
    assert isinstance(result.exception, SystemExit) and result.exit_code == 1
    assert "confusion.png" in result.output
    assert (tmp_path / "report" / "index.html").is_file()


@pytest.mark.parametrize("where", ["report", "report/inner"])
def test_a_file_in_the_place_of_the_folder_is_told_before_anything_is_predicted(
    nlp, tmp_path, monkeypatch, where
):
    (tmp_path / "report").write_text("mine", encoding="utf-8")
    monkeypatch.setattr("bert_spacy.report.analysis.analyse", None)
    with pytest.raises(ValueError, match=r"\[B811\].*report is a file"):
        report(nlp, tmp_path / "none.spacy", tmp_path / where)
    assert (tmp_path / "report").read_text(encoding="utf-8") == "mine"


def test_command_without_matplotlib(nlp, tmp_path, monkeypatch):
    real_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib") or name.endswith("report.png"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    result = run_cli(nlp, add_classes(nlp, CLASSES), tmp_path)
    assert result.exit_code == 0
    assert "bert-spacy[report]" in result.output
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["index.html"]


def test_command_fails_without_gold(nlp, tmp_path):
    result = run_cli(nlp, [nlp.make_doc("no gold")], tmp_path)
    assert result.exit_code == 1
    assert "B631" in result.output
