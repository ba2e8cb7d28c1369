"""Tiny random models, and their tensors under the names that TensorFlow's programs give them.

The tables are written out by hand: the original name on the left, where the tensor is in the
Hugging Face model on the right. `T` marks what is stored transposed.
"""

import json

import torch
from transformers import (
    AlbertConfig,
    AlbertForPreTraining,
    BertConfig,
    BertForPreTraining,
    BertTokenizerFast,
)

from bert_spacy.weights.tf.bundle import write_bundle

from ..tiny import vocabulary

EMBEDDINGS = """
bert/embeddings/word_embeddings        embeddings.word_embeddings.weight
bert/embeddings/position_embeddings    embeddings.position_embeddings.weight
bert/embeddings/token_type_embeddings  embeddings.token_type_embeddings.weight
bert/embeddings/LayerNorm/gamma        embeddings.LayerNorm.weight
bert/embeddings/LayerNorm/beta         embeddings.LayerNorm.bias
"""
BERT_LAYER = """
attention/self/query/kernel       attention.self.query.weight T
attention/self/query/bias         attention.self.query.bias
attention/self/key/kernel         attention.self.key.weight T
attention/self/key/bias           attention.self.key.bias
attention/self/value/kernel       attention.self.value.weight T
attention/self/value/bias         attention.self.value.bias
attention/output/dense/kernel     attention.output.dense.weight T
attention/output/dense/bias       attention.output.dense.bias
attention/output/LayerNorm/gamma  attention.output.LayerNorm.weight
attention/output/LayerNorm/beta   attention.output.LayerNorm.bias
intermediate/dense/kernel         intermediate.dense.weight T
intermediate/dense/bias           intermediate.dense.bias
output/dense/kernel               output.dense.weight T
output/dense/bias                 output.dense.bias
output/LayerNorm/gamma            output.LayerNorm.weight
output/LayerNorm/beta             output.LayerNorm.bias
"""
BERT_HEADS = """
bert/pooler/dense/kernel                  bert.pooler.dense.weight T
bert/pooler/dense/bias                    bert.pooler.dense.bias
cls/predictions/output_bias               cls.predictions.bias
cls/predictions/transform/dense/kernel    cls.predictions.transform.dense.weight T
cls/predictions/transform/dense/bias      cls.predictions.transform.dense.bias
cls/predictions/transform/LayerNorm/gamma cls.predictions.transform.LayerNorm.weight
cls/predictions/transform/LayerNorm/beta  cls.predictions.transform.LayerNorm.bias
cls/seq_relationship/output_weights       cls.seq_relationship.weight
cls/seq_relationship/output_bias          cls.seq_relationship.bias
"""
ALBERT_LAYER = """
attention_1/self/query/kernel           attention.query.weight T
attention_1/self/query/bias             attention.query.bias
attention_1/self/key/kernel             attention.key.weight T
attention_1/self/key/bias               attention.key.bias
attention_1/self/value/kernel           attention.value.weight T
attention_1/self/value/bias             attention.value.bias
attention_1/output/dense/kernel         attention.dense.weight T
attention_1/output/dense/bias           attention.dense.bias
LayerNorm/gamma                         attention.LayerNorm.weight
LayerNorm/beta                          attention.LayerNorm.bias
ffn_1/intermediate/dense/kernel         ffn.weight T
ffn_1/intermediate/dense/bias           ffn.bias
ffn_1/intermediate/output/dense/kernel  ffn_output.weight T
ffn_1/intermediate/output/dense/bias    ffn_output.bias
LayerNorm_1/gamma                       full_layer_layer_norm.weight
LayerNorm_1/beta                        full_layer_layer_norm.bias
"""
ALBERT_HEADS = """
bert/encoder/embedding_hidden_mapping_in/kernel  albert.encoder.embedding_hidden_mapping_in.weight T
bert/encoder/embedding_hidden_mapping_in/bias    albert.encoder.embedding_hidden_mapping_in.bias
bert/pooler/dense/kernel                         albert.pooler.weight T
bert/pooler/dense/bias                           albert.pooler.bias
cls/predictions/output_bias                      predictions.bias
cls/predictions/transform/dense/kernel           predictions.dense.weight T
cls/predictions/transform/dense/bias             predictions.dense.bias
cls/predictions/transform/LayerNorm/gamma        predictions.LayerNorm.weight
cls/predictions/transform/LayerNorm/beta         predictions.LayerNorm.bias
cls/seq_relationship/output_weights              sop_classifier.classifier.weight
cls/seq_relationship/output_bias                 sop_classifier.classifier.bias
"""
OBJECT_LAYER = """
_attention_layer/_query_dense/kernel  attention.self.query.weight T
_attention_layer/_query_dense/bias    attention.self.query.bias
_attention_layer/_key_dense/kernel    attention.self.key.weight T
_attention_layer/_key_dense/bias      attention.self.key.bias
_attention_layer/_value_dense/kernel  attention.self.value.weight T
_attention_layer/_value_dense/bias    attention.self.value.bias
{dense}/kernel                        attention.output.dense.weight T
{dense}/bias                          attention.output.dense.bias
_attention_layer_norm/gamma           attention.output.LayerNorm.weight
_attention_layer_norm/beta            attention.output.LayerNorm.bias
_intermediate_dense/kernel            intermediate.dense.weight T
_intermediate_dense/bias              intermediate.dense.bias
_output_dense/kernel                  output.dense.weight T
_output_dense/bias                    output.dense.bias
_output_layer_norm/gamma              output.LayerNorm.weight
_output_layer_norm/beta               output.LayerNorm.bias
"""
OBJECT_HEADS = """
masked_lm/output_bias.Sbias                   cls.predictions.bias
masked_lm/dense/kernel                        cls.predictions.transform.dense.weight T
masked_lm/dense/bias                          cls.predictions.transform.dense.bias
masked_lm/layer_norm/gamma                    cls.predictions.transform.LayerNorm.weight
masked_lm/layer_norm/beta                     cls.predictions.transform.LayerNorm.bias
masked_lm/embedding_table                     bert.embeddings.word_embeddings.weight
model/classification_heads/0/out_proj/kernel  cls.seq_relationship.weight T
model/classification_heads/0/out_proj/bias    cls.seq_relationship.bias
"""
# By the numbers of the layers of the encoder; the last two are ALBERT's alone.
OBJECT_EMBEDDINGS = """
0/embeddings  embeddings.word_embeddings.weight
1/embeddings  embeddings.position_embeddings.weight
2/embeddings  embeddings.token_type_embeddings.weight
3/gamma       embeddings.LayerNorm.weight
3/beta        embeddings.LayerNorm.bias
"""
OBJECT_WIDEN = """
4/kernel  albert.encoder.embedding_hidden_mapping_in.weight T
4/bias    albert.encoder.embedding_hidden_mapping_in.bias
"""
OBJECT_ALBERT_LAYER = """
_attention_layer/_query_dense/kernel   attention.query.weight T
_attention_layer/_query_dense/bias     attention.query.bias
_attention_layer/_key_dense/kernel     attention.key.weight T
_attention_layer/_key_dense/bias       attention.key.bias
_attention_layer/_value_dense/kernel   attention.value.weight T
_attention_layer/_value_dense/bias     attention.value.bias
_attention_layer/_output_dense/kernel  attention.dense.weight T
_attention_layer/_output_dense/bias    attention.dense.bias
_attention_layer_norm/gamma            attention.LayerNorm.weight
_attention_layer_norm/beta             attention.LayerNorm.bias
_intermediate_dense/kernel             ffn.weight T
_intermediate_dense/bias               ffn.bias
_output_dense/kernel                   ffn_output.weight T
_output_dense/bias                     ffn_output.bias
_output_layer_norm/gamma               full_layer_layer_norm.weight
_output_layer_norm/beta                full_layer_layer_norm.bias
"""
OBJECT_ALBERT_HEADS = """
masked_lm/output_bias.Sbias                   predictions.bias
masked_lm/dense/kernel                        predictions.dense.weight T
masked_lm/dense/bias                          predictions.dense.bias
masked_lm/layer_norm/gamma                    predictions.LayerNorm.weight
masked_lm/layer_norm/beta                     predictions.LayerNorm.bias
masked_lm/embedding_table                     albert.embeddings.word_embeddings.weight
next_sentence..pooler_dense/kernel            albert.pooler.weight T
next_sentence..pooler_dense/bias              albert.pooler.bias
model/classification_heads/0/out_proj/kernel  sop_classifier.classifier.weight T
model/classification_heads/0/out_proj/bias    sop_classifier.classifier.bias
"""
N_LAYERS, N_HEADS, WIDTH = 2, 2, 16
SIZES = {
    "vocab_size": len(vocabulary()),
    "hidden_size": WIDTH,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": N_HEADS,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}


def make_model(family, **options):
    """Return a random model with the heads of its pretraining."""
    torch.manual_seed(3)
    if family == "bert":
        model = BertForPreTraining(BertConfig(**SIZES, **options))
    else:
        model = AlbertForPreTraining(AlbertConfig(**SIZES, embedding_size=8, **options))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def pick(model, table, left="", right=""):
    """Return the tensors of a table as arrays by their original names."""
    state = model.state_dict()
    found = {}
    for line in table.strip().splitlines():
        name, key, *mark = line.split()
        array = state[right + key].numpy()
        found[left + name] = array.T if mark else array
    return found


def bert_variables(model):
    """Name the variables as google-research/bert does."""
    found = pick(model, EMBEDDINGS, right="bert.") | pick(model, BERT_HEADS)
    for i in range(N_LAYERS):
        found |= pick(model, BERT_LAYER, f"bert/encoder/layer_{i}/", f"bert.encoder.layer.{i}.")
    return found


def albert_variables(model):
    """Name the variables as google-research/ALBERT does."""
    found = pick(model, EMBEDDINGS, right="albert.") | pick(model, ALBERT_HEADS)
    for group in range(model.config.num_hidden_groups):
        for inner in range(model.config.inner_group_num):
            found |= pick(
                model,
                ALBERT_LAYER,
                f"bert/encoder/transformer/group_{group}/inner_group_{inner}/",
                f"albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}.",
            )
    return found


def object_variables(model, prefix, dense, pooler, heads=False):
    """Name the variables as the official models for TensorFlow 2 do, with an axis for heads."""
    start = f"{prefix}layer_with_weights-"
    found = pick(model, OBJECT_EMBEDDINGS, start, "bert.")
    rows = OBJECT_LAYER.format(dense=dense)
    for i in range(N_LAYERS):
        found |= pick(model, rows, f"{start}{i + 4}/", f"bert.encoder.layer.{i}.")
    split_heads(found, dense)
    pooled = "kernel bert.pooler.dense.weight T\nbias bert.pooler.dense.bias"
    found |= pick(model, pooled, f"{pooler}/")
    if heads:  # each variable has one name, the shortest
        del found[f"{start}0/embeddings"]
        found |= pick(model, OBJECT_HEADS)
    return {f"{name}/.ATTRIBUTES/VARIABLE_VALUE": array for name, array in found.items()}


def object_albert_variables(model, prefix, heads):
    """Name the variables as the official ALBERT for TensorFlow 2 does."""
    start = f"{prefix}layer_with_weights-"
    layer = "albert.encoder.albert_layer_groups.0.albert_layers.0."
    found = pick(model, OBJECT_EMBEDDINGS, start, "albert.") | pick(model, OBJECT_WIDEN, start)
    found |= pick(model, OBJECT_ALBERT_LAYER, f"{start}5/", layer)
    split_heads(found, "_attention_layer/_output_dense")
    if heads:
        del found[f"{start}0/embeddings"]
        found |= pick(model, OBJECT_ALBERT_HEADS)
    else:
        pooled = "kernel albert.pooler.weight T\nbias albert.pooler.bias"
        found |= pick(model, pooled, f"{start}6/")
    return {f"{name}/.ATTRIBUTES/VARIABLE_VALUE": array for name, array in found.items()}


def split_heads(variables, dense):
    """Give the weights of attention an axis for the heads, in place."""
    head = WIDTH // N_HEADS
    for name, array in variables.items():
        if any(part in name for part in ("_query", "_key", "_value")):
            variables[name] = array.reshape(*array.shape[:-1], N_HEADS, head)
        elif name.endswith(f"{dense}/kernel"):
            variables[name] = array.reshape(N_HEADS, head, WIDTH)


def write(folder, variables, family="bert", pieces=None, **settings):
    """Write a checkpoint with its configuration and vocabulary; return its prefix."""
    folder.mkdir(exist_ok=True, parents=True)
    write_bundle(folder / "model.ckpt", variables.items())
    (folder / f"{family}_config.json").write_text(json.dumps({**SIZES, **settings}))
    (folder / "vocab.txt").write_text(
        "".join(f"{p}\n" for p in pieces or vocabulary()), encoding="utf-8"
    )
    return folder / "model.ckpt"


def save(folder, model):
    """Save a model and a tokenizer as a Hugging Face folder."""
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder
