"""What the variables of BERT and ALBERT are called, in TensorFlow and in Hugging Face's models."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ...errors import Errors

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"

# Parts of a model that a checkpoint may lack as a whole, and how their Hugging Face names begin.
POOLER = ("bert.pooler.", "albert.pooler.")
MASKED = ("cls.predictions.", "predictions.")
SENTENCE = ("cls.seq_relationship.", "sop_classifier.")

_ALBERT_LAYER = {
    "full_layer_layer_norm": "LayerNorm_1",
    "attention.LayerNorm": "LayerNorm",
    "attention.query": "attention_1/self/query",
    "attention.key": "attention_1/self/key",
    "attention.value": "attention_1/self/value",
    "attention.dense": "attention_1/output/dense",
    "ffn": "ffn_1/intermediate/dense",
    "ffn_output": "ffn_1/intermediate/output/dense",
}
_OBJECT_EMBEDDINGS = {
    "word_embeddings.weight": "0/embeddings",
    "position_embeddings.weight": "1/embeddings",
    "token_type_embeddings.weight": "2/embeddings",
    "LayerNorm.weight": "3/gamma",
    "LayerNorm.bias": "3/beta",
}
# As BertPretrainerV2 saves them, where a dot is written as two, and a slash as ".S".
_OBJECT_HEADS = {
    "cls.predictions.bias": "masked_lm/output_bias.Sbias",
    "cls.predictions.transform.dense.weight": "masked_lm/dense/kernel",
    "cls.predictions.transform.dense.bias": "masked_lm/dense/bias",
    "cls.predictions.transform.LayerNorm.weight": "masked_lm/layer_norm/gamma",
    "cls.predictions.transform.LayerNorm.bias": "masked_lm/layer_norm/beta",
    "cls.seq_relationship.weight": "model/classification_heads/0/out_proj/kernel",
    "cls.seq_relationship.bias": "model/classification_heads/0/out_proj/bias",
}
# The embeddings belong to the head too, and have the shorter of the two names.
_OBJECT_TABLE = "masked_lm/embedding_table"
_OBJECT_POOLER = "next_sentence..pooler_dense"
_OBJECT_LAYER = {
    "attention.self.query": ("_attention_layer/_query_dense",),
    "attention.self.key": ("_attention_layer/_key_dense",),
    "attention.self.value": ("_attention_layer/_value_dense",),
    "attention.output.dense": ("_attention_output_dense", "_attention_layer/_output_dense"),
    "attention.output.LayerNorm": ("_attention_layer_norm",),
    "intermediate.dense": ("_intermediate_dense",),
    "output.dense": ("_output_dense",),
    "output.LayerNorm": ("_output_layer_norm",),
}
# Number of its group, number within that, part and kind of a tensor of an ALBERT layer.
_ALBERT_TENSOR = re.compile(
    r"albert\.encoder\.albert_layer_groups\.(\d+)\.albert_layers\.(\d+)\.(.+)\.(weight|bias)$"
)
# What the parts of ALBERT's layer are called in BERT's.
_ALBERT_PARTS = {
    "full_layer_layer_norm": "output.LayerNorm",
    "attention.LayerNorm": "attention.output.LayerNorm",
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.dense": "attention.output.dense",
    "ffn": "intermediate.dense",
    "ffn_output": "output.dense",
}
# ALBERT's embeddings are widened by the fifth layer with weights; BERT's first block stands there.
_OBJECT_WIDEN = "layer_with_weights-4"
# Slots of optimizers stand beside the variable they belong to.
_SLOT = re.compile(r"/(adam_m|adam_v|lamb_m|lamb_v|Adam|Adam_1|AdamWeightDecayOptimizer(_1)?)$")
_STATE = re.compile(
    r"(global_step|beta[12]_power|_CHECKPOINTABLE_OBJECT_GRAPH"
    rf"|(save_counter|global_step|optimizer/.+|.+/\.OPTIMIZER_SLOT/.+){VALUE})$"
)
# The pooler of an encoder for TensorFlow 2, which no loss reaches if the sentence head has its own.
_SPARE_POOLER = re.compile(
    rf"((model|encoder)/)?(?!{_OBJECT_WIDEN}/)layer_with_weights-\d+/(kernel|bias){VALUE}$"
)


@dataclass(frozen=True)
class Variable:
    """Say which variable a tensor comes from.

    names (tuple[str, ...]): Its possible names; a checkpoint has one of them.
    shape (tuple[int, ...]): Its shape in TensorFlow.
    is_kernel (bool): Whether it is stored as (inputs, outputs) and has to be transposed.
    factor (str | None): A second variable that it is multiplied by.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    is_kernel: bool = False
    factor: str | None = None


