"""Components that travel to a spawned process work there as here."""

import subprocess
import sys

import pytest
import spacy
from spacy.tokens import Doc

from tests.util import HEADS, TEXTS, make_nlp, ner_examples, qa_examples, textcat_examples

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
    examples = [*textcat_examples(nlp), *ner_examples(nlp), *qa_examples(nlp)]
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
