"""Turn a TensorFlow checkpoint of BERT or ALBERT into a Hugging Face folder."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tqdm import tqdm
from transformers import (
    AlbertConfig,
    AlbertForPreTraining,
    BertConfig,
    BertForPreTraining,
    PretrainedConfig,
)

from ...errors import Errors
from ...util import atomic_dir, checksum
from ..folders import IMPORTED, WEIGHTS_FILE, check_output, write_card
from .bundle import Bundle
from .files import (
    FOREIGN,
    SENTENCEPIECE,
    SPECIAL,
    find_beside,
    find_vocab,
    is_cased,
    make_tokenizer,
    read_config,
    read_vocab,
    refuse_overwrite,
)
from .names import MASKED, POOLER, SENTENCE, Variable, find_layout, is_state, map_names, show

_PADDING = (SPECIAL[0], SENTENCEPIECE[0])
_FACTOR = "bert/embeddings/word_embeddings_2"
_LAYOUTS = {
    "bert": "google-research/bert",
    "albert": "google-research/ALBERT",
    "shared": "albert_zh (older names)",
    "object": "the official models for TensorFlow 2",
    "object-albert": "the official ALBERT for TensorFlow 2",
}


@dataclass
class ImportReport:
    """Say what came out of an import.

    layout (str): Whose names the variables have.
    architecture (str): Class of the model in the new folder.
    n_tensors (int): Tensors written.
    notes (list[str]): What was left out or chosen, in sentences.
    """

    layout: str
    architecture: str
    n_tensors: int
    notes: list[str] = field(default_factory=list)


def import_tf(
    checkpoint: Path,
    output: Path,
    *,
    config: Path | None = None,
    vocab: Path | None = None,
    lowercase: bool | None = None,
    allow_unknown: bool = False,
    force: bool = False,
) -> ImportReport:
    """Write a Hugging Face folder from a TensorFlow checkpoint, without TensorFlow.

    checkpoint (Path): Path without `.index` and `.data-...`; with `.index` is fine too.
    output (Path): The new folder. It appears when it is complete.
    config (Path | None): `bert_config.json`. None for the one beside the checkpoint.
    vocab (Path | None): `vocab.txt`, or a sentencepiece model of ALBERT, such as
        `30k-clean.model`. None for the one beside the checkpoint.
    lowercase (bool | None): Whether texts are lower-cased. None to decide by the vocabulary:
        it is cased if it has pieces of one capital letter from A to Z.
    allow_unknown (bool): Leave out variables whose names are not known, and heads that are not
        complete, instead of refusing.
    force (bool): Replace the model folder that stands at `output`.
    RETURNS (ImportReport): What was written, and what was not.
    RAISES (ValueError): B650 to B653 the checkpoint cannot be read; B654 to B657 its variables
        are not those of the model; B658 and B659 config or vocabulary are missing or do not
        fit; B662 albert_zh with another order of layers; B664 the folder is there; B676 it
        holds the checkpoint or other files that would be lost.
    RAISES (ImportError): B660 a sentencepiece model needs the extra of that name.
    """
    prefix = Path(str(checkpoint).removesuffix(".index"))
    check_output(output, prefix)
    refuse_overwrite([output], force)
    bundle = Bundle(prefix)
    names = [name for name in bundle.entries if not is_state(name, bundle.entries)]
    layout = find_layout(names)
    family = "albert" if "albert" in layout else "bert"
    config_file = config or find_beside(prefix, f"{family}_config.json", "*bert_config*.json")
    vocab_file = vocab or find_vocab(prefix)
    settings = read_config(config_file, family)
    if layout == "shared" and settings.get("ln_type") not in (None, "postln"):
        raise ValueError(Errors.B662.format(path=config_file, value=settings["ln_type"]))
    pieces = read_vocab(vocab_file, settings["vocab_size"], family)
    if lowercase is None:
        lowercase = not is_cased(pieces)
    try:
        made = make_config(settings, family, pieces)
        shapes = model_shapes(made)
    except Exception as err:  # noqa: BLE001 - transformers raises many kinds for odd settings
        raise ValueError(Errors.B658.format(path=config_file, reason=repr(err))) from err
    variables = map_names(layout, shapes, names, made.num_attention_heads)
    if layout == "shared":
        _join_factors(bundle, variables, made)
    kept, notes = _check_names(bundle, names, variables, allow_unknown)
    made.architectures = [_architecture(kept, family)]
    ignored = [k for k, usual in FOREIGN.items() if settings.get(k) not in (None, usual)]
    if ignored:
        notes.append(f"Settings that no such checkpoint has were left out: {', '.join(ignored)}.")
    n_state = len(bundle.entries) - len(names)
    if n_state:
        notes.append(f"{n_state} variables of the optimizer or of the training were left out.")
    if len(pieces) < settings["vocab_size"]:
        n_rows = settings["vocab_size"]
        notes.append(f"The vocabulary has {len(pieces)} pieces for {n_rows} rows of embeddings.")
    notes.append(f"Texts are {'lower-cased' if lowercase else 'not lower-cased'}.")
    report = ImportReport(_LAYOUTS[layout], made.architectures[0], len(kept), notes)
    with atomic_dir(output) as folder:
        state = {
            name: torch.from_numpy(_read(bundle, kept[name], shapes[name]))
            for name in tqdm(kept, desc="Reading", unit=" tensors", disable=None)
        }
        if report.architecture.endswith("Model"):
            state = {name.split(".", 1)[1]: tensor for name, tensor in state.items()}
        save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        made.save_pretrained(folder)
        make_tokenizer(folder, vocab_file, pieces, lowercase, made.max_position_embeddings)
        options = [f"--config {config}"] * bool(config) + [f"--vocab {vocab}"] * bool(vocab)
        options += ["--lowercase" if lowercase else "--cased"]
        options += ["--allow-unknown"] * allow_unknown
        command = " ".join(["import-tf", str(prefix), str(output), *options])
        sources = [*bundle.files(), config_file, vocab_file]
        _write_card(folder, output.name, report, command, sources)
    return report


def make_config(settings: dict[str, Any], family: str, pieces: list[str]) -> PretrainedConfig:
    """Make the model's configuration.

    settings (dict[str, Any]): The content of `bert_config.json`.
    family (str): "bert" or "albert".
    pieces (list[str]): The vocabulary.
    RETURNS (PretrainedConfig): The configuration, with the ids of the special pieces.
    """
    kept = {key: value for key, value in settings.items() if key not in FOREIGN}
    made: PretrainedConfig = (AlbertConfig if family == "albert" else BertConfig)(**kept)
    made.tie_word_embeddings = True  # the checkpoint has one table for input and output
    made.pad_token_id = next(pieces.index(pad) for pad in _PADDING if pad in pieces)
    if family == "albert":
        made.bos_token_id = pieces.index("[CLS]")
        made.eos_token_id = pieces.index("[SEP]")
    return made


def model_shapes(config: PretrainedConfig) -> dict[str, tuple[int, ...]]:
    """List the tensors that the model with all heads has of its own.

    config (PretrainedConfig): The configuration.
    RETURNS (dict[str, tuple[int, ...]]): Shapes by name, without the tensors that share
        their values with another one.
    """
    with torch.device("meta"):
        if isinstance(config, AlbertConfig):
            state = AlbertForPreTraining(config).state_dict()
        else:
            state = BertForPreTraining(config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items() if ".decoder." not in name}


def _join_factors(bundle: Bundle, variables: dict[str, Variable], config: PretrainedConfig) -> None:
    """Have the two tables of albert_zh multiplied: then its network is BERT's, layer by layer."""
    if _FACTOR in bundle.entries:
        key = "bert.embeddings.word_embeddings.weight"
        shape = (config.vocab_size, *bundle.entries[_FACTOR].shape[:1])
        _check_shape(bundle, _FACTOR, (*shape[1:], config.hidden_size))
        variables[key] = Variable(variables[key].names, shape, factor=_FACTOR)


