"""What comes out of a distillation: the student, its card and a report."""

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from thinc.api import Config

from ...layers.encoder import pad_windows
from ...nn.distill import LayerWeights
from ...sources import resolve_name
from ...util import atomic_dir, checksum
from ..folders import CARD_FILE, WEIGHTS_FILE, find_licence
from .phases import compare_layers, make_corpora, read_corpus
from .projections import NAME as PROJECTIONS
from .settings import Settings
from .student import n_layers
from .teacher import ENCODER_FOLDER, Teacher

CONFIG_FILE, REPORT_FILE = "distill.cfg", "distill.json"
# Docs on which the distance of the layers is measured.
N_MEASURED = 256


def write_result(
    settings: Settings,
    teacher: Teacher,
    students: Mapping[str, Path],
    facts: Mapping[str, Any],
    output: Path,
) -> None:
    """Write the student: a pipeline, or the folder of an encoder.

    settings (Settings): All settings.
    teacher (Teacher): The teacher.
    students (Mapping[str, Path]): The student's pipelines "before" and "after".
    facts (Mapping[str, Any]): Layers that were "taken", the teacher's in the "map", "steps" of each
        phase, "data" that were read, and number of "variants" of training texts.
    output (Path): The folder.
    RAISES (ValueError): B728 if the student went astray.
    """
    loaded = {when: spacy.load(path) for when, path in students.items()}
    dev = read_corpus(make_corpora(settings, teacher), "dev")
    weights = LayerWeights(
        settings.layers.embedding,
        settings.layers.hidden,
        settings.layers.attention,
        settings.layers.probabilities,
    )
    distances = {
        when: _distance(nlp, teacher, facts["map"], weights, dev) for when, nlp in loaded.items()
    }
    student = loaded["after"]
    if student.has_pipe(PROJECTIONS):
        student.remove_pipe(PROJECTIONS)
    # What stood beside the student stays behind.
    shim = student.get_pipe(teacher.encoder_name).model.shims[0]  # type: ignore[attr-defined]
    shim.teacher = None
    names = {"teacher": teacher.nlp, "student": student}
    report: dict[str, Any] = {
        "teacher": settings.teacher,
        "student": settings.student.name or (None if settings.student.config else settings.teacher),
        "layers": {"teacher": n_layers(teacher.encoder), "student": len(facts["map"])},
        **facts,
        "parameters": {key: _count_parameters(nlp, teacher) for key, nlp in names.items()},
        "distance": distances,
        "scores": {
            key: _scores(nlp, dev) if teacher.head_names else {} for key, nlp in names.items()
        },
        "settings": settings.to_dict(),
    }
    with atomic_dir(output) as folder:
        inner = folder
        if teacher.head_names:
            student.to_disk(folder)
            inner = folder / teacher.encoder_name / ENCODER_FOLDER
        else:
            shim.to_disk(folder)
        report["sha256"] = checksum(inner / WEIGHTS_FILE)
        text = json.dumps(report, indent=2, ensure_ascii=False)
        (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8", newline="\n")
        Config({"distill": settings.to_dict()}).to_disk(folder / CONFIG_FILE)
        # The encoder of a pipeline may be taken by itself: its card lies there too.
        for place, where in ((inner, f"../../{CONFIG_FILE}"), (folder, CONFIG_FILE)):
            card = _card(report, teacher, where)
            (place / CARD_FILE).write_text(card, encoding="utf-8", newline="\n")


def _distance(
    nlp: Language, teacher: Teacher, layers: list[int], weights: LayerWeights, dev: Any
) -> float | None:
    """Return the loss on layers, on the first Docs of the held-out data."""
    if not any((weights.embedding, weights.hidden, weights.attention)):
        return None
    taught = compare_layers(nlp, teacher, layers, weights)
    taught.student.eval()
    docs = [eg.predicted for eg in islice(dev(nlp), N_MEASURED)]
    model = nlp.get_pipe(teacher.encoder_name).model  # type: ignore[attr-defined]
    with torch.no_grad():
        for ids, mask, types in pad_windows(model, docs):
            taught.run(*(x.to(taught.student.device) for x in (ids, mask, types)))
        return float(taught.take_loss())


def _scores(nlp: Language, dev: Any) -> dict[str, float]:
    scores = nlp.evaluate(dev(nlp))
    left_out = ("token_", "speed")
    return {
        key: round(float(value), 6)
        for key, value in sorted(scores.items())
        if isinstance(value, int | float) and not key.startswith(left_out)
    }


def _count_parameters(nlp: Language, teacher: Teacher) -> int:
    parts = [nlp.get_pipe(teacher.encoder_name).model.shims[0].encoder]  # type: ignore[attr-defined]
    parts += [nlp.get_pipe(name).shim.module for name in teacher.head_names]  # type: ignore[attr-defined]
    return sum(p.numel() for part in parts for p in part.parameters())


def _card(report: dict[str, Any], teacher: Teacher, config_file: str) -> str:
    layers, parameters, settings = report["layers"], report["parameters"], report["settings"]
    name, augment, distance = settings["student"]["name"], settings["augment"], report["distance"]
    licence, sizes = teacher.licence(), settings["student"]["config"]
    source = f"layers {report['taken']} of `{report['student']}`"
    if sizes:
        source = f"fresh weights, with {', '.join(f'{k} = {v}' for k, v in sizes.items())}"
    if name is not None:
        licence += f"; of `{name}`: {find_licence(name, Path(resolve_name(name)))}"
    facts = [
        f"Teacher: `{report['teacher']}`",
        f"Licence of the teacher's weights as stated: {licence}",
        f"Student: {source}; compared with the teacher's layers {report['map']}",
        f"Layers: {layers['teacher']} in the teacher, {layers['student']} in the student",
        f"Parameters: {parameters['teacher']:,} in the teacher, {parameters['student']:,} in the "
        "student",
    ]
    if distance["before"] is not None:
        facts.append(
            f"Distance of the layers on held-out texts: {distance['before']} before, "
            f"{distance['after']} after"
        )
    facts.append(f"Training data: {', '.join(settings['train'])}; {_counts(report, 'train')}")
    if report["variants"]:
        facts.append(
            f"Variants of training texts: {report['variants']}, filled in by `{augment['name']}`"
        )
    steps = ", ".join(f"{n} of the phase {phase!r}" for phase, n in report["steps"].items())
    facts += [
        f"Held-out data: {', '.join(settings['dev'])}; {_counts(report, 'dev')}",
        f"Steps: {steps or 'none'}; seed {settings['seed']}",
        "Command: `python -m bert_spacy distill CONFIG -o OUT`, from the folder where the run was "
        f"started, with the path of `{config_file}` as CONFIG",
        f"SHA-256 of the encoder's {WEIGHTS_FILE}: {report['sha256']}",
    ]
    scores, weights = report["scores"], teacher.nlp.config["training"]["score_weights"]
    facts += [
        f"Held-out {key}: {scores['teacher'].get(key)} by the teacher, {value} by the student"
        for key, value in scores["student"].items()
        if weights.get(key)
    ]
    return "# A distilled student\n\n" + "".join(f"- {fact}\n" for fact in facts)


def _counts(report: dict[str, Any], part: str) -> str:
    return ", ".join(f"{n} {name}" for name, n in report["data"][part].items() if name != "sha256")
