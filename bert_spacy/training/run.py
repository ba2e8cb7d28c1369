"""Training that can be killed at any step and goes on to the same weights."""

import difflib
import random
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from spacy.language import Language
from spacy.schemas import ConfigSchemaInit, ConfigSchemaNlp, ConfigSchemaTraining
from spacy.tokens import Span
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import (
    DIR_MODEL_BEST,
    DIR_MODEL_LAST,
    create_before_to_disk_callback,
    create_evaluation_callback,
    create_train_batches,
    train_while_improving,
    update_meta,
)
from spacy.util import load_model_from_config, registry, resolve_dot_names
from thinc.api import Config, Optimizer, fix_random_seed

from ..errors import Errors
from ..util import atomic_dir, atomic_file, check_folder, is_finite, remove_unfinished
from .checkpoint import (
    Progress,
    check_config,
    find_checkpoint,
    read_pipeline,
    read_progress,
    remove_checkpoints,
    restore_optimizer,
    restore_random,
    save_checkpoint,
)

CHECKPOINTS = "checkpoints"
_SECTIONS = ("nlp", "components", "corpora", "training")
_SCHEMAS: dict[str, Any] = {
    "nlp": ConfigSchemaNlp,
    "training": ConfigSchemaTraining,
    "initialize": ConfigSchemaInit,
}
Batches = Iterator[tuple[int, list[Example]]]
Evaluate = Callable[[], tuple[float, dict[str, Any]]]
# What tokens have of gold, that of stock components too.
_TOKEN_GOLD: list[int | str] = [
    "ENT_IOB",
    "ENT_KB_ID",
    "TAG",
    "POS",
    "MORPH",
    "LEMMA",
    "DEP",
    "HEAD",
    "SENT_START",
]
# What a logger is told at an evaluation, and a checkpoint keeps.
_LOGGED = ("epoch", "step", "score", "other_scores", "losses", "words", "seconds")


def train(
    config: Config,
    output: Path,
    *,
    resume: bool = False,
    checkpoint_every: int = 0,
    use_gpu: int = -1,
    start: Path | None = None,
    prepare: Callable[[Language], None] = lambda nlp: None,
    stdout: IO = sys.stdout,
    stderr: IO = sys.stderr,
) -> Path:
    """Train a pipeline as `spacy train` does, and write checkpoints on the way.

    The loop is spaCy's own. To go on from a checkpoint it runs again over the steps that
    are done, with batches that are drawn and left out and with the scores that were
    measured, so that the order of the data, schedules and patience come out the same.
    On a CPU the weights at the end are those of a run without a stop, bit for bit.

    config (Config): For `spacy train`, not interpolated.
    output (Path): Folder for `model-best`, `model-last` and `checkpoints`.
    resume (bool): Go on from the newest checkpoint if there is one; otherwise checkpoints of an
        earlier run go before the first step, its pipelines once the first of this one are saved.
    checkpoint_every (int): Steps between checkpoints; 0 for one with each evaluation.
    use_gpu (int): GPU, -1 for the CPU.
    start (Path): A saved pipeline of the same components to start from; None to initialize.
    prepare (Callable[[Language], None]): Called with the pipeline before the first step.
    RETURNS (Path): The last pipeline.
    RAISES (ValueError): B540 if the checkpoint is damaged, B541 if it is of another config,
        B542 or B544 if the data have changed; B543 for a config that is not whole, B546 for an
        unknown setting, B545 for a number that cannot be; B811 if a file stands there.
    """
    missing = [name for name in _SECTIONS if name not in config]
    if missing:
        raise ValueError(Errors.B543.format(missing=", ".join(f"[{name}]" for name in missing)))
    # Before hours of reading.
    check_folder(output)
    _check_names(config)
    _check_numbers(config.interpolate()["training"])
    checkpoint = find_checkpoint(output / CHECKPOINTS) if resume else None
    done = Progress()
    if checkpoint is None:
        if start is None:
            nlp = init_nlp(config, use_gpu=use_gpu)
        else:
            nlp = load_model_from_config(config, auto_fill=True)
            nlp.from_disk(start, exclude=["config"])  # it is that of another run
    else:
        nlp = load_model_from_config(config, auto_fill=True)
        check_config(checkpoint, _text_of(nlp))
        read_pipeline(checkpoint, nlp)
        done = read_progress(checkpoint)
    prepare(nlp)
    log = nlp.config.interpolate()["training"]["logger"].get("output_file")
    with _set_aside(Path(log) if log else None, checkpoint) as drop_log:
        run = _Run(nlp, output, checkpoint, done, drop_log)
        return run.train(checkpoint_every, stdout, stderr)


