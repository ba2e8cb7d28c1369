"""Charts of labels whose letters a font may not have."""

from types import SimpleNamespace

import numpy as np
import pytest

from bert_spacy.report import png
from bert_spacy.report.render import MAX_MATRIX
from bert_spacy.report.trust import LabelCurve


def draw(monkeypatch, tmp_path, labels):
    """Return the chart of a matrix and that of curves of some labels, the later the more often."""
    one = np.ones(2)
    curves = [LabelCurve(label, one, one, 1.0, 0.5, (1.0, 1.0), 1) for label in labels]
    classes = SimpleNamespace(
        labels=labels, matrix=np.diag(np.arange(len(labels))), is_exclusive=True, bins=[]
    )
    trust = SimpleNamespace(
        name="bert_ner", before=None, now=SimpleNamespace(bins=[]), curves=curves
    )
    analysis = SimpleNamespace(classes=[classes], curves=None, targets=[], trust=[trust])
    figures = {}
    monkeypatch.setattr(png, "_save", lambda figure, path: figures.setdefault(path.stem, figure))
    png.write_pngs(analysis, tmp_path)
    return [figures[name].axes[0] for name in ("confusion", "precision-recall-bert_ner")]


@pytest.mark.parametrize(
    ("labels", "names", "says"),
    [
        (["人名", "地址"], ["1", "2"], True),
        (["PER", "1$"], ["PER", r"1\$"], False),
        (["_misc", "A"], ["_misc", "A"], False),
    ],
)
def test_numbers_stand_for_other_letters_and_say_what_they_count(
    monkeypatch, tmp_path, labels, names, says
):
    matrix, curves = draw(monkeypatch, tmp_path, labels)
    assert [text.get_text() for text in matrix.get_xticklabels()] == names
    assert ("rows of the label table" in matrix.get_ylabel()) == says
    legend = curves.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == names
    assert ("rows of the table" in legend.get_title().get_text()) == says


def test_numbers_are_rows_of_the_table_where_rare_labels_are_put_together(monkeypatch, tmp_path):
    labels = [f"类{i}" for i in range(MAX_MATRIX + 5)]
    matrix, _ = draw(monkeypatch, tmp_path, labels)
    names = [text.get_text() for text in matrix.get_yticklabels()]
    # The rarest come first here.
    assert names == [*(str(i) for i in range(7, MAX_MATRIX + 6)), "(others)"]
