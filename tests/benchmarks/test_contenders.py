"""The contenders of the speed benchmark: that they do the same work."""

import json
from collections import Counter
from importlib import import_module

import pytest
import torch
from transformers import AutoTokenizer

from benchmarks import build, texts
from benchmarks.speed_rows import TRAINING
from tests.util import make_nlp

WORDS = ("paris", "london", "berlin", "anna", "bob", "river", "city", "film", "team", "game")


@pytest.fixture
def seen(monkeypatch):
    """Record the pieces of each row that goes into the embeddings of words of any encoder."""
    rows = []
    forward = torch.nn.Embedding.forward

    def record(module, ids):
        if module.num_embeddings > 100:
            rows.extend(tuple(x for x in row if x) for row in ids.tolist())  # 0 is padding
        return forward(module, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", record)
    return rows


@pytest.fixture
def own_precision(monkeypatch):
    """Keep the precision of a Trainer from all that come later in this process."""
    state = pytest.importorskip("accelerate.state").AcceleratorState
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    yield
    state._reset_state(reset_partial_state=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("contender", TRAINING.contenders, ids=lambda c: c.name)
def test_all_that_train_see_the_same_sentences_in_each_round(
    contender, seen, bert, tmp_path, monkeypatch, request
):
    if contender.name == "trainer":
        request.getfixturevalue("own_precision")
    monkeypatch.setattr(build, "WEIGHTS", str(bert))
    sentences = [f"the {a} is {b}" for a in WORDS for b in ("good", "bad")]
    batches = [list(range(i, i + 4)) for i in (8, 0, 16, 4, 12)]
    inputs = {
        "sentences": sentences,
        "labels": [i % 2 for i in range(20)],
        "batches": batches,
        "check": ["anna won"],
    }
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))
    settings = {
        "inputs": str(tmp_path / "inputs.json"),
        "threads": 1,
        "batches": 2,
        **contender.settings,
        "classifier": str(bert),
    }
    if "pad_to" in settings:
        settings["pad_to"] = 32  # a tiny encoder has 64 places
    module = import_module(f"benchmarks.contenders.{contender.module}")
    one = getattr(module, contender.kind)(settings)
    one.answers()  # walks over the first two batches
    tokenizer = AutoTokenizer.from_pretrained(bert)
    for numbers in ((2, 3), (4, 0), (1, 2)):
        seen.clear()
        one.run()
        numbers = numbers[: settings.get("steps")]
        texts = [sentences[i] for number in numbers for i in batches[number]]
        assert Counter(seen) == Counter(tuple(x) for x in tokenizer(texts)["input_ids"])


# Texts for calibration.


def word_ends(text):
    """A tokenizer whose pieces are words."""
    ends, at = [], 0
    for word in text.split():
        at = text.index(word, at) + len(word)
        ends.append(at)
    return ends


def make_lines(name, n, length):
    """Lines that share no word; each ends in a space, which Chinese is joined without."""
    return [" ".join(f"{name}{i}-{k}" for k in range(length)) + " " for i in range(n)]


@pytest.fixture(params=["corpus", "data"])
def words_of(request, monkeypatch):
    """Give a function from texts to their words, each of which comes from one item of a source."""
    news = make_lines("corpus", 60, 9)
    monkeypatch.setattr(texts, "read_corpus", lambda lang: news + news[:11])
    pairs = [{"question": f"q{i}", "context": f"context{i // 3}"} for i in range(120)]
    monkeypatch.setattr(texts, "read_questions", lambda folder: pairs)
    monkeypatch.setattr(texts, "data_folder", lambda: "data" if request.param == "data" else None)
    pools = {
        "sentence": make_lines("s", 800, 9) * 2,
        "paragraph": make_lines("p", 50, 120),
        "news": make_lines("n", 30, 400),
    }
    monkeypatch.setattr(texts, "read_pools", lambda data: pools)
    # The last word of a text may be cut, but never inside of the number of its item.
    return lambda found: {word.split("-")[0] for text in found for word in text.split()}


def test_calibration_has_no_item_of_what_is_measured(words_of):
    inputs = texts.make_inputs(64, 24, word_ends, word_ends)
    measured = {key: inputs[key] for key in inputs["pieces"]}
    assert {"texts", "texts_zh", "sentences", "length-8"} <= set(measured)
    words = words_of([text for found in measured.values() for text in found])
    for key in ("calibration", "calibration_zh"):
        assert len(inputs[key]) == texts.N_CALIBRATION
        assert not words & words_of(inputs[key])
    contexts = {pair["context"] for pair in inputs["questions"]}
    assert not contexts & {pair["context"] for pair in inputs["calibration_questions"]}
    assert len(inputs["calibration_questions"]) == 12


def test_only_texts_for_calibration_make_assets(bert, tmp_path, monkeypatch):
    nlp = make_nlp(bert, ["bert_textcat", "bert_ner"])
    for name in ("bert_textcat", "bert_ner"):
        nlp.get_pipe(name).add_label("A")
    nlp.get_pipe("bert_textcat").add_label("B")
    build.initialize(nlp)
    monkeypatch.setattr(build, "make_pipeline", lambda *args: nlp)
    known = {"calibration": ["the team won", "anna was in paris", "bob lives in london"]}
    assets = build.Assets(tmp_path, known)
    saved = list(
        build.DocBin().from_disk(assets.get("calibration") / "dev.spacy").get_docs(nlp.vocab)
    )
    assert [doc.text for doc in saved] == known["calibration"]


def test_the_cache_of_another_mode_is_another(words_of):
    quick, full = (texts.make_inputs(n, 24, word_ends, word_ends) for n in (64, 80))
    assert build.cache_key(quick) == build.cache_key(json.loads(json.dumps(quick)))
    assert build.cache_key(quick) != build.cache_key(full)