class _Run:
    """One run: its settings from `[training]`, its optimizer, its output folder."""

    def __init__(
        self,
        nlp: Language,
        output: Path,
        checkpoint: Path | None,
        done: Progress,
        go_on: Callable[[], None],
    ):
        self.nlp, self.output, self.checkpoint, self.done = nlp, output, checkpoint, done
        self.go_on = go_on  # called when the data are known to be those of the checkpoint
        config = nlp.config.interpolate()
        self.text, self.data = _text_of(nlp), 0
        seed = config["training"]["seed"]
        if seed is None:
            seed = done.seed = random.getrandbits(32) if done.seed is None else done.seed
        fix_random_seed(seed)
        self.settings = registry.resolve(config["training"], schema=ConfigSchemaTraining)
        _check_numbers(self.settings)
        # The loop takes a whole number for a schedule.
        self.settings["dropout"] = float(self.settings["dropout"])
        names = [self.settings["train_corpus"], self.settings["dev_corpus"]]
        self.corpora = resolve_dot_names(config, names)
        self.optimizer: Optimizer = self.settings["optimizer"]
        if checkpoint is not None:
            restore_optimizer(checkpoint, nlp, self.optimizer)

    def train(self, checkpoint_every: int, stdout: IO, stderr: IO) -> Path:
        """Run the loop to its end."""
        done, now = self.done, Progress(**vars(self.done))
        now.evaluations = list(done.evaluations)
        now.dev = self._check_dev()
        with self.nlp.select_pipes(disable=self.settings["frozen_components"]):
            log, finalize = self.settings["logger"](self.nlp, stdout, stderr)
        is_saved = True
        try:
            for step, (_, info, is_best) in enumerate(self._steps()):
                is_evaluated = is_best is not None
                if step == 0:
                    self._remove_unfinished()
                if step < done.step:
                    log(_recall(info, done) if is_evaluated else None)
                    continue
                if step == done.step:
                    self.go_on()
                    for name, loss in done.losses.items():
                        info["losses"][name] = info["losses"].get(name, 0.0) + loss
                info["words"] += done.words
                info["seconds"] += done.seconds
                if is_evaluated:
                    self._save_models(info, is_best)
                if step == 0 and not is_best:  # the score is not a number
                    # spaCy evaluates the first step: this one is of an earlier run.
                    shutil.rmtree(self.output / DIR_MODEL_BEST, ignore_errors=True)
                log(info if is_evaluated else None)
                _follow(now, info, is_evaluated)
                now.data = self.data
                is_saved = now.step % checkpoint_every == 0 if checkpoint_every else is_evaluated
                if is_saved:
                    self._save_checkpoint(now)
        finally:
            finalize()
        if not is_saved:
            self._save_checkpoint(now)
        self._save_pipeline(DIR_MODEL_LAST)
        return self.output / DIR_MODEL_LAST

    def _steps(self) -> Iterator[tuple[Any, dict[str, Any], bool | None]]:
        settings = self.settings
        train_corpus, dev_corpus = self.corpora
        evaluate = create_evaluation_callback(self.nlp, dev_corpus, settings["score_weights"])
        batches = create_train_batches(
            self.nlp, train_corpus, settings["batcher"], settings["max_epochs"]
        )
        return train_while_improving(
            self.nlp,
            self.optimizer,
            self._leave_out(batches),
            _remember(evaluate, self.done, self._pass_over_dev),
            dropout=settings["dropout"],
            accumulate_gradient=settings["accumulate_gradient"],
            patience=settings["patience"],
            max_steps=settings["max_steps"],
            eval_frequency=settings["eval_frequency"],
            exclude=settings["frozen_components"],
            annotating_components=settings["annotating_components"],
            before_update=settings["before_update"],
        )

    def _leave_out(self, batches: Batches) -> Batches:
        """Yield batches; those of steps that are done are empty.

        The order of the data has a random state of its own, which nothing else moves: it is
        the same when nothing is learnt from the first batches.
        """
        for k, (epoch, batch) in enumerate(_swap_random(batches, random.getstate())):
            if k == 0 and self.checkpoint is None:
                # The data can be read, so this run begins: none may go on with an earlier one.
                remove_checkpoints(self.output / CHECKPOINTS)
            if k == self.done.step and self.checkpoint is not None:
                if self.data != self.done.data:
                    raise ValueError(Errors.B542.format(path=self.checkpoint, n=k))
                restore_random(self.checkpoint)
            self.data = _checksum(batch, self.data)
            yield epoch, batch if k >= self.done.step else []

    def _check_dev(self) -> int:
        # The best step so far was chosen by these data. Reading them must not move the order of
        # the others.
        state = random.getstate()
        found = _checksum(self.corpora[1](self.nlp), 0)
        random.setstate(state)
        if self.checkpoint is not None and found != self.done.dev:
            raise ValueError(Errors.B544.format(path=self.checkpoint))
        return found

    def _pass_over_dev(self) -> None:
        """Read the development data as an evaluation does: a reader that shuffles goes on."""
        corpus = self.corpora[1]
        if getattr(corpus, "shuffle", True):
            for _ in corpus(self.nlp):
                pass

    def _remove_unfinished(self) -> None:
        for name in (DIR_MODEL_BEST, DIR_MODEL_LAST):
            remove_unfinished(self.output / name)

    def _save_models(self, info: dict[str, Any], is_best: bool | None) -> None:
        with self.nlp.select_pipes(disable=self.settings["frozen_components"]):
            update_meta(self.settings, self.nlp, info)
        self._save_pipeline(DIR_MODEL_LAST)
        if is_best:
            with atomic_dir(self.output / DIR_MODEL_BEST) as folder:
                shutil.copytree(self.output / DIR_MODEL_LAST, folder, dirs_exist_ok=True)

    def _save_pipeline(self, name: str) -> None:
        before_to_disk = create_before_to_disk_callback(self.settings["before_to_disk"])
        averages = self.optimizer.averages
        with self.nlp.use_params(averages), atomic_dir(self.output / name) as folder:
            before_to_disk(self.nlp).to_disk(folder)

    def _save_checkpoint(self, now: Progress) -> None:
        folder = self.output / CHECKPOINTS
        save_checkpoint(folder, self.nlp, self.optimizer, now, self.text)


