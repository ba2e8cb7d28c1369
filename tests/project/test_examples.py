"""The other examples run as they stand, on a tiny model."""

import os
import runpy
import sys
from pathlib import Path

import pytest
from spacy.tokens import DocBin

from bert_spacy import make_pair

from ..util import make_nlp, textcat_examples

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.skipif(
    not EXAMPLES.exists(), reason="the examples are not installed with the package"
)


@pytest.mark.parametrize("name", ["candidates", "choice", "elmo", "new_encoder", "resume"])
def test_without_arguments_they_show_their_usage(name, monkeypatch):
    path = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path)])
    with pytest.raises(SystemExit, match=rf"python examples/{name}.py "):
        runpy.run_path(str(path), run_name="__main__")


def test_pairs_are_learnt(bert, capsys):
    module = runpy.run_path(str(EXAMPLES / "pair.py"))
    nlp = module["main"](str(bert), 3)
    assert "step 3: loss" in capsys.readouterr().out
    doc = nlp(make_pair(nlp, "One sentence.", "Another."))
    assert set(doc.cats) == {"follows", "contradicts"}
    assert sum(doc.cats.values()) == pytest.approx(1, abs=1e-5)


def test_a_killed_run_goes_on(bert, tmp_path, capfd):
    nlp = make_nlp(bert, ["bert_textcat"])
    config = nlp.config
    config["paths"] = {"train": "", "dev": "", "vectors": None, "init_tok2vec": None}
    for part in ("train", "dev"):
        config["corpora"][part] = {"@readers": "bert-spacy.Corpus.v1", "path": f"${{paths.{part}}}"}
    config["training"].update(max_steps=12, eval_frequency=6)
    config.to_disk(tmp_path / "config.cfg")
    data = tmp_path / "data.spacy"
    DocBin(docs=[eg.reference for eg in textcat_examples(nlp)]).to_disk(data)
    module = runpy.run_path(str(EXAMPLES / "resume.py"))
    module["main"](str(data), str(data), str(tmp_path / "config.cfg"))
    out = capfd.readouterr().out
    assert "Killed. Checkpoints: ['step-" in out
    assert "Done: True" in out


def test_a_vocabulary_is_changed(bert, capsys):
    runpy.run_path(str(EXAMPLES / "extend_vocabulary.py"))["main"](str(bert))
    out = capsys.readouterr().out
    assert "3 words added" in out
    sizes = [int(line.split()[0]) for line in out.splitlines()[-3:]]
    assert sizes[1] == sizes[0] + 3 and sizes[2] < sizes[1]


def test_a_checkpoint_goes_there_and_back(bert, capsys):
    runpy.run_path(str(EXAMPLES / "tensorflow_checkpoint.py"))["main"](str(bert))
    out = capsys.readouterr().out
    assert "BertModel, 39 tensors" in out and "SHA-256 of model.safetensors" in out


def test_a_new_encoder_is_trained(tmp_path, capfd):
    pytest.importorskip("accelerate")
    lines = [f"The {what} is {how}." for what in ("cat", "dog", "bird") for how in ("old", "new")]
    (tmp_path / "texts.txt").write_text("\n".join(lines * 10), encoding="utf-8")
    module = runpy.run_path(str(EXAMPLES / "new_encoder.py"))
    module["main"](str(tmp_path / "texts.txt"), 3)
    out = capfd.readouterr().out
    assert "Perplexity of masked pieces" in out and "the [MASK] ." in out
    assert out.splitlines()[-1].endswith(", 64])")


def test_an_elmo_reads_texts(capsys):
    pytest.importorskip("h5py")
    shared = Path(os.environ.get("BERT_SPACY_DATA", EXAMPLES.parents[1] / "shared"))
    folder = shared / "fixtures" / "elmo"
    if not folder.is_dir():
        pytest.skip(f"no ELMo at {folder}; set BERT_SPACY_DATA to its parent")
    module = runpy.run_path(str(EXAMPLES / "elmo.py"))
    module["main"](str(folder / "options.json"), str(folder / "lm_weights.hdf5"))
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "Width 32"
    similarities = [float(line.rpartition(" ")[2]) for line in others]
    assert len(similarities) == 2 and all(0 < value < 1 for value in similarities)
