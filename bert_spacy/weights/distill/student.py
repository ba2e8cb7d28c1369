"""Make a student before it learns: its encoder's folder, and the pipeline around it."""

import copy
import re
from pathlib import Path
from typing import Any, NoReturn

from spacy.language import Language
from spacy.util import load_model_from_config

from ...errors import Errors
from ...layers.head import make_module
from ...nn.distill import pick_layers
from ...nn.encoder import TransformerEncoder, layer_of, load_encoder
from ...sources import resolve_name
from ...util import atomic_dir
from .projections import NAME as PROJECTIONS
from .settings import Layers, StudentSettings
from .teacher import Teacher

_NUMBER = re.compile(r"((?:^|\.)layers?\.)\d+(?=\.)")


def choose_layers(name: str, how: Layers, n_source: int, n_wanted: int | None) -> list[int]:
    """Resolve a choice of layers to their numbers.

    name (str): The setting, for messages.
    how (str | list[int]): "uniform", "last", or numbers from 1 on.
    n_source (int): Layers there are.
    n_wanted (int | None): Layers to choose; None for all, or as many as the list has.
    RETURNS (list[int]): Numbers from 1 on.
    RAISES (ValueError): B722 if there are not so many.
    """
    is_list = isinstance(how, list)
    wanted = n_wanted or (len(how) if is_list else n_source)
    if isinstance(how, list):
        numbers = how
    else:
        numbers = pick_layers(n_source, wanted, how) if wanted <= n_source else []
    if len(numbers) != wanted or not all(1 <= number <= n_source for number in numbers):
        reason = f"it is to choose {wanted} of {n_source} layers"
        allowed = f"{wanted} numbers from 1 to {n_source}" if is_list else f"{n_source} or fewer"
        setting, value = (name, how) if is_list else (name.replace(".take", ".layers"), wanted)
        message = Errors.B722.format(name=setting, value=value, reason=reason, allowed=allowed)
        raise ValueError(message)
    return numbers


def n_layers(encoder: TransformerEncoder) -> int:
    """Return the number of layers of an encoder."""
    return int(encoder.model.config.num_hidden_layers)


def make_encoder(
    settings: StudentSettings, teacher: Teacher
) -> tuple[TransformerEncoder, list[int]]:
    """Make the student's encoder from layers of the teacher or of other weights, or anew.

    settings (StudentSettings): What it is made of.
    teacher (Teacher): The teacher.
    RETURNS (tuple[TransformerEncoder, list[int]]): The encoder, with the teacher's tokenizer, and
        which layers of its source it has; none for a new one.
    RAISES (ValueError): B720 if the vocabularies differ; B722 for layers that do not exist, or a
        config that makes no model; B100, B101 and B801 to B805 for bad weights.
    """
    source = teacher.encoder
    if settings.config:
        return _make_new(settings, source), []
    if settings.name is not None:
        name = resolve_name(settings.name)
        source = load_encoder(name, local=Path(name).is_dir())
        _check_vocabulary(settings.name, source, teacher)
    total = n_layers(source)
    taken = choose_layers("student.take", settings.take, total, settings.layers)
    config = copy.deepcopy(source.model.config)
    shared = layer_names(source) == set()
    if len(taken) != total and (
        hasattr(config, "global_attn_every_n_layers") or getattr(config, "num_hidden_groups", 1) > 1
    ):
        reason = f"layers of a {type(source.model).__name__} differ in kind"
        raise ValueError(
            Errors.B722.format(
                name="student.layers", value=len(taken), reason=reason, allowed=f"{total}, or null"
            )
        )
    config.num_hidden_layers = len(taken)
    model = type(source.model)(config)
    if not source.has_pooler and hasattr(model, "pooler"):
        model.pooler = None
    old = source.model.state_dict()
    new = {}
    for key in model.state_dict():
        layer = layer_of(key)
        if layer is None or shared:
            new[key] = old[key]
        else:
            new[key] = old[_NUMBER.sub(rf"\g<1>{taken[layer] - 1}", key)]
    model.load_state_dict({key: value.detach().cpu().clone() for key, value in new.items()})
    return TransformerEncoder(model, teacher.encoder.tokenizer).eval(), taken


