"""What a long document or a stream takes in memory is bounded, seen in a process of its own."""

import subprocess
import sys

import pytest
from transformers import AutoTokenizer, BertConfig, BertModel

from ..tiny import POSITIONS
from ..util import make_nlp, textcat_examples

# Hidden states of these pieces take 49 MB; the encoder keeps 4 MB of them at once.
WIDTH, PIECES, AT_ONCE = 512, 24_000, 2048
# MB that a stream may add to a shorter one, and then a document, with its tokens and windows.
# If all were kept, it would be 59 and 83.
LIMITS = 45, 70

SCRIPT = """
import sys, spacy
from bert_spacy.pipeline import encoder as module
def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024
pieces, at_once = map(int, sys.argv[2:])
module.TOKENS_AT_ONCE = at_once
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
