"""The commands of `vocab` on fetched weights and real text."""

import os
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from bert_spacy.sources import SOURCES, alias_path, missing_parts
from bert_spacy.weights.vocab.analyze import analyze
from bert_spacy.weights.vocab.extend import extend
from bert_spacy.weights.vocab.prune import prune

from .vocab_tools import hidden, pieces_of

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("BERT_SPACY_DATA", ROOT.parent / "shared")) / "data" / "raw_text"
CASES = [("minilm-l6-en", "en_wikitext2_valid_test.txt"), ("albert-tiny-zh", "zh_d2l.txt")]
LINES, COMPARED = 1500, 40
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not DATA.is_dir(), reason=f"no texts at {DATA}; set BERT_SPACY_DATA to their folder"
    ),
]


@pytest.fixture(params=CASES, ids=[alias for alias, _ in CASES])
def case(request, tmp_path):
    """Return an alias, a file with the first lines of a corpus, and these lines."""
    alias, name = request.param
    if missing_parts(alias_path(alias)):
        pytest.skip(f"the weights {alias} are not fetched")
    with (DATA / name).open(encoding="utf-8") as file_:
        lines = [line.strip() for line in islice(file_, LINES) if line.strip()]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(lines), encoding="utf-8")
    return alias, corpus, lines


def test_pruned_weights_say_the_same_of_their_corpus(case, tmp_path):
    alias, corpus, lines = case
    report = prune(alias, [corpus], tmp_path / "new")
    sizes = report["megabytes"]
    assert sizes["after"]["weights"] < 0.85 * sizes["before"]["weights"]
    folder = alias_path(alias)
    old, new = (AutoTokenizer.from_pretrained(path) for path in (folder, tmp_path / "new"))
    for line in lines:
        assert old.tokenize(line) == new.tokenize(line)
    for line in lines[:COMPARED]:
        assert torch.equal(hidden(folder, line)[1], hidden(tmp_path / "new", line)[1])
    assert SOURCES[alias].licence in (tmp_path / "new" / "README.md").read_text(encoding="utf-8")


def test_extended_weights_say_the_same_of_text_without_new_words(case, tmp_path):
    alias, corpus, lines = case
    lang = SOURCES[alias].language
    if lang == "zh":
        pytest.importorskip("jieba")
    segmenter = "jieba" if lang == "zh" else "char"
    found = analyze(
        alias, [corpus], tmp_path / "out.json", lang=lang, segmenter=segmenter, top=50
    )  # fmt: skip
    report = extend(alias, tmp_path / "out.txt", tmp_path / "new")
    assert report["added"] == 50 == len(found["proposed"])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "new")
    for row in report["words"]:
        ids = tokenizer(row["word"], add_special_tokens=False)["input_ids"]
        assert ids == [row["id"]]
    words = [row["word"].lower() for row in report["words"]]
    plain = [line for line in lines if not any(word in line.lower() for word in words)]
    assert len(plain) > COMPARED
    folder = alias_path(alias)
    for line in plain[:COMPARED]:
        assert pieces_of(folder, line) == pieces_of(tmp_path / "new", line)
        assert torch.equal(hidden(folder, line)[1], hidden(tmp_path / "new", line)[1])