def _make_new(settings: StudentSettings, source: TransformerEncoder) -> TransformerEncoder:
    """Make an encoder with fresh weights, of the kind and with the tokenizer of another."""
    old, sizes = source.model.config.to_dict(), dict(settings.config)
    # What follows from other settings, from the tokenizer, or from the kind of model.
    fixed = {"num_hidden_layers", "n_layers", "vocab_size", "pad_token_id", "model_type"}
    names = (old.keys() | source.model.config.attribute_map.keys()) - fixed
    for name, value in sizes.items():
        if name not in names:
            _refuse_config(f".{name}", value, f"settings of {type(source.model.config).__name__}")
    if settings.layers is not None:
        sizes["num_hidden_layers"] = settings.layers
    try:
        model = type(source.model)(type(source.model.config).from_dict({**old, **sizes}))
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as err:
        _refuse_config("", settings.config, f"what makes a model, but: {err}")
    if not source.has_pooler and hasattr(model, "pooler"):
        model.pooler = None
    return TransformerEncoder(model, source.tokenizer).eval()


def _refuse_config(name: str, value: Any, allowed: str) -> NoReturn:
    reason = "it makes no student"
    if name:
        reason = "it is no setting, or follows from the teacher or from student.layers"
    message = Errors.B722.format(
        name=f"student.config{name}", value=value, reason=reason, allowed=allowed
    )
    raise ValueError(message)


def layer_names(encoder: TransformerEncoder) -> set[int]:
    """Return the numbers of layers that have weights of their own; ALBERT's share theirs."""
    found = (layer_of(name) for name, _ in encoder.model.named_parameters())
    return {layer for layer in found if layer is not None}


def _check_vocabulary(name: str, source: TransformerEncoder, teacher: Teacher) -> None:
    ours, theirs = source.tokenizer.get_vocab(), teacher.encoder.tokenizer.get_vocab()
    if ours == theirs:
        return
    different = sorted(set(ours.items()) ^ set(theirs.items()), key=lambda item: item[1])
    difference = f"{len(ours)} and {len(theirs)} pieces, different from {different[0]} on"
    values = {"student": name, "teacher": teacher.name, "difference": difference}
    raise ValueError(Errors.B720.format(**values))


def make_start(teacher: Teacher, folder: Path, settings: StudentSettings, output: Path) -> Language:
    """Write the student's pipeline: the teacher's with another encoder.

    teacher (Teacher): The teacher.
    folder (Path): Folder of the student's encoder.
    settings (StudentSettings): Its dropout, and whether heads are copied.
    output (Path): Where to write it.
    RETURNS (Language): The pipeline.
    RAISES (ValueError): B205 if the teacher's window is too large for the student.
    """
    config = copy.deepcopy(teacher.nlp.config)
    model = config["components"][teacher.encoder_name]["model"]
    # What `optimize` made belongs to the teacher's weights; all of the student learns.
    model.update(name=str(folder), window=teacher.window, backend="auto", precision="auto")
    model.update(freeze="none", unfreeze_every=0)
    # The teacher's outputs are those of each batch as it is, read once.
    config["components"][teacher.encoder_name].update(adversarial="none", r_drop_alpha=0.0)
    if settings.dropout is not None:
        model["dropout"] = settings.dropout
    nlp = load_model_from_config(config, auto_fill=True)
    parts = teacher.nlp.to_bytes(exclude=[teacher.encoder_name])
    nlp.from_bytes(parts, exclude=["config", teacher.encoder_name])
    encoder: Any = nlp.get_pipe(teacher.encoder_name)
    encoder.initialize(lambda: [], nlp=nlp)
    width, teacher_width = encoder.model.get_dim("nO"), teacher.encoder.width
    for name in teacher.head_names:
        head: Any = nlp.get_pipe(name)
        if width != teacher_width or not settings.copy_heads:
            make_module(head.model, **head.module_settings())
        # Fitted to the teacher; `calibrate` fits the student.
        head.cfg.update({k: v for k, v in _UNFITTED.items() if k in head.cfg})
        if hasattr(head, "set_null_threshold"):
            head.set_null_threshold(0.0)
    if width != teacher_width:
        nlp.add_pipe(PROJECTIONS, config={"width": width, "teacher_width": teacher_width})
    with atomic_dir(output) as target:
        nlp.to_disk(target)
    return nlp


_UNFITTED: dict[str, Any] = {"temperature": 1.0, "thresholds": {}}


def save_encoder(encoder: TransformerEncoder, folder: Path) -> None:
    """Write an encoder as an ordinary Hugging Face folder, whole or not at all."""
    with atomic_dir(folder) as target:
        encoder.save(target)
