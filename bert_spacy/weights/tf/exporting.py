"""Turn a Hugging Face folder of BERT or ALBERT into a TensorFlow checkpoint."""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor
from tqdm import tqdm
from transformers import (
    AlbertForPreTraining,
    BertForPreTraining,
    BertTokenizerFast,
    PretrainedConfig,
)
from transformers.utils.logging import get_verbosity, set_verbosity, set_verbosity_error

from ...errors import Errors
from ...nn.encoder import load_outline
from ...sources import resolve_name
from ...util import atomic_file, check_file
from .bundle import write_bundle
from .files import NUMBERS, refuse_overwrite, write_vocab
from .lost import tell_lost
from .names import MASKED, POOLER, SENTENCE, Variable, map_names, show

_CLASSES = {"bert": BertForPreTraining, "albert": AlbertForPreTraining}
_SETTINGS = (
    *NUMBERS,
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
    "layer_norm_eps",
)
_ALBERT_SETTINGS = ("embedding_size", "num_hidden_groups", "inner_group_num")


@dataclass(frozen=True)
class ExportReport:
    """What was exported.

    n_variables (int): Variables, in the names of google-research/bert or ALBERT.
    unreached (list[str]): Added tokens that split before a vocabulary is asked: what reads
        vocab.txt alone never finds them, and takes the text apart.
    notes (list[str]): Settings of the folder that the files beside the checkpoint do not hold, or
        that TensorFlow's programs do not heed, in sentences.
    """

    n_variables: int
    unreached: list[str]
    notes: list[str]


def export_tf(name: str, checkpoint: Path, *, force: bool = False) -> ExportReport:
    """Write a checkpoint that TensorFlow reads, with its configuration and vocabulary.

    name (str): An alias, or a folder in the layout of Hugging Face models: a BERT or ALBERT,
        bare or with the heads of its pretraining.
    checkpoint (Path): Path of the checkpoint without endings. `bert_config.json` or
        `albert_config.json` and `vocab.txt` are written beside it.
    force (bool): Replace files that are there, once the new ones are complete.
    RETURNS (ExportReport): How many variables were written, and what vocab.txt cannot say.
    RAISES (ValueError): B100 the settings of the model cannot be read, B101 its tokenizer; B661
        the model has what TensorFlow's programs have no name for; B663 another tokenizer; B664 a
        file is there; B665 tensors are missing or have another shape; B666 the path is a folder;
        B802 to B805 there is no such model; B810 something else than a file stands where one is
        to be.
    """
    if checkpoint.is_dir():
        raise ValueError(Errors.B666.format(path=checkpoint))
    folder = resolve_name(name)
    if not Path(folder).is_dir():
        raise ValueError(Errors.B804.format(folder=name))
    outline = load_outline(folder)
    config = outline.model.config
    family = config.model_type
    paths = _list_files(checkpoint, family)
    refuse_overwrite(paths, force)
    for path in paths:
        check_file(path)
    state = _read_state(folder, config)
    tokenizer = _check_tokenizer(folder, outline.tokenizer)
    pieces, unreached = _read_pieces(folder, tokenizer)
    notes = tell_lost(config, tokenizer.init_kwargs, pieces)
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    variables = map_names(family, shapes, (), config.num_attention_heads)
    names = (*_SETTINGS, *_ALBERT_SETTINGS) if family == "albert" else _SETTINGS
    settings = {key: getattr(config, key) for key in names}
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{checkpoint.name}.", dir=checkpoint.parent
    ) as temporary:
        made = Path(temporary) / checkpoint.name
        write_bundle(made, _to_arrays(state, variables))
        _, config_file, vocab_file, _ = written = _list_files(made, family)
        with atomic_file(config_file) as file_:
            file_.write(json.dumps(settings, indent=2) + "\n")
        write_vocab(vocab_file, pieces)
        _put(written, paths)
    return ExportReport(len(variables), unreached, notes)


def _list_files(checkpoint: Path, family: str) -> list[Path]:
    """List the files of a checkpoint; the index is the last one."""
    data, index = Path(f"{checkpoint}.data-00000-of-00001"), Path(f"{checkpoint}.index")
    folder = checkpoint.parent
    return [data, folder / f"{family}_config.json", folder / "vocab.txt", index]


