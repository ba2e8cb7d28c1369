"""What a long document or a stream takes in memory is bounded: megabytes, seen in a process of its
own, and Docs that are alive."""

import subprocess
import sys
import weakref

import pytest
from transformers import AutoTokenizer, BertConfig, BertModel

from bert_spacy.layers import inputs
from bert_spacy.pipeline import qa

from ..tiny import POSITIONS
from ..util import HEADS, TEXTS, all_examples, assert_close, make_nlp, predictions, textcat_examples
from .test_stock import MODELS, stock_examples

# Hidden states of these pieces take 49 MB; the encoder keeps 4 MB of them at once.
WIDTH, PIECES, AT_ONCE = 512, 24_000, 2048
# MB that a stream may add to a shorter one, and then a document, with its tokens and windows.
# If all were kept, it would be 59 and 83.
LIMITS = 45, 70

SCRIPT = """
import sys, spacy
from bert_spacy.layers import inputs
def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024
pieces, at_once = map(int, sys.argv[2:])
inputs.TOKENS_AT_ONCE = at_once
nlp = spacy.load(sys.argv[1])
nlp.get_pipe("bert_encoder").model.attrs["spill_bytes"] = at_once * 1024
words = ("anna was in paris and the team won the good game " * pieces).split()
def stream(n):
    return (" ".join(words[:100]) for _ in range(n // 100))
assert sum(len(doc) for doc in nlp.pipe(stream(4 * at_once))) > 3 * at_once
for texts in (stream(pieces), [" ".join(words[:pieces])]):
    before = peak()
    print(sum(len(doc) for doc in nlp.pipe(texts)), peak() - before)
"""


@pytest.fixture(scope="module")
def saved(bert, tmp_path_factory):
    """Return a saved classifier on one layer, thin but for its hidden states."""
    folder = tmp_path_factory.mktemp("memory")
    tokenizer = AutoTokenizer.from_pretrained(bert)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=POSITIONS,
    )
    BertModel(config).save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    nlp = make_nlp(folder / "encoder", ["bert_textcat"])
    nlp.initialize(lambda: textcat_examples(nlp))
    nlp.to_disk(folder / "pipeline")
    return folder / "pipeline"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_a_stream_or_a_document(saved):
    command = [sys.executable, "-c", SCRIPT, str(saved), str(PIECES), str(AT_ONCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line, limit in zip(done.stdout.splitlines(), LIMITS, strict=True):
        tokens, megabytes = map(int, line.split())
        assert tokens == PIECES
        assert megabytes < limit


class Watched:
    """A stream of Docs that counts how many of them are alive when the next one is wanted.

    stream (Iterable[Doc]): The Docs, made as they are read.
    """

    def __init__(self, stream):
        self.stream, self.refs, self.most = stream, [], 0

    def __iter__(self):
        for doc in self.stream:
            self.refs.append(weakref.ref(doc))
            self.most = max(self.most, sum(ref() is not None for ref in self.refs))
            yield doc
            del doc


def run_watched(nlp, n, **settings):
    """Run a stream of short texts whose Docs nobody keeps; return how many lived at once."""
    watched = Watched(nlp.make_doc(TEXTS[i % 4]) for i in range(n))
    assert sum(1 for _ in nlp.pipe(watched, **settings)) == n
    return watched.most


@pytest.fixture
def joint(bert):
    """Return a pipeline with all heads, initialized."""
    nlp = make_nlp(bert, HEADS)
    nlp.initialize(lambda: all_examples(nlp))
    return nlp


# The limits are twice what is encoded together: one round, and the next while it is read.


def test_docs_do_not_wait_for_components_that_have_seen_them(joint):
    assert run_watched(joint, 60, batch_size=5) <= 10
    joint.add_pipe("tagger", config={"model": MODELS["tagger"]})
    joint.get_pipe("tagger").initialize(lambda: stock_examples(joint), nlp=joint)
    assert run_watched(joint, 60, batch_size=5) <= 10


def test_tokens_bound_a_stream_and_change_nothing(joint, monkeypatch):
    texts = [f"{text}{' and' * i}" for i in range(10) for text in TEXTS]
    wanted = predictions(joint.pipe(texts))
    monkeypatch.setattr(inputs, "TOKENS_AT_ONCE", 16)  # the four texts
    assert run_watched(joint, 60) <= 8
    assert_close(predictions(joint.pipe(texts)), wanted, 1e-4)
    for head in HEADS[:2]:
        joint.replace_listeners("bert_encoder", head, ["model.encoder"])
    with joint.select_pipes(enable=HEADS[:2]):
        assert run_watched(joint, 60) <= 8


def test_questions_are_made_as_earlier_ones_are_answered(joint, monkeypatch):
    joint.get_pipe("bert_qa").null_threshold = 1e9
    doc = joint("anna was in paris and the team won the game")
    questions = [f"where was anna {i}" for i in range(40)]
    wanted = [[answer.text for answer in found] for found in doc._.ask(questions)]
    assert all(wanted)
    watched, make = [], qa.make_questions

    def watch(*args):
        watched.append(Watched(make(*args)))
        return watched[-1]

    monkeypatch.setattr(qa, "make_questions", watch)
    monkeypatch.setattr(inputs, "TOKENS_AT_ONCE", 60)  # four questions, each with the context
    assert [[answer.text for answer in found] for found in doc._.ask(questions)] == wanted
    assert len(watched[0].refs) == 40 and watched[0].most <= 8


@pytest.mark.parametrize("from_start", [False, True])
def test_reading_once_more_keeps_no_outputs(bert, monkeypatch, from_start):
    monkeypatch.setattr(inputs, "TOKENS_AT_ONCE", 64)
    nlp = make_nlp(bert, HEADS)
    nlp.initialize(lambda: all_examples(nlp))
    docs = [nlp.make_doc(text) for text in TEXTS * 20]
    store = nlp.get_pipe("bert_encoder").store
    ner = nlp.get_pipe("bert_ner")
    kept = [len(store) for _ in ner.read_outputs(docs, from_start=from_start)]
    assert len(kept) > 2 and max(kept) == 0
