"""The report predicts on the Docs that `evaluate` predicts on."""

import pytest
import spacy
from spacy.tokens import Doc, Span

from bert_spacy.cli.evaluate import evaluate
from bert_spacy.cli.report import report
from bert_spacy.data.docbin import write_docbin


def test_gold_tokens_stay_where_spaces_are_unknown(tmp_path):
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "ORG", "pattern": [{"ORTH": "don't"}]}])
    doc = Doc(nlp.vocab, words=["they", "said", "don't"])
    doc.set_ents([Span(doc, 2, 3, label="ORG")], default="outside")
    write_docbin([doc], tmp_path / "gold.spacy")
    assert "don't" not in [token.text for token in nlp.make_doc(doc.text)]
    scores = evaluate(nlp, [tmp_path / "gold.spacy"])
    _, analysis = report(nlp, tmp_path / "gold.spacy", tmp_path / "report")
    assert scores["ents_f"] == analysis.summary["ents_f"] == pytest.approx(1.0)