def _put(written: list[Path], paths: list[Path]) -> None:
    """Move complete files to their places: stopped half-way, there is no index."""
    paths[-1].unlink(missing_ok=True)  # the old index does not belong to the new data
    for source, path in zip(written, paths, strict=True):
        os.replace(source, path)


def _read_state(folder: str, config: PretrainedConfig) -> dict[str, Tensor]:
    """Load the model's tensors under the names of the model with all heads."""
    if config.model_type not in _CLASSES:
        raise ValueError(Errors.B661.format(folder=folder, what=f"is a {config.model_type}"))
    if getattr(config, "position_embedding_type", "absolute") != "absolute":
        raise ValueError(Errors.B661.format(folder=folder, what="has relative positions"))
    if config.is_decoder:  # the original programs have no mask of what comes later
        what = "reads from left to right (is_decoder)"
        raise ValueError(Errors.B661.format(folder=folder, what=what))
    before = get_verbosity()
    set_verbosity_error()  # what is missing or left over is judged here
    try:
        model, info = _CLASSES[config.model_type].from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as err:  # noqa: BLE001 - safetensors and torch raise their own kinds
        raise ValueError(Errors.B665.format(folder=folder, reason=err)) from err
    finally:
        set_verbosity(before)
    extra = [key for key in info["unexpected_keys"] if not key.endswith("position_ids")]
    if extra:
        raise ValueError(Errors.B661.format(folder=folder, what=f"has also {show(extra)}"))
    state = {key: tensor for key, tensor in model.state_dict().items() if ".decoder." not in key}
    missing = {key for key in info["missing_keys"] if ".decoder." not in key}
    for part in (POOLER, MASKED, SENTENCE):
        keys = {key for key in state if key.startswith(part)}
        if keys <= missing:
            missing -= keys
            state = {key: tensor for key, tensor in state.items() if key not in keys}
    has_masked = any(key.startswith(MASKED) for key in state)
    if any(key.startswith(SENTENCE) for key in state) and not has_masked:
        missing.add("the masked-word head, without which a sentence head is not read again")
    if missing:
        reason = f"its weights lack {show(missing)}"
        raise ValueError(Errors.B665.format(folder=folder, reason=reason))
    if has_masked and not config.tie_word_embeddings:
        raise ValueError(Errors.B661.format(folder=folder, what="has an output table of its own"))
    return state


def _check_tokenizer(folder: str, tokenizer: Any) -> BertTokenizerFast:
    if not isinstance(tokenizer, BertTokenizerFast):
        kind = type(tokenizer).__name__
        raise ValueError(Errors.B663.format(folder=folder, kind=kind))
    return tokenizer


def _read_pieces(folder: str, tokenizer: BertTokenizerFast) -> tuple[list[str], list[str]]:
    """List all pieces, and the added tokens that vocab.txt does not make whole."""
    ids = tokenizer.get_vocab()
    if sorted(ids.values()) != list(range(len(ids))):
        kind = "vocabulary with gaps between its ids"
        raise ValueError(Errors.B663.format(folder=folder, kind=kind))
    added = set(tokenizer.get_added_vocab()) - set(tokenizer.all_special_tokens)
    # Chinese characters stand alone, and marks between letters do.
    apart, basic = BertNormalizer(lowercase=False), BertPreTokenizer()
    words = {piece: basic.pre_tokenize_str(apart.normalize_str(piece)) for piece in sorted(added)}
    unreached = [piece for piece, parts in words.items() if len(parts) != 1]
    return sorted(ids, key=ids.__getitem__), unreached


def _to_arrays(
    state: dict[str, Tensor], variables: dict[str, Variable]
) -> Iterator[tuple[str, NDArray[Any]]]:
    for key, variable in tqdm(variables.items(), desc="Writing", unit=" tensors", disable=None):
        array = state[key].float().numpy()
        yield variable.names[0], np.asarray(array.T if variable.is_kernel else array)
