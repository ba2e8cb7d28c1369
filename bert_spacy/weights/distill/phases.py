"""The spaCy config of each phase, and what stands beside the student while it trains."""

import copy
import math
from collections.abc import Callable
from typing import Any

from spacy.language import Language
from spacy.util import registry
from thinc.api import Config

from ...nn.distill import LayerTeacher, LayerWeights
from .projections import NAME as PROJECTIONS
from .settings import HeadSettings, LayerSettings, Settings
from .soft import make_loss
from .targets import Targets
from .teacher import Teacher

# Share of the steps in which the learning rate rises.
WARMUP = 0.1


def make_corpora(settings: Settings, teacher: Teacher) -> dict[str, Any]:
    """Return the section `[corpora]`: gold Docs for a pipeline, texts for an encoder."""
    reader = "bert-spacy.Corpus.v1" if teacher.head_names else "bert-spacy.Texts.v1"
    paths = {"train": settings.train, "dev": settings.dev}
    return {name: {"@readers": reader, "path": list(path)} for name, path in paths.items()}


def read_corpus(corpora: dict[str, Any], name: str) -> Callable[[Language], Any]:
    """Make the reader of a corpus from the section `[corpora]`."""
    return registry.resolve({name: corpora[name]})[name]


def make_config(
    nlp: Language,
    settings: Settings,
    corpora: dict[str, Any],
    teacher: Teacher,
    phase: LayerSettings | HeadSettings,
    n_batches: Callable[[Any], int],
) -> Config:
    """Return the config of a phase, for `training.run.train`.

    nlp (Language): The pipeline that the phase starts from.
    settings (Settings): All settings.
    corpora (dict[str, Any]): The section `[corpora]`.
    teacher (Teacher): The teacher.
    phase (LayerSettings | HeadSettings): Those of the phase.
    n_batches (Callable): Takes a batcher, counts the batches of an epoch.
    RETURNS (Config): The config. An evaluation falls on the last step: steps are rounded up to
        whole evaluations.
    """
    config = copy.deepcopy(nlp.config.interpolate())
    given = settings.training
    batcher = {
        "@batchers": "bert-spacy.batch_by_pieces.v1",
        "size": given.batch_size,
        "max_pieces": given.max_pieces,
        "buffer": 64,
        "seed": settings.seed,
    }
    steps = phase.steps
    frequency = given.eval_frequency or steps
    if not steps:
        per_epoch = n_batches(registry.resolve({"batcher": batcher})["batcher"])
        steps = max(1, round(phase.epochs * per_epoch))
        frequency = given.eval_frequency or per_epoch
    n_evaluations = max(1, round(steps / frequency))
    frequency = math.ceil(steps / n_evaluations)
    steps = frequency * n_evaluations
    learns = {teacher.encoder_name, PROJECTIONS}
    learns.update(teacher.head_names if isinstance(phase, HeadSettings) else ())
    config["corpora"] = copy.deepcopy(corpora)
    config["distill"] = settings.to_dict()
    config["training"].update(
        seed=settings.seed,
        gpu_allocator=None,
        dropout=given.dropout,
        accumulate_gradient=1,
        patience=0,
        # Texts are streamed; gold Docs are shuffled in memory.
        max_epochs=0 if teacher.head_names else -1,
        max_steps=steps,
        eval_frequency=frequency,
        frozen_components=[name for name in nlp.pipe_names if name not in learns],
        annotating_components=[],
        train_corpus="corpora.train",
        dev_corpus="corpora.dev",
        before_update=None,
        before_to_disk=None,
        logger={"@loggers": "spacy.ConsoleLogger.v3", "progress_bar": "train"},
        batcher=batcher,
        optimizer={
            "@optimizers": "bert-spacy.AdamW.v1",
            "learn_rate": {
                "@schedules": "warmup_linear.v1",
                "initial_rate": phase.learn_rate,
                # Without one in a short phase, whose first steps would learn nothing.
                "warmup_steps": round(WARMUP * steps),
                "total_steps": steps,
            },
        },
    )
    if not teacher.head_names:
        config["training"]["score_weights"] = {}
    return config


def compare_layers(
    nlp: Language,
    teacher: Teacher,
    layers: list[int],
    weights: LayerWeights,
    scale: float = 1.0,
) -> LayerTeacher:
    """Put the teacher beside the encoder of a student.

    nlp (Language): The student.
    teacher (Teacher): The teacher.
    layers (list[int]): For each layer of the student the teacher's.
    weights (LayerWeights): Parts of the loss.
    scale (float): Weight of the whole.
    RETURNS (LayerTeacher): Runs both; its loss is part of each update from now on.
    """
    shim = nlp.get_pipe(teacher.encoder_name).model.shims[0]  # type: ignore[attr-defined]
    maps = nlp.get_pipe(PROJECTIONS).module if nlp.has_pipe(PROJECTIONS) else None  # type: ignore[attr-defined]
    shim.teacher = LayerTeacher(shim.encoder, teacher.encoder, layers, weights, scale, maps)
    return shim.teacher


def compare_predictions(
    nlp: Language, teacher: Teacher, targets: Targets, settings: HeadSettings
) -> None:
    """Let the heads of a student learn from those of the teacher.

    nlp (Language): The student.
    teacher (Teacher): The teacher.
    targets (Targets): What it predicts.
    settings (HeadSettings): How much it counts.
    """
    for name, other in teacher.heads.items():
        head: Any = nlp.get_pipe(name)

        def lookup(docs: Any, name: str = name) -> Any:
            return targets.get(name, docs)

        head.taught_loss = make_loss(head, other, lookup, settings.gold, settings.temperature)
