"""The config of a pretraining, checked."""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args

from ...errors import Errors
from ...util import is_finite
from .masking import UNITS, Masking
from .packing import TASKS

SEGMENTERS = ("char", "jieba", "pkuseg")
Rule = tuple[str, Callable[[Any], bool]]
T = TypeVar("T")


def _or_null(rule: Rule) -> Rule:
    allowed, is_fine = rule
    return f"{allowed}, or null", lambda x: x is None or is_fine(x)


_ANY: Rule = ("what TrainingArguments takes", lambda x: True)
_WEIGHT: Rule = ("a number, 0 or more", lambda x: is_finite(x) and x >= 0)
_BETA: Rule = ("a number from 0 to below 1", lambda x: is_finite(x) and 0 <= x < 1)
_FLAG: Rule = ("true, false", lambda x: isinstance(x, bool))
_COUNT: Rule = ("a whole number, 1 or more", lambda x: type(x) is int and x >= 1)
_COUNT_0: Rule = ("a whole number, 0 or more", lambda x: type(x) is int and x >= 0)
_EVERY: Rule = ("a number of steps, or a share of all, above 0", lambda x: is_finite(x) and x > 0)
# What the Trainer may be told; the rest follows from the other sections, or must not change.
TRAINER: dict[str, Rule] = {
    "max_steps": _COUNT,
    # A plateau is one of a measure that the Trainer would take by itself.
    "lr_scheduler_type": (
        "a schedule of steps alone, such as linear, cosine or constant",
        lambda x: isinstance(x, str) and x != "reduce_lr_on_plateau",
    ),
    "lr_scheduler_kwargs": _or_null(("a section of settings", lambda x: isinstance(x, dict))),
    "warmup_ratio": ("a number from 0 to 1", lambda x: is_finite(x) and 0 <= x <= 1),
    "adam_epsilon": ("a number above 0", lambda x: is_finite(x) and x > 0),
    "ddp_timeout": _COUNT,
    "save_total_limit": _or_null(_COUNT),
    "disable_tqdm": _or_null(_FLAG),
    "eval_steps": _or_null(_EVERY),
    **dict.fromkeys(("save_steps", "logging_steps"), _EVERY),
    **dict.fromkeys(("warmup_steps", "dataloader_num_workers"), _COUNT_0),
    **dict.fromkeys(("learning_rate", "weight_decay", "max_grad_norm"), _WEIGHT),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), _BETA),
    **dict.fromkeys(("bf16", "fp16", "torch_compile", "use_cpu"), _FLAG),
    **dict.fromkeys(("optim", "tf32", "logging_dir", "report_to", "run_name", "ddp_backend"), _ANY),
}


@dataclass(frozen=True)
class CorpusSettings:
    """What is read.

    train (str | list): Files or folders of `.txt`, `.jsonl` and `.spacy`.
    dev (str | list | None): Held-out text, the same.
    dev_share (float): Without `dev`: share of the documents that is held out, as one of
        round(1 / dev_share).
    documents (str): A document of a `.txt` file is a "line", or goes on to the next "blank" one.
    lang (str): Language of spaCy's tokenizer, for words and sentences.
    segmenter (str): For "zh": "char", or "jieba" or "pkuseg" for words. "char" elsewhere.
    pkuseg_model (str | None): For "pkuseg": folder of its model.
    buffer (int): Windows that are shuffled together.
    """

    train: str | list
    dev: str | list | None = None
    dev_share: float = 0.05
    documents: str = "line"
    lang: str = "en"
    segmenter: str = "char"
    pkuseg_model: str | None = None
    buffer: int = 1_000_000

    @property
    def parts(self) -> dict[str, list[Path]]:
        """The paths of "train" and, if there is one, of "dev"."""
        given = {"train": self.train, "dev": self.dev}
        return {
            name: [Path(path) for path in ([paths] if isinstance(paths, str) else paths)]
            for name, paths in given.items()
            if paths is not None
        }


@dataclass(frozen=True)
class SentenceSettings:
    """The sentence task.

    task (str): "none", "next" (as in BERT) or "order" (as in ALBERT).
    short (float): Share of windows with a random smaller size.
    """

    task: str = "none"
    short: float = 0.1


@dataclass(frozen=True)
class Main:
    """The section `[pretrain]`.

    weights (str | None): A folder or alias to go on from; None for a new model.
    tokenizer (str | None): For a new model: the folder of its tokenizer.
    seed (int): All draws come from it.
    window (int): Pieces of a window, special ones included.
    batch_size (int): Windows per step, of all processes together.
    device_batch (int): Most windows that one process computes at once.
    trained (str): "all", or "heads" to leave the encoder as it is.
    dev_windows (int): Most held-out windows to measure on, 0 for all.
    """

    weights: str | None = None
    tokenizer: str | None = None
    seed: int = 0
    window: int = 128
    batch_size: int = 32
    device_batch: int = 32
    trained: str = "all"
    dev_windows: int = 1000


