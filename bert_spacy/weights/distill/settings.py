"""What a distillation config says."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from spacy.util import load_config
from thinc.api import ConfigValidationError

from ...errors import Errors
from ...util import is_finite

Layers = Literal["uniform", "last"] | list[int]


@dataclass(frozen=True)
class StudentSettings:
    """What the student is made of.

    name (str | None): Weights to start from, an alias or a folder; None for the teacher's own.
    config (dict[str, Any]): For fresh weights instead: sizes in the terms of the teacher's Hugging
        Face config, where they are to differ from it; none to start from weights.
    layers (int | None): How many layers, those of the weights or fresh ones; None for all.
    take (str | list[int]): Which: "uniform", "last", or their numbers from 1 on.
    dropout (float | None): Dropout of the student's encoder; None for that of its weights.
    copy_heads (bool): Start from the heads of the teacher where the widths agree.
    """

    name: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    layers: int | None = None
    take: Layers = "uniform"
    dropout: float | None = None
    copy_heads: bool = True


@dataclass(frozen=True)
class LayerSettings:
    """The first phase, which makes the student's layers like the teacher's.

    epochs (float): Passes over the training data; 0 leaves the phase out.
    steps (int): Steps in place of epochs; 0 for epochs. Rounded up to whole evaluations.
    learn_rate (float): Highest learning rate.
    map (str | list[int]): For each layer of the student the teacher's: "uniform", "last", or
        numbers from 1 on.
    embedding, hidden, attention (float): Weights of the parts of the loss; 0 leaves one out.
    probabilities (bool): Compare attention after the softmax.
    """

    epochs: float = 3.0
    steps: int = 0
    learn_rate: float = 1e-4
    map: Layers = "uniform"
    embedding: float = 1.0
    hidden: float = 1.0
    attention: float = 1.0
    probabilities: bool = False


@dataclass(frozen=True)
class HeadSettings:
    """The second phase, which makes the student's predictions like the teacher's.

    epochs, steps, learn_rate: As in the first phase.
    gold (float): Share of the gold in the loss, 0 to 1; 1 asks the teacher nothing.
    temperature (float): Divides the scores of both.
    layers (float): Weight of the loss of the first phase in this one.
    cache (bool): Keep the teacher's predictions on disk.
    cache_mb (int): Most megabytes of them; the rest is predicted anew in each epoch.
    """

    epochs: float = 3.0
    steps: int = 0
    learn_rate: float = 5e-5
    gold: float = 0.5
    temperature: float = 1.0
    layers: float = 0.0
    cache: bool = True
    cache_mb: int = 1024


@dataclass(frozen=True)
class TrainingSettings:
    """What both phases share.

    batch_size (int): Examples in a batch.
    max_pieces (int): Most pieces in a batch, padding included.
    dropout (float): Dropout of the heads.
    eval_frequency (int): Steps between evaluations; 0 for one each epoch.
    checkpoint_every (int): Steps between checkpoints; 0 for one with each evaluation.
    """

    batch_size: int = 16
    max_pieces: int = 8192
    dropout: float = 0.1
    eval_frequency: int = 0
    checkpoint_every: int = 0


@dataclass(frozen=True)
class AugmentSettings:
    """More training texts: variants of those there are, in which some words are others.

    name (str | None): Weights with a masked-word head, an alias or a folder; None for no variants.
    copies (int): Variants of each text.
    rate (float): Share of the words of one piece that change, above 0 to 1.
    candidates (int): The likeliest words at a place, among which one is drawn.
    """

    name: str | None = None
    copies: int = 5
    rate: float = 0.4
    candidates: int = 15


@dataclass(frozen=True)
class Settings:
    """All of a distillation.

    teacher (str): A trained pipeline, or an alias or folder of weights.
    train, dev (list[str]): `.spacy` files or folders; for a teacher of weights plain text too.
    lang (str): Language code, where the teacher is no pipeline.
    seed (int): Seed.
    """

    teacher: str
    train: list[str]
    dev: list[str]
    lang: str = "xx"
    seed: int = 0
    student: StudentSettings = field(default_factory=StudentSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    layers: LayerSettings = field(default_factory=LayerSettings)
    heads: HeadSettings = field(default_factory=HeadSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain values."""
        return asdict(self)


_SECTIONS: dict[str, Any] = {
    "student": StudentSettings,
    "augment": AugmentSettings,
    "layers": LayerSettings,
    "heads": HeadSettings,
    "training": TrainingSettings,
}