def _check_names(config: Config) -> None:
    """Refuse settings that spaCy does not know: with pydantic 2 it drops them in silence."""
    for section, schema in _SCHEMAS.items():
        allowed = list(schema.model_fields)
        for name in config.get(section, ()):
            if name not in allowed:
                close = difflib.get_close_matches(name, allowed, n=1)
                meant = f"Did you mean {close[0]!r}? " if close else ""
                values = {"section": section, "name": name, "meant": meant}
                raise ValueError(Errors.B546.format(**values, allowed=", ".join(allowed)))


def _check_numbers(settings: dict[str, Any]) -> None:
    """Refuse numbers on which spaCy's loop stops with an error of Python's own."""
    for name in ("eval_frequency", "accumulate_gradient", "dropout"):
        value = settings.get(name, 1)
        if isinstance(value, dict):
            continue  # a function of the registry that is not called yet
        if name == "dropout":
            allowed, is_good = "from 0 to 1", is_finite(value) and 0 <= value <= 1
        else:
            allowed, is_good = "a whole number above 0", isinstance(value, int) and value >= 1
        if not is_good:
            raise ValueError(Errors.B545.format(name=name, value=value, allowed=allowed))


def _text_of(nlp: Language) -> str:
    return nlp.config.interpolate().to_str()


def _swap_random(batches: Batches, order: Any) -> Batches:
    while True:
        others = random.getstate()
        random.setstate(order)
        drawn = next(batches, None)
        order = random.getstate()
        random.setstate(others)
        if drawn is None:
            return
        yield drawn


def _checksum(batch: Iterable[Example], before: int) -> int:
    """Go on with a checksum over texts and gold: answers, choices and targets are span groups."""
    for example in batch:
        doc = example.reference
        groups = [(key, _places(group), group.attrs) for key, group in doc.spans.items()]
        gold = (doc.text, doc.cats, _places(doc.ents), groups)
        before = zlib.crc32(repr(gold).encode(errors="replace"), before)
        before = zlib.crc32(doc.to_array(_TOKEN_GOLD).tobytes(), before)
    return before


def _places(spans: Iterable[Span]) -> list[tuple[int, int, str]]:
    return [(span.start_char, span.end_char, span.label_) for span in spans]


def _remember(evaluate: Evaluate, done: Progress, pass_over: Callable[[], None]) -> Evaluate:
    """Give the scores of evaluations that are done, and pass over their data; then evaluate."""
    known = iter(list(done.evaluations))

    def remembered() -> tuple[float, dict[str, Any]]:
        record = next(known, None)
        if record is None:
            return evaluate()
        pass_over()
        return record["score"], record["other_scores"]

    return remembered


def _recall(info: dict[str, Any], done: Progress) -> dict[str, Any]:
    record = next(r for r in done.evaluations if r["step"] == info["step"])
    return {**info, **record}


def _follow(now: Progress, info: dict[str, Any], is_evaluated: bool) -> None:
    """Note what a step has changed."""
    now.step = info["step"] + 1
    now.words, now.seconds = info["words"], info["seconds"]
    now.losses = {} if is_evaluated else {k: float(v) for k, v in info["losses"].items()}
    if is_evaluated:
        now.evaluations.append(
            {**{key: info[key] for key in _LOGGED}, "losses": dict(info["losses"])}
        )


@contextmanager
def _set_aside(log: Path | None, checkpoint: Path | None) -> Iterator[Callable[[], None]]:
    """Move the log of a run that was stopped: spaCy's loggers write no file where one stands.

    log (Path | None): The log, whose rows are written again; None if there is none.
    checkpoint (Path | None): Where it is kept meanwhile; None for a run that begins.
    YIELDS (Callable): To be called when the run goes on: the old log is needed no more. Without
        that call it is put back.
    """
    if log is None or checkpoint is None:
        yield lambda: None
        return
    log, kept = log.resolve(), checkpoint / "log"
    if not kept.is_file() and log.is_file():
        _copy(log, kept)  # the checkpoint may be on another disk
    if kept.is_file():  # it may be from a kill that came before it was known if the run goes on
        log.unlink(missing_ok=True)
    try:
        yield lambda: kept.unlink(missing_ok=True)
    finally:
        if kept.is_file():
            _copy(kept, log)
            kept.unlink()


def _copy(path: Path, to: Path) -> None:
    with atomic_file(to, "wb") as file_:
        file_.write(path.read_bytes())
