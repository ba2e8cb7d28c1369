"""The command: a student from a teacher, in two phases, each of which can be killed."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.util import dict_to_dot, fix_random_seed, load_config

from ...errors import Errors
from ...nn.distill import LayerTeacher, LayerWeights
from ...training.run import DIR_MODEL_BEST, DIR_MODEL_LAST, train
from ...util import atomic_file
from ..corpus import OnProblem
from ..folders import holds, lies_in_model, read_json
from ..pretrain.filling import load_filler
from .data import read_data
from .phases import compare_layers, compare_predictions, make_config, make_corpora, read_corpus
from .result import REPORT_FILE, write_result
from .settings import HeadSettings, LayerSettings, Settings
from .student import choose_layers, make_encoder, make_start, n_layers, save_encoder
from .targets import Targets
from .teacher import Teacher, open_teacher
from .variants import write_variants

MODEL, STUDENT, START, LAYERS, HEADS = "model", "student", "start", "layers", "heads"
VARIANTS = "variants"
# What a new run begins by removing; its model takes the place of the older one at the end.
WORK = (STUDENT, START, VARIANTS, LAYERS, HEADS)
SETTINGS_FILE, TARGETS_FILE, DONE = "settings.json", "targets.safetensors", "done"


def distill(
    settings: Settings,
    output: Path,
    *,
    resume: bool = False,
    on_problem: OnProblem = lambda problem: None,
    on_removal: Callable[[str], None] = lambda told: None,
) -> dict[str, Any]:
    """Train a smaller student to do what a teacher does, and write it.

    First the layers of the student become like those of the teacher, then its predictions. Each
    phase is a run of `training.run.train`, which can be killed and goes on. From a pipeline comes
    an ordinary pipeline, from weights an ordinary Hugging Face folder, in `model/`.

    settings (Settings): From `load_settings`.
    output (Path): Folder for all of it.
    resume (bool): Go on with a stopped run, or leave a finished one as it is. Without it, and where
        a finished run has other settings, teacher or data, a run begins anew.
    on_problem (Callable): Called with each line of plain text that is skipped.
    on_removal (Callable): Told what is about to be removed of an earlier run.
    RETURNS (dict[str, Any]): The report, which is in the folder of the model too.
    RAISES (ValueError): B720, B721, B722, B724 and B727 if teacher, student and data do not fit;
        B703 and B740 if there can be no variants; B725 if the folder is not for this run; B413,
        B414, B670 and B671 for bad data; B540 to B542 for a bad checkpoint.

    SOURCE: Jiao et al. (2020), TinyBERT: Distilling BERT for natural language understanding.
    """
    fix_random_seed(settings.seed)
    check_place(settings, output)
    teacher = open_teacher(settings.teacher, settings.lang)
    data = read_data(settings, teacher, on_problem)
    sums = {"teacher": teacher.checksum(), **{part: x["sha256"] for part, x in data.items()}}
    wanted = describe(settings, sums)
    report = output / MODEL / REPORT_FILE
    is_finished = (output / DONE).is_file() and report.is_file()
    if not (resume and is_finished and read_json(output / SETTINGS_FILE) == wanted):
        # Refuses what cannot be done before anything of an earlier run is removed.
        run = _Run(settings, output, teacher, data)
        prepare_output(wanted, output, resume and not is_finished, on_removal)
        with warnings.catch_warnings():
            # `on_problem` was told of these lines.
            warnings.filterwarnings("ignore", r"\[BW710\]")
            run.make_student()
            run.make_variants()
            run.train(LAYERS, settings.layers)
            if run.teacher.head_names:
                run.train(HEADS, settings.heads)
            run.write_model()
        # Until now, a model that stands there may be that of an earlier run.
        (output / DONE).touch()
    return json.loads(report.read_text(encoding="utf-8"))


def check_place(settings: Settings, output: Path) -> None:
    """Check that a run does not write where it reads.

    settings (Settings): All settings.
    output (Path): The folder of the run.
    RAISES (ValueError): B725 if it holds what is read, or lies in a model or in data.
    """
    data = (*settings.train, *settings.dev)
    for name in (settings.teacher, settings.student.name, settings.augment.name, *data):
        difference = ""
        if name and (holds(output, Path(name)) or lies_in_model(output, Path(name))):
            difference = f"it holds {name}, which is read, or lies in it"
        elif name in data and holds(Path(name), output):
            # Variants would be training data from then on.
            difference = f"it lies in the data that are read, {name}"
        if difference:
            raise ValueError(Errors.B725.format(path=output, difference=difference, hint=""))


def describe(settings: Settings, sums: dict[str, str]) -> dict[str, Any]:
    """Return what makes a run another one, as it stands in its folder.

    settings (Settings): All settings.
    sums (dict[str, str]): Checksums of the weights of the "teacher", and of "train" and "dev".
    RETURNS (dict[str, Any]): Plain values.
    """
    told = {f"{name}_sha256": x for name, x in sums.items()}
    return json.loads(json.dumps({**settings.to_dict(), **told}))


def prepare_output(
    wanted: dict[str, Any], output: Path, resume: bool, on_removal: Callable[[str], None]
) -> None:
    """Write what a run is into its folder; remove the work of an earlier run unless it goes on.

    The model of an earlier run stays.

    wanted (dict[str, Any]): From `describe`.
    output (Path): The folder.
    resume (bool): Go on with what is there.
    on_removal (Callable): Told what is about to be removed.
    RAISES (ValueError): B725 if the folder holds something else, or another run to go on with.
    """
    path = output / SETTINGS_FILE
    there = read_json(path)
    if there.keys() >= {"teacher", "student", "heads", "teacher_sha256"}:
        if resume and there != wanted:
            before, now = dict_to_dot(there), dict_to_dot(wanted)
            pairs = {
                name: (before.get(name, "(unset)"), now.get(name, "(unset)"))
                for name in before | now
            }
            told = "; ".join(
                f"{name}: {old} -> {new}" for name, (old, new) in pairs.items() if old != new
            )
            difference = f"a stopped run in it differs from this one, {told}"
            hint = ", or leave out --resume to begin anew"
            raise ValueError(Errors.B725.format(path=output, difference=difference, hint=hint))
        if not resume:
            _remove_work(output, on_removal)
    elif output.is_dir() and any(output.iterdir()):
        difference = "it holds files of something else"
        raise ValueError(Errors.B725.format(path=output, difference=difference, hint=""))
    with atomic_file(path) as file_:
        file_.write(json.dumps(wanted, indent=2, ensure_ascii=False) + "\n")


def _remove_work(output: Path, on_removal: Callable[[str], None]) -> None:
    if there := [name for name in (*WORK, TARGETS_FILE) if (output / name).exists()]:
        stays = f"; {MODEL} stays until the new one is written" if (output / MODEL).exists() else ""
        on_removal(f"Removing {', '.join(there)} of an earlier run in {output}{stays}")
    (output / DONE).unlink(missing_ok=True)
    for name in WORK:
        shutil.rmtree(output / name, ignore_errors=True)
    (output / TARGETS_FILE).unlink(missing_ok=True)


class _Run:
    """One distillation on its way."""

    def __init__(self, settings: Settings, output: Path, teacher: Teacher, data: dict[str, Any]):
        self.settings, self.output, self.teacher, self.data = settings, output, teacher, data
        self.corpora = make_corpora(settings, teacher)
        given = settings.layers
        parts = (given.embedding, given.hidden, given.attention, given.probabilities)
        self.weights = LayerWeights(*parts)
        self.n_variants = 0
        self.student, self.taken = make_encoder(settings.student, teacher)
        n_source, n_wanted = n_layers(teacher.encoder), n_layers(self.student)
        self.map = choose_layers("layers.map", given.map, n_source, n_wanted)
        if given.epochs or given.steps or settings.heads.layers:
            # Refuses layers that cannot be compared.
            LayerTeacher(self.student, teacher.encoder, self.map, self.weights)
        name = settings.augment.name
        self.filler = None if name is None else load_filler(name)

    def make_student(self) -> None:
        """Write the student before it learns, unless an earlier run has."""
        if not (self.output / START).is_dir():
            folder = self.output / STUDENT
            save_encoder(self.student, folder)
            make_start(self.teacher, folder, self.settings.student, self.output / START)

    def make_variants(self) -> None:
        """Add variants of the training texts to the training data, if they are wanted."""
        given, filler = self.settings.augment, self.filler
        if filler is None:
            return
        folder, read = self.output / VARIANTS, read_corpus(self.corpora, "train")
        nlp = spacy.load(self.output / START)
        self.n_variants = write_variants(nlp, read, filler, given, self.settings.seed, folder)
        self.corpora["train"]["path"].append(str(folder))

    def current(self) -> Path:
        """Return the pipeline as it is after the phases that are done."""
        if (self.output / HEADS / DONE).is_file():
            return self.output / HEADS / DIR_MODEL_BEST
        if (self.output / LAYERS / DONE).is_file():
            return self.output / LAYERS / DIR_MODEL_LAST
        return self.output / START

    def train(self, name: str, phase: LayerSettings | HeadSettings) -> None:
        """Run a phase or go on with it, unless it is done or left out."""
        folder = self.output / name
        if (folder / DONE).is_file() or not (phase.epochs or phase.steps):
            return
        start = self.current()
        nlp = spacy.load(start)
        read = read_corpus(self.corpora, "train")
        targets = Targets(self.teacher)
        if isinstance(phase, HeadSettings) and phase.cache and phase.gold < 1:
            docs = (eg.predicted for eg in read(nlp))
            targets.build(docs, self.output / TARGETS_FILE, phase.cache_mb * 10**6)

        def count_batches(batcher: Any) -> int:
            return sum(1 for _ in batcher(read(nlp)))

        def prepare(student: Language) -> None:
            if isinstance(phase, HeadSettings):
                compare_predictions(student, self.teacher, targets, phase)
            scale = phase.layers if isinstance(phase, HeadSettings) else 1.0
            if scale:
                compare_layers(student, self.teacher, self.map, self.weights, scale)

        config = make_config(nlp, self.settings, self.corpora, self.teacher, phase, count_batches)
        train(
            config,
            folder,
            resume=True,
            checkpoint_every=self.settings.training.checkpoint_every,
            start=start,
            prepare=prepare,
        )
        (folder / DONE).touch()
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)

    def write_model(self) -> None:
        """Score teacher and student, and write the student with its card."""
        write_result(
            self.settings,
            self.teacher,
            {"before": self.output / START, "after": self.current()},
            {
                "taken": self.taken,
                "map": self.map,
                "steps": self._count_steps(),
                "data": self.data,
                "variants": self.n_variants,
            },
            self.output / MODEL,
        )

    def _count_steps(self) -> dict[str, int]:
        """Return the steps of each phase that was not left out."""
        paths = {name: self.output / name / DIR_MODEL_LAST for name in (LAYERS, HEADS)}
        return {
            name: int(load_config(path / "config.cfg")["training"]["max_steps"])
            for name, path in paths.items()
            if path.is_dir()
        }