def _check_names(
    bundle: Bundle, names: list[str], variables: dict[str, Variable], allow_unknown: bool
) -> tuple[dict[str, Variable], list[str]]:
    """Compare what the model needs with what the checkpoint has, and choose the heads."""
    notes = []
    found = {
        key: variable
        for key, variable in variables.items()
        if any(name in bundle.entries for name in variable.names)
    }
    used = {_present(bundle, variable) for variable in found.values()}
    used |= {variable.factor for variable in found.values() if variable.factor}
    unknown = [name for name in names if name not in used]
    if unknown and not allow_unknown:
        raise ValueError(Errors.B655.format(path=bundle.index, names=show(unknown)))
    if unknown:
        notes.append(
            f"These variables are not known and were left out: {show(unknown, len(unknown))}."
        )
    lost = [key for key in variables if key not in found]
    without = [key for key in lost if key.startswith(POOLER + MASKED)]
    needed = []
    for title, part in (("pooler", POOLER), ("masked words", MASKED), ("sentence pairs", SENTENCE)):
        absent = [key for key in lost if key.startswith(part)]
        lost = [key for key in lost if not key.startswith(part)]
        if not absent:
            continue
        present = [key for key in found if key.startswith(part)]
        if present and not allow_unknown:
            needed += absent
        what = "is not complete and was left out" if present else "is not in the checkpoint"
        notes.append(f"The part for {title} {what}.")
        found = {key: value for key, value in found.items() if key not in present}
    needed += lost
    # The model with the sentence head has every other part too.
    because = ""
    if without and any(key.startswith(SENTENCE) for key in found):
        if allow_unknown:
            found = {k: variable for k, variable in found.items() if not k.startswith(SENTENCE)}
            notes.append(
                "The part for sentence pairs was left out: it needs the pooler and the part for "
                "masked words."
            )
        else:
            needed += [key for key in without if key not in needed]
            because = " (the part for sentence pairs needs the pooler and that for masked words)"
    if needed:
        missing = [" or ".join(variables[key].names) or key for key in needed]
        raise ValueError(Errors.B656.format(path=bundle.index, names=show(missing) + because))
    for variable in found.values():
        _check_shape(bundle, _present(bundle, variable), variable.shape)
    return found, notes


