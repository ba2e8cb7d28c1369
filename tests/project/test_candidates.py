"""The example that picks texts to annotate runs on a pipeline and sorts by doubt."""

import json
import runpy
from pathlib import Path

import pytest

from ..util import trained

EXAMPLE = Path(__file__).parents[2] / "examples" / "candidates.py"


def test_doubtful_texts_come_first(bert, tmp_path, capsys):
    if not EXAMPLE.exists():
        pytest.skip("the examples are not installed with the package")
    nlp = trained(bert, ["bert_ner"], steps=60)
    nlp.get_pipe("bert_ner").cfg["temperature"] = 4.0
    nlp.to_disk(tmp_path / "pipeline")
    texts = tmp_path / "texts.txt"
    texts.write_text("bob lives in london\n\na good film\nanna and bob in berlin\n")
    module = runpy.run_path(str(EXAMPLE))
    module["main"](str(tmp_path / "pipeline"), str(texts))
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 3
    doubts = []
    for row in rows:
        spans = [*row["entities"], *row["candidates"]]
        assert all(row["text"][s["start"] : s["end"]] == s["text"] for s in spans)
        assert all(0 <= s["score"] <= 1 for s in spans)
        doubts.append(sum(4 * s["score"] * (1 - s["score"]) for s in spans))
    assert doubts == pytest.approx(sorted(doubts, reverse=True), abs=1e-3)
