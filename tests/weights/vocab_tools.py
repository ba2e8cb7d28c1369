"""Tiny folders and plain measurements for the tests of vocabularies."""

import hashlib

import torch
from tokenizers import processors
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    PreTrainedTokenizerFast,
)

from ..tiny import POSITIONS, vocabulary

PLAIN = [
    "the team won the game in Paris, and Anna was there.",
    "北京是中国的首都。我在上海看电影。",
    "naïve café — ünïcödé",
]


def make_masked(path, n_unused=3, **settings):
    """Save a tiny BERT with its masked-word head, and with some unused pieces."""
    path.mkdir()
    pieces = vocabulary()
    pieces[5:5] = [f"[unused{i}]" for i in range(1, n_unused + 1)]
    (path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(str(path / "vocab.txt"))
    config = BertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=POSITIONS,
        **{"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32, **settings},
        num_attention_heads=2,
    )
    model = BertForMaskedLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def save_with(path, backend):
    """Save a tiny BERT of random weights with a tokenizer whose pieces begin with `SPECIAL`."""
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(tokenizer), num_attention_heads=2, **sizes)
    BertForMaskedLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def hidden(folder, text):
    """Return ids and hidden states of a text by the plain classes."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(text, return_tensors="pt", truncation=True, max_length=POSITIONS)
    with torch.inference_mode():
        return batch["input_ids"][0].tolist(), model(**batch).last_hidden_state


def pieces_of(folder, text):
    """Return the pieces of a text as strings, without special ones."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokenizer.convert_ids_to_tokens(ids)


def checksums(folder):
    """Return the checksum of each file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
