"""Scores of a pipeline whose answers are known beforehand."""

import json

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.cli.evaluate import evaluate
from bert_spacy.data.docbin import write_docbin
from bert_spacy.data.pairs import get_question, make_question, set_gold_answers
from bert_spacy.scoring.qa import score_qa

CONTEXT = "bob lives in london"


@Language.component("test_evaluate_first_word")
def answer_first_word(doc: Doc) -> Doc:
    """Answer every question with the first word of its context."""
    assert get_question(doc) is not None, "the question was lost"
    word = CONTEXT.split()[0]
    set_gold_answers(doc, [{"text": word, "start": 0, "end": len(word)}])
    return doc


class _Scored(spacy.pipeline.Pipe):
    def __call__(self, doc):
        return answer_first_word(doc)

    def score(self, examples, **kwargs):
        return score_qa(examples)


@pytest.fixture
def nlp():
    Language.factory("test_evaluate_qa", func=lambda nlp, name: _Scored())
    nlp = spacy.blank("en")
    nlp.add_pipe("test_evaluate_qa")
    return nlp


@pytest.fixture
def gold(nlp, tmp_path):
    """Two files: a question whose answer is the first word, and one whose answer is not."""
    paths = []
    for name, answer in (("a", "bob"), ("b", "london")):
        doc = make_question(nlp, "who", CONTEXT)
        start = CONTEXT.index(answer)
        set_gold_answers(doc, [{"text": answer, "start": start, "end": start + len(answer)}])
        paths.append(tmp_path / "gold" / f"{name}.spacy")
        write_docbin([doc], paths[-1])
    return paths


def test_questions_are_asked_and_scored(nlp, gold, tmp_path):
    output = tmp_path / "metrics" / "scores.json"
    scores = evaluate(nlp, gold, output)
    assert scores["qa_em"] == 0.5
    assert json.loads(output.read_text("utf-8"))["qa_em"] == 0.5


def test_a_folder_is_all_its_files(nlp, gold):
    assert evaluate(nlp, [gold[0].parent])["qa_n"] == 2
    assert evaluate(nlp, gold[:1])["qa_em"] == 1.0


def test_command_writes_scores(tmp_path, gold):
    nlp = spacy.blank("en")
    nlp.to_disk(tmp_path / "pipeline")
    output = tmp_path / "scores.json"
    command = ["evaluate", str(tmp_path / "pipeline"), *map(str, gold), "-o", str(output)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "token_acc" in result.output
    assert json.loads(output.read_text("utf-8"))["token_acc"] == 1.0


def test_missing_pipeline_and_data_are_failures(tmp_path, gold):
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "none"), str(gold[0])])
    assert result.exit_code == 1
    spacy.blank("en").to_disk(tmp_path / "pipeline")
    missing = str(tmp_path / "no.spacy")
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "pipeline"), missing])
    assert result.exit_code == 1
    assert "B413" in result.output


@pytest.mark.parametrize("as_folder", [True, False])
def test_scores_never_take_the_place_of_gold(nlp, gold, tmp_path, as_folder):
    before = gold[0].read_bytes()
    with pytest.raises(ValueError, match=r"\[B623\].*a\.spacy"):
        evaluate(nlp, [gold[0].parent] if as_folder else gold, gold[0])
    with pytest.raises(ValueError, match=r"\[B810\].*folder"):
        evaluate(nlp, gold, tmp_path)
    assert gold[0].read_bytes() == before


def test_gold_of_other_tasks_is_told(nlp, gold, tmp_path):
    nlp.to_disk(tmp_path / "pipeline")
    doc = spacy.blank("en").make_doc("a text")
    doc.cats = {"A": 1.0}
    write_docbin([doc], tmp_path / "cats.spacy")
    ruler = spacy.blank("en")
    ruler.add_pipe("entity_ruler").add_patterns([{"label": "X", "pattern": "q"}])
    ruler.to_disk(tmp_path / "ruler")
    result = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "ruler"), str(tmp_path / "cats.spacy")]
    )
    assert result.exit_code == 0 and "Nothing else is scored" in " ".join(result.output.split())
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "pipeline"), str(gold[1])])
    assert "Nothing else" not in result.output  # a score of 0 is one
