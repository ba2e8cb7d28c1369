"""Turn a Hugging Face folder of BERT or ALBERT into a TensorFlow checkpoint."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertModel,
    AutoConfig,
    AutoTokenizer,
    BertForMaskedLM,
    BertForPreTraining,
    BertModel,
    BertTokenizer,
    BertTokenizerFast,
    PretrainedConfig,
)

from ...errors import Errors
from ...sources import resolve_name
from ...util import atomic_file
from .bundle import write_bundle
from .files import NUMBERS, refuse_overwrite, write_vocab
from .names import Variable, map_names

_CLASSES = {
    kind.__name__: kind
    for kind in (
        BertModel,
        BertForMaskedLM,
        BertForPreTraining,
        AlbertModel,
        AlbertForMaskedLM,
        AlbertForPreTraining,
    )
}
_SETTINGS = (
    *NUMBERS,
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
    "layer_norm_eps",
)
_ALBERT_SETTINGS = ("embedding_size", "num_hidden_groups", "inner_group_num")


def export_tf(name: str, checkpoint: Path, *, force: bool = False) -> int:
    """Write a checkpoint that TensorFlow reads, with its configuration and vocabulary.

    name (str): An alias, or a folder in the layout of Hugging Face models: a BERT or ALBERT,
        bare or with the heads of its pretraining.
    checkpoint (Path): Path of the checkpoint without endings. `bert_config.json` or
        `albert_config.json` and `vocab.txt` are written beside it.
    force (bool): Replace files that are there.
    RETURNS (int): Number of variables, in the names of google-research/bert or ALBERT.
    RAISES (ValueError): B661 another architecture; B663 another tokenizer; B664 a file is
        there; B665 tensors are missing; B802 to B805 there is no such model.
    """
    folder = resolve_name(name)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    family = config.model_type
    config_file = checkpoint.parent / f"{family}_config.json"
    vocab_file = checkpoint.parent / "vocab.txt"
    index = Path(f"{checkpoint}.index")
    refuse_overwrite(
        [index, Path(f"{checkpoint}.data-00000-of-00001"), config_file, vocab_file], force
    )
    state = _read_state(folder, config)
    pieces = _read_pieces(folder)
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    variables = map_names(family, shapes, (), config.num_attention_heads)
    names = (*_SETTINGS, *_ALBERT_SETTINGS) if family == "albert" else _SETTINGS
    settings = {key: getattr(config, key) for key in names}
    with atomic_file(config_file) as file_:
        file_.write(json.dumps(settings, indent=2) + "\n")
    write_vocab(vocab_file, pieces)
    index.unlink(missing_ok=True)  # the old index does not belong to the new data
    write_bundle(checkpoint, _to_arrays(state, variables))
    return len(variables)


def _read_state(folder: str, config: PretrainedConfig) -> dict[str, Tensor]:
    """Load the model's tensors under the names of the model with all heads."""
    named = (getattr(config, "architectures", None) or ["one that config.json does not name"])[0]
    if getattr(config, "position_embedding_type", "absolute") != "absolute":
        named += " with relative positions"
    if not (config.tie_word_embeddings or named.endswith("Model")):
        named += " with an output table of its own"
    if named not in _CLASSES:
        raise ValueError(Errors.B661.format(architecture=named, allowed=", ".join(_CLASSES)))
    model, info = _CLASSES[named].from_pretrained(
        folder, local_files_only=True, output_loading_info=True
    )
    if info["missing_keys"]:
        raise ValueError(Errors.B665.format(folder=folder, names=sorted(info["missing_keys"])))
    prefix = f"{config.model_type}." if named.endswith("Model") else ""
    return {
        f"{prefix}{key}": tensor
        for key, tensor in model.state_dict().items()
        if ".decoder." not in key
    }


def _read_pieces(folder: str) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not isinstance(tokenizer, BertTokenizer | BertTokenizerFast):
        kind = type(tokenizer).__name__
        raise ValueError(Errors.B663.format(folder=folder, kind=kind))
    ids = tokenizer.get_vocab()
    if sorted(ids.values()) != list(range(len(ids))):
        kind = "vocabulary with gaps between its ids"
        raise ValueError(Errors.B663.format(folder=folder, kind=kind))
    return sorted(ids, key=ids.__getitem__)


def _to_arrays(
    state: dict[str, Tensor], variables: dict[str, Variable]
) -> Iterator[tuple[str, NDArray[Any]]]:
    for key, variable in variables.items():
        array = state[key].float().numpy()
        yield variable.names[0], np.asarray(array.T if variable.is_kernel else array)