@dataclass(frozen=True)
class Settings:
    """All sections.

    main (Main): `[pretrain]`.
    corpus (CorpusSettings): `[corpus]`.
    masking (Masking): `[masking]`.
    sentences (SentenceSettings): `[sentences]`.
    model (dict[str, Any]): `[model]`: the Hugging Face config of a new model.
    trainer (dict[str, Any]): `[trainer]`: settings of transformers' TrainingArguments.
    """

    main: Main
    corpus: CorpusSettings
    masking: Masking
    sentences: SentenceSettings
    model: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)

    @property
    def needs_words(self) -> bool:
        """Whether spaCy must find words or sentences."""
        return self.masking.unit != "piece" or self.sentences.task != "none"


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Read and check a config.

    config (Mapping): Its sections, interpolated.
    RETURNS (Settings): The settings.
    RAISES (ValueError): B701 for an unknown section or setting, or a bad value.
    """
    known = ("paths", "pretrain", "corpus", "masking", "sentences", "model", "trainer")
    for name in config:
        if name not in known:
            allowed = ", ".join(known)
            raise ValueError(Errors.B701.format(name="section", value=name, allowed=allowed))
    sections = {name: dict(config.get(name, {})) for name in known}
    settings = Settings(
        main=_read(Main, "pretrain", sections["pretrain"]),
        corpus=_read(CorpusSettings, "corpus", sections["corpus"]),
        masking=_read(Masking, "masking", sections["masking"]),
        sentences=_read(SentenceSettings, "sentences", sections["sentences"]),
        model=sections["model"],
        trainer=sections["trainer"],
    )
    _check(settings)
    return settings


def _read(kind: type[T], section: str, values: dict[str, Any]) -> T:
    """Make one section's dataclass; check names and types."""
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for name, value in values.items():
        setting = f"{section}.{name}"
        if name not in known:
            names = ", ".join(known)
            raise ValueError(Errors.B701.format(name=setting, value=value, allowed=names))
        wanted = known[name].type
        allowed = get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
        if type(value) is int and float in allowed:
            values[name] = float(value)
        elif type(value) not in allowed:
            names = ", ".join(getattr(t, "__name__", str(t)) for t in allowed)
            names = names.replace("NoneType", "null")
            raise ValueError(Errors.B701.format(name=setting, value=value, allowed=names))
    for name, f in known.items():
        if f.default is MISSING and name not in values:
            setting, names = f"{section}.{name}", "a value, as it has no default"
            raise ValueError(Errors.B701.format(name=setting, value=None, allowed=names))
    return kind(**values)


def _are_paths(value: str | list) -> bool:
    parts = [value] if isinstance(value, str) else value
    return bool(parts) and all(isinstance(part, str) and part for part in parts)


def _check(settings: Settings) -> None:
    main, corpus, masking = settings.main, settings.corpus, settings.masking
    sentences = settings.sentences
    is_new = main.weights is None
    has_source = is_new == bool(settings.model)
    has_tokenizer = is_new == bool(main.tokenizer)
    blank = corpus.documents in ("line", "blank")
    segmenters = SEGMENTERS if corpus.lang == "zh" else SEGMENTERS[:1]
    segmenter = f"{', '.join(segmenters)} where corpus.lang is {corpus.lang!r}"
    # Tokens are characters there, and a character is a piece.
    no_words = (corpus.lang, corpus.segmenter) == ("zh", "char")
    words = "piece or span; word needs a corpus.segmenter that finds words: jieba, pkuseg"
    rest = 0 <= masking.random <= 1 - masking.masked + 1e-9
    share = 0 < corpus.dev_share <= 0.5
    rules: list[tuple[str, Any, str, bool]] = [
        ("pretrain.weights", main.weights, "weights, or null and a section [model]", has_source),
        ("pretrain.tokenizer", main.tokenizer, "a folder, for a new model alone", has_tokenizer),
        ("pretrain.seed", main.seed, "0 or more", main.seed >= 0),
        ("pretrain.window", main.window, "8 or more", main.window >= 8),
        ("pretrain.batch_size", main.batch_size, "1 or more", main.batch_size >= 1),
        ("pretrain.device_batch", main.device_batch, "1 or more", main.device_batch >= 1),
        ("pretrain.trained", main.trained, "all, heads", main.trained in ("all", "heads")),
        ("pretrain.dev_windows", main.dev_windows, "0 or more", main.dev_windows >= 0),
        ("corpus.train", corpus.train, "one path or more", _are_paths(corpus.train)),
        ("corpus.dev", corpus.dev, "paths, or null", corpus.dev is None or _are_paths(corpus.dev)),
        ("corpus.dev_share", corpus.dev_share, "above 0, at most 0.5", share),
        ("corpus.documents", corpus.documents, "line, blank", blank),
        ("corpus.segmenter", corpus.segmenter, segmenter, corpus.segmenter in segmenters),
        ("corpus.buffer", corpus.buffer, "1 or more", corpus.buffer >= 1),
        ("masking.unit", masking.unit, ", ".join(UNITS), masking.unit in UNITS),
        ("masking.unit", masking.unit, words, not (no_words and masking.unit == "word")),
        ("masking.rate", masking.rate, "above 0, below 1", 0 < masking.rate < 1),
        ("masking.masked", masking.masked, "0 to 1", 0 <= masking.masked <= 1),
        ("masking.random", masking.random, "0 to 1 - masked", rest),
        ("masking.span_p", masking.span_p, "above 0, below 1", 0 < masking.span_p < 1),
        ("masking.span_max", masking.span_max, "1 or more", masking.span_max >= 1),
        ("sentences.task", sentences.task, ", ".join(TASKS), sentences.task in TASKS),
        ("sentences.short", sentences.short, "0 to 1", 0 <= sentences.short <= 1),
    ]
    for name, value in {"max_steps": None, **settings.trainer}.items():
        allowed, is_fine = TRAINER.get(name, (", ".join(sorted(TRAINER)), lambda x: False))
        rules.append((f"trainer.{name}", value, allowed, is_fine(value)))
    for name, value, allowed, fine in rules:
        if not fine:
            raise ValueError(Errors.B701.format(name=name, value=value, allowed=allowed))
