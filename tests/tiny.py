"""Tiny random Hugging Face folders, made offline: a few thousand weights each."""

import string
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertModel,
    DistilBertTokenizerFast,
    ElectraConfig,
    ElectraModel,
    ElectraTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizerFast,
)

ARCHITECTURES = ("bert", "albert", "roberta", "distilbert", "electra", "modernbert")
POSITIONS = 64
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    "the",
    "in",
    "of",
    "is",
    "was",
    "who",
    "where",
    "when",
    "paris",
    "london",
    "berlin",
    "anna",
    "bob",
    "lives",
    "works",
    "and",
    "river",
    "city",
    "good",
    "bad",
    "film",
    "team",
    "won",
    "game",
    "play",
    "##ing",
    "##ed",
    "##er",
    "##ly",
]
HAN = list("我你他在是的了不人大中国北京上海天安门球队电影股市房")
LINES = [
    "the team won the game in Paris, and Anna was there.",
    "  Where does Bob live? He lives in London: 伦敦 is far away!",
    "北京是中国的首都。我在上海看电影。",
    "naïve café — ünïcödé \U0001f600",
]


def vocabulary() -> list[str]:
    """Return word pieces: letters, digits, marks, a few words and Han characters."""
    letters = list(string.ascii_lowercase + string.digits)
    marks = list(string.punctuation)
    return [*SPECIAL, *letters, *(f"##{x}" for x in letters), *marks, *WORDS, *HAN]


def make_folder(path: Path, kind: str) -> Path:
    """Save a random model of one architecture, with its fast tokenizer, in a folder."""
    torch.manual_seed(len(kind))
    path.mkdir(parents=True, exist_ok=True)
    tokenizer = _make_tokenizer(path, kind)
    model = _make_model(kind, len(tokenizer))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)  # far enough from nothing to tell apart
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def _make_tokenizer(path: Path, kind: str) -> Any:
    if kind == "roberta":
        bpe = ByteLevelBPETokenizer()
        bpe.train_from_iterator(
            LINES * 3,
            vocab_size=400,
            min_frequency=2,
            show_progress=False,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        )
        bpe.save_model(str(path))
        return RobertaTokenizerFast(str(path / "vocab.json"), str(path / "merges.txt"))
    vocab = path / "vocab.txt"
    vocab.write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    if kind == "modernbert":
        pieces = {piece: i for i, piece in enumerate(vocabulary())}
        backend = Tokenizer(WordPiece(pieces, unk_token="[UNK]"))
        backend.normalizer = BertNormalizer(lowercase=True)
        backend.pre_tokenizer = BertPreTokenizer()
        backend.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B [SEP]",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            unk_token="[UNK]",
            pad_token="[PAD]",
            cls_token="[CLS]",
            sep_token="[SEP]",
            mask_token="[MASK]",
            model_input_names=["input_ids", "attention_mask"],
        )
    classes = {"distilbert": DistilBertTokenizerFast, "electra": ElectraTokenizerFast}
    return classes.get(kind, BertTokenizerFast)(str(vocab))


def _make_model(kind: str, n_pieces: int) -> Any:
    common = {"vocab_size": n_pieces, "max_position_embeddings": POSITIONS}
    usual = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    if kind == "bert":
        return BertModel(BertConfig(**common, **usual))
    if kind == "albert":
        return AlbertModel(AlbertConfig(**common, **usual, embedding_size=8))
    if kind == "electra":
        return ElectraModel(ElectraConfig(**common, **usual, embedding_size=8))
    if kind == "distilbert":
        return DistilBertModel(
            DistilBertConfig(**common, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
        )
    if kind == "roberta":
        common["max_position_embeddings"] += 2
        return RobertaModel(RobertaConfig(**common, **usual, type_vocab_size=1))
    # Newer than the oldest release that the package takes.
    newer = pytest.importorskip("transformers", minversion="4.48")
    return newer.ModernBertModel(
        newer.ModernBertConfig(
            **common,
            **usual,
            global_attn_every_n_layers=2,
            local_attention=8,
            reference_compile=False,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
            cls_token_id=2,
            sep_token_id=3,
        )
    )