def find_layout(names: Collection[str]) -> str:
    """Tell which program's names a checkpoint has.

    names (Collection[str]): All of its variables.
    RETURNS (str): "bert", "albert" (google-research/ALBERT), "shared" (the older names of
        albert_zh), "object" (the official models for TensorFlow 2) or "object-albert" (their
        ALBERT).
    RAISES (ValueError): B654 no known one.
    """
    marks = {
        "albert": r"bert/encoder/transformer/group_0/",
        "shared": r"bert/encoder/layer_shared/",
        "bert": r"bert/encoder/layer_0/",
        "object-albert": rf"((model|encoder)/)?{_OBJECT_WIDEN}/kernel{re.escape(VALUE)}$",
        "object": rf"((model|encoder)/)?layer_with_weights-1/embeddings{re.escape(VALUE)}$",
    }
    for layout, mark in marks.items():
        if any(re.match(mark, name) for name in names):
            return layout
    raise ValueError(Errors.B654.format(names=show(names)))


def is_state(name: str, names: Collection[str]) -> bool:
    """Tell whether a variable is the state of an optimizer or of the training.

    name (str): The variable.
    names (Collection[str]): All variables of the checkpoint.
    RETURNS (bool): True if it is no weight, or that of a pooler that was never trained.
    """
    if f"{_OBJECT_POOLER}/kernel{VALUE}" in names and _SPARE_POOLER.match(name):
        return True
    return bool(_STATE.match(name)) or (bool(_SLOT.search(name)) and _SLOT.sub("", name) in names)


def show(names: Collection[str], limit: int = 40) -> str:
    """List names in a message.

    names (Collection[str]): The names.
    limit (int): How many to write out; of the others their number is told.
    RETURNS (str): The sorted names.
    """
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(sorted(names)[:limit]) + more


def map_names(
    layout: str, shapes: Mapping[str, tuple[int, ...]], names: Collection[str], n_heads: int
) -> dict[str, Variable]:
    """Find the variable of each tensor.

    layout (str): What `find_layout` gives.
    shapes (Mapping[str, tuple[int, ...]]): Shapes of the tensors of the Hugging Face model.
    names (Collection[str]): All variables of the checkpoint.
    n_heads (int): Number of attention heads, by which TensorFlow 2 shapes its kernels.
    RETURNS (dict[str, Variable]): For each tensor its variable, present or not.
    """
    if layout.startswith("object"):
        prefix = next(
            name.split("layer_with_weights-")[0] for name in sorted(names) if "layer_with" in name
        )
        return _map_objects(shapes, prefix, n_heads)
    rename: Callable[[str], str] = _albert_name if layout == "albert" else _bert_name
    found = {}
    for name, shape in shapes.items():
        target = rename(name)
        kernel = target.endswith("/kernel")
        if layout == "shared":
            target = re.sub(r"/layer_\d+/", "/layer_shared/", target)
        found[name] = Variable((target,), shape[::-1] if kernel else shape, kernel)
    return found


def _bert_name(name: str) -> str:
    """Rename `bert.encoder.layer.0.output.dense.weight` and its like."""
    name = re.sub(r"layer\.(\d+)", r"layer_\1", name).replace(".", "/")
    if "embeddings/weight" in name:
        return name.removesuffix("/weight")
    for ours, theirs in (("weight", "gamma"), ("bias", "beta")):
        name = name.replace(f"LayerNorm/{ours}", f"LayerNorm/{theirs}")
    name = re.sub(r"seq_relationship/(weight|bias)", r"seq_relationship/output_\1", name)
    name = name.replace("output_weight", "output_weights")
    name = name.replace("cls/predictions/bias", "cls/predictions/output_bias")
    return name.replace("/weight", "/kernel")


