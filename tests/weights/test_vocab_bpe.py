"""Vocabularies of BPE that marks the ends or the middles of words."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from bert_spacy.weights.vocab.prune import prune

from ..tiny import SPECIAL
from .vocab_tools import pieces_of, save_with

TRAINED = [
    "the team won the game in paris",
    "quick zebra box fox jumps over lazy dogs",
    *"abcdefghijklmnopqrstuvwxyz",
]
OTHER = ["quick zebra", "box dog q", "jumps"]


def make_bpe(path, **marks):
    """Save a tiny BERT whose BPE has a suffix, as that of HerBERT and XLM, or a prefix."""
    backend = Tokenizer(models.BPE(unk_token="[UNK]", **marks))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, show_progress=False, **marks
    )
    backend.train_from_iterator(TRAINED * 5, trainer)
    return save_with(path, backend)


@pytest.mark.parametrize(
    "marks", [{"end_of_word_suffix": "</w>"}, {"continuing_subword_prefix": "##"}]
)
@pytest.mark.parametrize("min_count", [1, 3])
def test_marked_pieces_of_other_text_and_merges_stay(tmp_path, marks, min_count):
    raw = make_bpe(tmp_path / "raw", **marks)
    corpus = tmp_path / "c.txt"
    corpus.write_text("the team won the game in paris\n" * 3, encoding="utf-8")
    report = prune(str(raw), [corpus], tmp_path / "new", min_count=min_count)
    assert report["vocabulary"]["after"] < report["vocabulary"]["before"]
    assert report["texts_changed"] == 0
    text = "the team won in paris"
    assert pieces_of(tmp_path / "new", text) == pieces_of(raw, text)
    assert len(pieces_of(raw, text)) == 5
    for other in OTHER:
        assert "[UNK]" not in pieces_of(raw, other)
        pieces = pieces_of(tmp_path / "new", other)
        assert "[UNK]" not in pieces and len(pieces) > len(pieces_of(raw, other))