def load_settings(path: Path, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read and check a config with a section `[distill]`.

    path (Path): The config.
    overrides (Mapping[str, Any]): Values in place of those of the file, by dotted name.
    RETURNS (Settings): All settings, defaults filled in.
    RAISES (ValueError): B723 if it cannot be read; B722 for a setting that is wrong.
    """
    try:
        config = load_config(path, overrides=dict(overrides or {}), interpolate=True)
        values = dict(config["distill"])
    except (OSError, KeyError, ValueError, ConfigValidationError) as err:
        reason = f"{type(err).__name__}: {err}".strip()
        raise ValueError(Errors.B723.format(path=path, reason=reason)) from err
    return make_settings(values)


def make_settings(values: Mapping[str, Any]) -> Settings:
    """Check the values of the section `[distill]`.

    values (Mapping[str, Any]): As in the config.
    RETURNS (Settings): All settings, defaults filled in.
    RAISES (ValueError): B722 for a setting that is wrong or missing.
    """
    values = dict(values)
    for name in _SECTIONS:
        if not isinstance(values.get(name), Mapping | None):
            allowed = "a section of settings; how many layers a student has says student.layers"
            _refuse(name, values[name], "it is no section", allowed)
    sections = {
        name: kind(**_checked(name, kind, values.pop(name, None) or {}))
        for name, kind in _SECTIONS.items()
    }
    for name in ("train", "dev"):
        if isinstance(values.get(name), str):
            values[name] = [values[name]]
    for name in ("teacher", "train", "dev"):
        if not values.get(name):
            _refuse(name, values.get(name), "it is missing", _RULES[name][1])
    student = sections["student"]
    if student.config and student.name is not None:
        allowed = "nothing here, or student.name = null"
        _refuse("student.config", student.config, "the student begins with other weights", allowed)
    return Settings(**_checked("", Settings, values), **sections)


def _checked(section: str, kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    known = [f.name for f in fields(kind) if f.name not in _SECTIONS or section]
    for name, value in values.items():
        full = f"{section}.{name}" if section else name
        if name not in known:
            _refuse(full, value, "there is no such setting", ", ".join(known))
        is_good, allowed = _RULES[full]
        if not is_good(value):
            _refuse(full, value, "it has another kind or is out of range", allowed)
    return dict(values)


def _refuse(name: str, value: Any, reason: str, allowed: str) -> None:
    message = Errors.B722.format(name=name, value=value, reason=reason, allowed=allowed)
    raise ValueError(message)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_choice(value: Any) -> bool:
    is_list = isinstance(value, list) and value and all(map(_is_whole, value))
    return value in ("uniform", "last") or bool(is_list)


Rule = tuple[Callable[[Any], bool], str]
_FLAG: Rule = (lambda x: isinstance(x, bool), "true or false")
_POSITIVE: Rule = (lambda x: is_finite(x) and x > 0, "a number above 0")
_WEIGHT: Rule = (lambda x: is_finite(x) and x >= 0, "a number, 0 or more")
_COUNT: Rule = (lambda x: _is_whole(x) and x >= 0, "a whole number, 0 or more")
_SIZE: Rule = (lambda x: _is_whole(x) and x >= 1, "a whole number, 1 or more")
_LAYERS: Rule = (_is_choice, '"uniform", "last", or a list of whole numbers')
_NAME: Rule = (lambda x: x is None or _is_text(x), "an alias, a folder, or null")
_PATHS: Rule = (
    lambda x: isinstance(x, list) and bool(x) and all(map(_is_text, x)),
    "a path or a list of paths",
)
_RULES: dict[str, Rule] = {
    "teacher": (_is_text, "a pipeline, an alias, or a folder of weights"),
    "train": _PATHS,
    "dev": _PATHS,
    "lang": (_is_text, "a language code"),
    "seed": (_is_whole, "a whole number"),
    "student.name": _NAME,
    "student.config": (lambda x: isinstance(x, dict), "a section of settings"),
    "student.layers": (lambda x: x is None or _SIZE[0](x), "a whole number from 1 on, or null"),
    "student.take": _LAYERS,
    "student.dropout": (
        lambda x: x is None or (is_finite(x) and 0 <= x < 1),
        "a number from 0 to below 1, or null",
    ),
    "student.copy_heads": _FLAG,
    "augment.name": _NAME,
    "augment.copies": _SIZE,
    "augment.rate": (lambda x: is_finite(x) and 0 < x <= 1, "a number above 0, at most 1"),
    "augment.candidates": _SIZE,
    "layers.map": _LAYERS,
    "layers.embedding": _WEIGHT,
    "layers.hidden": _WEIGHT,
    "layers.attention": _WEIGHT,
    "layers.probabilities": _FLAG,
    "heads.gold": (lambda x: is_finite(x) and 0 <= x <= 1, "a number from 0 to 1"),
    "heads.temperature": _POSITIVE,
    "heads.layers": _WEIGHT,
    "heads.cache": _FLAG,
    "heads.cache_mb": _SIZE,
    "training.batch_size": _SIZE,
    "training.max_pieces": _SIZE,
    "training.dropout": (lambda x: is_finite(x) and 0 <= x < 1, "a number from 0 to below 1"),
    "training.eval_frequency": _COUNT,
    "training.checkpoint_every": _COUNT,
    **{
        f"{phase}.{name}": rule
        for phase in ("layers", "heads")
        for name, rule in (("epochs", _WEIGHT), ("steps", _COUNT), ("learn_rate", _POSITIVE))
    },
}