def _albert_name(name: str) -> str:
    """Rename `albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight` and its like."""
    layer = _ALBERT_TENSOR.match(name)
    if layer:
        group, inner, part, kind = layer.groups()
        target = _ALBERT_LAYER[part]
        if "LayerNorm" in target:
            kind = "gamma" if kind == "weight" else "beta"
        kind = "kernel" if kind == "weight" else kind
        return f"bert/encoder/transformer/group_{group}/inner_group_{inner}/{target}/{kind}"
    return _bert_name(_as_bert(name))


def _as_bert(name: str) -> str:
    """Rename a tensor of ALBERT as its like is called in BERT; one of BERT keeps its name."""
    layer = _ALBERT_TENSOR.match(name)
    if layer:
        group, inner, part, kind = layer.groups()
        # No two alike: TensorFlow 2 has one layer, and any other is missed in its checkpoints.
        number = 100 * int(group) + int(inner)
        return f"bert.encoder.layer.{number}.{_ALBERT_PARTS[part]}.{kind}"
    name = re.sub(r"^predictions\.(LayerNorm|dense)", r"cls.predictions.transform.\1", name)
    name = name.replace("sop_classifier.classifier", "cls.seq_relationship")
    name = name.replace("albert.pooler.", "bert.pooler.dense.")
    name = re.sub(r"^predictions\.bias", "cls.predictions.bias", name)
    return re.sub(r"^albert\.", "bert.", name)


def _map_objects(
    shapes: Mapping[str, tuple[int, ...]], prefix: str, n_heads: int
) -> dict[str, Variable]:
    """Name the variables of the official models for TensorFlow 2, which number their layers."""
    known = {key: _as_bert(key) for key in shapes}
    widen = "bert.encoder.embedding_hidden_mapping_in."
    first = 5 if f"{widen}weight" in known.values() else 4
    numbers = (re.match(r"bert\.encoder\.layer\.(\d+)", name) for name in known.values())
    n_layers = 1 + max(int(number[1]) for number in numbers if number)
    found = {}
    for key, shape in shapes.items():
        name = known[key]
        kind = "kernel" if name.endswith(".weight") else "bias"
        targets: tuple[str, ...]
        layer = re.match(r"bert\.encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$", name)
        if name.startswith("bert.embeddings."):
            target = _OBJECT_EMBEDDINGS[name.removeprefix("bert.embeddings.")]
            targets = (f"{prefix}layer_with_weights-{target}",)
            if target == "0/embeddings":
                targets += (_OBJECT_TABLE,)
            kind = ""
        elif layer:
            number, part = int(layer[1]) + first, layer[2]
            if "LayerNorm" in part:
                kind = "gamma" if kind == "kernel" else "beta"
            targets = tuple(
                f"{prefix}layer_with_weights-{number}/{target}/{kind}"
                for target in _OBJECT_LAYER[part]
            )
            shape = _split_heads(shape, part, kind, n_heads)
        elif name.startswith(widen):
            targets = (f"{prefix}{_OBJECT_WIDEN}/{kind}",)
            shape = shape[::-1]
        elif name.startswith(POOLER):
            targets = (
                f"{_OBJECT_POOLER}/{kind}",
                f"{prefix}layer_with_weights-{n_layers + first}/{kind}",
            )
            shape = shape[::-1]
        else:
            targets = (_OBJECT_HEADS[name],)
            kind = targets[0].rpartition("/")[2]
            shape = shape[::-1]
        names = tuple(target + VALUE for target in targets)
        found[key] = Variable(names, shape, kind == "kernel")
    return found


def _split_heads(shape: tuple[int, ...], part: str, kind: str, n_heads: int) -> tuple[int, ...]:
    """Shape the weights of attention as TensorFlow 2 keeps them, one axis for the heads."""
    shape = shape[::-1]
    if part.startswith("attention.self."):
        return (*shape[:-1], n_heads, shape[-1] // n_heads)
    if part == "attention.output.dense" and kind == "kernel":
        return (n_heads, shape[0] // n_heads, shape[1])
    return shape
