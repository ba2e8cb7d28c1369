"""The contenders of the speed benchmark: that they do the same work."""

import json
from collections import Counter
from importlib import import_module

import pytest
import torch
from transformers import AutoTokenizer

from benchmarks import build
from benchmarks.speed_rows import TRAINING

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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("contender", TRAINING.contenders, ids=lambda c: c.name)
def test_all_that_train_see_the_same_sentences_in_each_round(
    contender, seen, bert, tmp_path, monkeypatch
):
    pytest.importorskip("accelerate" if contender.name == "trainer" else "spacy_transformers")
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
