"""Layers read from Hugging Face models compute what those models compute."""

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel

from bert_spacy.nn.blocks import embed, mask_bias, pool, read_stack, run_block

KINDS = ("bert", "albert", "roberta", "distilbert", "electra")


def windows(types=True):
    """Return ids, mask and segment ids of three windows, one of them padded."""
    ids = torch.randint(5, 40, (3, 12))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    segments = torch.zeros_like(ids)
    segments[:, 6:] = 1
    return ids, mask, segments if types else None


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_compute_what_the_model_does(tiny_folder, kind):
    model = AutoModel.from_pretrained(tiny_folder(kind)).eval()
    has_types = kind in ("bert", "albert", "electra")
    ids, mask, types = windows(has_types)
    stack = read_stack(model)
    assert stack is not None
    with torch.no_grad():
        x = embed(model, ids, types)
        for block in stack.blocks:
            x, _ = run_block(block, stack, x, mask_bias(mask))
        extra = {"token_type_ids": types} if has_types else {}
        wanted = model(input_ids=ids, attention_mask=mask, **extra)
    real = mask.bool()
    torch.testing.assert_close(x[real], wanted.last_hidden_state[real], atol=1e-5, rtol=1e-5)
    if getattr(model, "pooler", None) is not None:
        torch.testing.assert_close(pool(model, x), wanted.pooler_output, atol=1e-5, rtol=1e-5)


def test_layers_that_share_weights_share_a_block(tiny_folder):
    blocks = read_stack(AutoModel.from_pretrained(tiny_folder("albert"))).blocks
    assert len(blocks) == 2 and blocks[0] is blocks[1]


def test_architectures_that_compute_otherwise_have_no_stack(tiny_folder):
    assert read_stack(AutoModel.from_pretrained(tiny_folder("modernbert"))) is None
    small = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    assert read_stack(BertModel(BertConfig(**small, hidden_act="silu"))) is None
    relative = BertConfig(**small, position_embedding_type="relative_key")
    assert read_stack(BertModel(relative)) is None