def _check_shape(bundle: Bundle, name: str, shape: tuple[int, ...]) -> None:
    got = bundle.entries[name].shape
    if got != shape:
        raise ValueError(Errors.B657.format(name=name, shape=list(got), expected=list(shape)))


def _present(bundle: Bundle, variable: Variable) -> str:
    return next(name for name in variable.names if name in bundle.entries)


def _read(bundle: Bundle, variable: Variable, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Read a variable as the tensor of the Hugging Face model, in float32."""
    array = _read_floats(bundle, _present(bundle, variable))
    if variable.factor is not None:
        array = array @ _read_floats(bundle, variable.factor)
    if variable.is_kernel:
        array = array.reshape(shape[::-1]).T
    return np.array(array.reshape(shape), order="C")


def _read_floats(bundle: Bundle, name: str) -> NDArray[np.float32]:
    array = bundle.read(name)
    if array.dtype.kind != "f" or array.dtype.itemsize > 4:
        raise ValueError(Errors.B653.format(name=name, dtype=bundle.entries[name].dtype))
    return array.astype(np.float32, copy=False)


def _architecture(kept: Iterable[str], family: str) -> str:
    """Name the class that has the heads of the checkpoint and no others."""
    kind = "Model"
    for ending, part in (("ForMaskedLM", MASKED), ("ForPreTraining", SENTENCE)):
        if any(key.startswith(part) for key in kept):
            kind = ending
    return f"{family.capitalize()}{kind}"


def _write_card(
    folder: Path, title: str, report: ImportReport, command: str, sources: list[Path]
) -> None:
    """Write the model card: what it is, where from, and what was changed."""
    facts = [
        f"Made from: a TensorFlow checkpoint with the names of {report.layout}",
        f"Command: `python -m bert_spacy {command}`",
        *report.notes,
    ]
    digests = "".join(f"| `{p.name}` | {checksum(p)} |\n" for p in sources if p.is_file())
    rest = f"""| source | SHA-256 |
| --- | --- |
{digests}
The values are those of the checkpoint; kernels are transposed, as torch wants them. The activation
is the one that the configuration names: where that is `gelu`, the exact one is computed, and the
original programs may use an approximation of it.
"""
    about = f"{report.architecture} with {report.n_tensors} tensors."
    write_card(folder, title, about, facts, IMPORTED, rest)
