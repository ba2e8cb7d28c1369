"""`pair_overflow`: pairs that are too long for one window, cut as the user asks and counted."""

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin, Span
from spacy.training import Example

from bert_spacy.data.pairs import make_pair, make_question
from bert_spacy.report.analysis import analyse
from bert_spacy.report.render import render

from ..util import make_nlp, predictions, train_steps, trained

LONG = "the team won the game and anna was in paris with the good film"
HEADS = ["bert_textcat", "bert_ner"]
WINDOW = 16
# Pieces of a pair of two such texts, less what stands beside three special ones.
N_CUT = 2 * 17 - (WINDOW - 3)


@pytest.fixture(scope="module")
def nlp(bert):
    return trained(bert, HEADS, window=WINDOW, stride=8, pair_overflow="longest_first")


def make_docs(nlp):
    return [
        make_pair(nlp, LONG, LONG),
        nlp.make_doc(LONG),
        make_pair(nlp, "a film", "good"),
        make_question(nlp, "who", LONG),
        make_pair(nlp, LONG, "bob"),
    ]


def test_a_cut_pair_has_one_window_and_is_counted(nlp):
    message = rf"\[BW002\] 2 of 5 Docs .*{WINDOW} pieces\. {N_CUT + 18 - 13} pieces .*the team won"
    with pytest.warns(UserWarning, match=message):
        layout = nlp.get_pipe("bert_encoder").predict(make_docs(nlp)).layout
    windows, pieces = np.diff(layout.doc_windows), np.diff(layout.doc_pieces)
    assert (windows == 1).tolist() == [True, False, True, False, True]
    assert pieces[[0, 1, 4]].tolist() == [WINDOW - 3, 17, WINDOW - 3]
    # What is left is the beginning of each text, as of two of the same length.
    first, second = (layout.piece_ids[:13][layout.piece_segment[:13] == i] for i in (0, 1))
    assert (len(first), len(second)) == (7, 6)
    assert first[:6].tolist() == second.tolist() == layout.piece_ids[13:19].tolist()


def test_a_cut_pair_is_predicted_as_the_shorter_pair(nlp):
    words = LONG.split()
    first = make_pair(nlp, LONG, LONG)
    pieces = [len(nlp.get_pipe("bert_encoder").predict([nlp.make_doc(w)]).hidden) for w in words]
    assert sum(pieces) == 17
    kept = [" ".join(words[: np.searchsorted(np.cumsum(pieces), n) + 1]) for n in (7, 6)]
    with pytest.warns(UserWarning, match=r"\[BW002\] 1 of 1"):
        doc = nlp(first)
    assert doc.cats == pytest.approx(nlp(make_pair(nlp, *kept)).cats, abs=1e-5)


def test_training_says_once_what_is_cut(bert):
    nlp = trained(bert, HEADS, window=WINDOW, stride=8, pair_overflow="longest_first")
    gold = make_pair(nlp, LONG, LONG)
    gold.cats = {"city": 1.0, "film": 0.0, "sport": 0.0}
    # The last token is cut off.
    gold.set_ents([Span(gold, 0, 1, "LOC"), Span(gold, len(gold) - 1, len(gold), "LOC")])
    example = Example(make_pair(nlp, LONG, LONG), gold)
    with pytest.warns(UserWarning, match=rf"\[BW002\] 1 of 1 Docs .*{N_CUT} pieces") as found:
        losses = train_steps(nlp, [example], 2)
    assert len(found) == 1
    assert all(np.isfinite(list(x.values())).all() for x in losses)
    assert losses[0]["bert_textcat"] > 0 and losses[0]["bert_ner"] > 0
    with pytest.warns(UserWarning, match=r"\[BW002\] 1 of 1"):
        nlp(example.predicted)


def test_windows_are_the_default_and_what_older_pipelines_have(nlp, tmp_path, recwarn):
    config = nlp.config.copy()
    assert config["components"]["bert_encoder"]["model"].pop("pair_overflow") == "longest_first"
    nlp.to_disk(tmp_path)
    config.to_disk(tmp_path / "config.cfg")
    old = spacy.load(tmp_path)
    model = old.get_pipe("bert_encoder").model
    assert model.attrs["pair_overflow"] == "window"
    wanted = predictions(old.pipe(make_docs(old)))
    layout = model.predict(make_docs(old)).layout
    assert np.diff(layout.doc_windows)[0] > 1 and np.diff(layout.doc_pieces)[4] == 18
    # Bytes of a pipeline that was made before there was the setting.
    del model.attrs["pair_overflow"]
    again = spacy.load(tmp_path).from_bytes(old.to_bytes())
    assert again.get_pipe("bert_encoder").model.attrs["pair_overflow"] == "window"
    assert predictions(again.pipe(make_docs(again))) == wanted
    assert not [w for w in recwarn if "BW002" in str(w.message)]


def test_the_setting_is_saved(nlp, tmp_path):
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert again.get_pipe("bert_encoder").model.attrs["pair_overflow"] == "longest_first"
    with pytest.warns(UserWarning, match=r"\[BW002\] 2 of 5"):
        list(again.pipe(make_docs(again)))


def test_an_unknown_value_is_refused(bert):
    with pytest.raises(ValueError, match=r"\[B209\].*'only_first'.*window, longest_first"):
        make_nlp(bert, pair_overflow="only_first")


@pytest.mark.filterwarnings("ignore:.*BW00[12]")
def test_the_report_counts_what_was_cut(bert, nlp):
    def count(pipeline):
        docs = make_docs(pipeline)
        for doc in docs:
            doc.cats = {"city": 1.0, "film": 0.0, "sport": 0.0}
        docs = list(DocBin(docs=docs * 2).get_docs(pipeline.vocab))
        analysis = analyse(pipeline, docs)
        return analysis.cut_docs, analysis.cut_pieces, "pair_overflow" in render(analysis)

    assert count(nlp) == (4, 2 * (N_CUT + 18 - 13), True)
    # Read in windows over the first text, the second is cut to leave it a quarter of each.
    wide = WINDOW - 3
    lost = 17 - (wide - wide // 4)
    assert count(trained(bert, HEADS, window=WINDOW, stride=8)) == (2, 2 * lost, True)
    assert count(trained(bert, HEADS)) == (0, 0, False)
