"""Components that travel to a spawned process work there as here."""

import multiprocessing
import os
import subprocess
import sys

import pytest
import spacy
from spacy.tokens import Doc

from tests.util import HEADS, TEXTS, all_examples, make_nlp

CARRY = """
import multiprocessing.reduction, io, sys, spacy
nlp = spacy.load(sys.argv[1])
buffer = io.BytesIO()
multiprocessing.reduction.ForkingPickler(buffer).dump([pipe for _, pipe in nlp.pipeline])
pipes = multiprocessing.reduction.ForkingPickler.loads(buffer.getvalue())
docs = [nlp.make_doc(text) for text in sys.argv[2:]]
for pipe in pipes:
    docs = list(pipe.pipe(docs, batch_size=3))
assert len(pipes[0].store) == 0, "outputs were not let go"
for doc in docs:
    cats = {k: round(v, 3) for k, v in sorted(doc.cats.items())}
    print(cats, [(e.start, e.end, e.label_) for e in doc.ents])
"""

SPAWN = """
import multiprocessing, sys, spacy
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    nlp = spacy.load(sys.argv[1])
    for doc in nlp.pipe(sys.argv[2:], n_process=2, batch_size=2):
        cats = {k: round(v, 3) for k, v in sorted(doc.cats.items())}
        print(cats, [(e.start, e.end, e.label_) for e in doc.ents])
"""


@pytest.fixture(scope="module")
def saved(bert, tmp_path_factory):
    nlp = make_nlp(bert, HEADS)
    examples = all_examples(nlp)
    nlp.initialize(lambda: examples)
    folder = tmp_path_factory.mktemp("pipeline")
    nlp.to_disk(folder)
    return folder


def describe(doc: Doc) -> str:
    cats = {k: round(v, 3) for k, v in sorted(doc.cats.items())}
    return f"{cats} {[(e.start, e.end, e.label_) for e in doc.ents]}"


@pytest.mark.parametrize(
    "script", [CARRY, pytest.param(SPAWN, marks=pytest.mark.slow)], ids=["carried", "spawned"]
)
def test_components_work_in_another_process(saved, tmp_path, script):
    nlp = spacy.load(saved)
    wanted = [describe(doc) for doc in nlp.pipe(TEXTS)]
    path = tmp_path / "run.py"
    path.write_text(script, encoding="utf8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path), str(saved), *TEXTS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.strip().split("\n")
    assert found == wanted


PROBE = """
import multiprocessing, os, sys, spacy, torch
from spacy.language import Language

class Probe:
    def __init__(self, model):
        self.model = model
        self.home = os.getpid()

    def __call__(self, doc):
        weights = list(self.model.shims[0].encoder.parameters())
        away, threads = os.getpid() != self.home, torch.get_num_threads()
        shared = all(weight.is_shared() for weight in weights)
        doc.user_data["seen"] = [away, threads, shared, os.environ.get("TOKENIZERS_PARALLELISM")]
        return doc

@Language.factory("probe")
def make_probe(nlp, name):
    return Probe(nlp.get_pipe("bert_encoder").model)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    torch.set_num_threads(3)
    nlp = spacy.load(sys.argv[2])
    nlp.add_pipe("probe")
    texts = [text * 40 for text in sys.argv[4:]]
    here, first = [], sys.argv[3]
    if first == "threads":  # other code of the parent has used its threads
        torch.exp(torch.randn(2_000_000))
    if first == "predict":  # on long texts, with threads
        here = [doc.cats for doc in nlp.pipe(texts)]
    there = list(nlp.pipe(texts, n_process=2, batch_size=1))
    here = here or [doc.cats for doc in nlp.pipe(texts)]
    for cats, doc in zip(here, there):
        equal = all(abs(cats[name] - doc.cats[name]) < 1e-4 for name in doc.cats)
        print(equal, *doc.user_data["seen"])
    print(torch.get_num_threads(), "TOKENIZERS_PARALLELISM" in os.environ)
"""


@pytest.mark.parametrize(
    "method, first",
    [
        ("fork", "predict"),
        ("fork", "threads"),
        pytest.param("fork", "nothing", marks=pytest.mark.slow),
        pytest.param("spawn", "predict", marks=pytest.mark.slow),
        pytest.param("spawn", "nothing", marks=pytest.mark.slow),
    ],
)
def test_processes_end_and_share_the_weights(saved, tmp_path, method, first):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system does not {method}")
    path = tmp_path / "run.py"
    path.write_text(PROBE, encoding="utf8")
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path), method, str(saved), first, *TEXTS],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    *seen, parent = done.stdout.strip().split("\n")
    assert parent == "3 False"
    if method == "fork":
        assert "forked" not in done.stderr
        assert seen == ["True True 1 False false"] * len(TEXTS)
    else:
        # A fork has its parent's pages; a spawned process maps memory that both see.
        assert all(line.split()[:4] == ["True", "True", "1", "True"] for line in seen)
