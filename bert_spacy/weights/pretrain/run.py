"""Train an encoder on plain text: prepare, measure, train, measure, write."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from thinc.api import Config
from transformers import set_seed
from transformers.utils import is_accelerate_available

from ...errors import Errors
from ...nn.encoder import clean_tokenizer, load_tokenizer
from ...sources import resolve_name
from ...text.pieces import read_template
from ...util import atomic_dir, atomic_file
from ..corpus import OnProblem, TextCorpus, make_nlp
from ..folders import check_output, read_json
from .engine import PretrainTrainer, find_checkpoint, make_arguments
from .examples import Examples, Recipe
from .prepare import Pieces, held_out_every, open_pieces, prepare
from .results import CONFIG_FILE, Result, Run, read_result, show_fills, write_result
from .settings import Settings, read_settings
from .sums import Sums, find_change, read_sums
from .task import PretrainTask, known_ids, load_task, new_task

SUMS_FILE = "sums.json"
# Pieces that are counted at once.
_BLOCK = 1 << 22


@contextmanager
def _own_precision() -> Iterator[None]:
    """Undo what transformers leaves in the environment, where later runs would find it."""
    name = "ACCELERATE_MIXED_PRECISION"
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


@_own_precision()
def pretrain(
    config: Config,
    output: Path,
    *,
    resume: bool = False,
    use_cpu: bool | None = None,
    on_problem: OnProblem = lambda problem: None,
    draw: Callable[[Mapping[str, Any], str], str] | None = None,
) -> Result | None:
    """Train new weights, or go on with others, on plain text.

    Started by torchrun or `accelerate launch`, several processes share the work; they need
    to see the same folders. While it runs, the prepared corpus and checkpoints stand
    in a folder beside the output, named as it with `.work` at the end. Curves of TensorBoard go
    to one with `.logs` at the end, and stay.

    config (Config): Sections as in configs/pretrain.cfg, interpolated.
    output (Path): The new model folder. It appears when all is done.
    resume (bool): Go on with a stopped run, if there is one. If there is none and the output is
        that of this config and of the files that it names, nothing is done.
    use_cpu (bool | None): Compute on the CPU, or not; None to go by the config. The run is the
        same one wherever it computes.
    on_problem (Callable): Called with each line of the corpus that is skipped.
    draw (Callable | None): Makes an SVG of curves, for the folder.
    RETURNS (Result | None): What was measured, now or then; None in all processes but the first.
    RAISES (ImportError): B700 without accelerate; B710 without a segmenter.
    RAISES (ValueError): B701 for a setting; B702, B801 to B805, B100, B101 and B205 for
        weights; B705 and B713 for a corpus that is too small, B670 and B671 for none; B706 if
        there is a stopped run and `resume` is not set; B707 if it has another config or other
        files; B676 for a bad output, or if other files lie where the run would keep its work;
        B709 for several GPUs in one process; B711 if training went astray; B712 for the model
        of a segmenter.
    """
    output = Path(output)
    settings = read_settings(config)
    if not is_accelerate_available():
        raise ImportError(Errors.B700.format(package="accelerate"))
    name = settings.main.weights or settings.main.tokenizer or ""
    folder = _find(name)
    check_output(output, folder, *(x for part in settings.corpus.parts.values() for x in part))
    work = output.with_name(f"{output.name}.work")
    args = make_arguments(settings, work, output.with_name(f"{output.name}.logs"), use_cpu)
    is_first = args.process_index == 0
    if is_first:
        _check_work(work, config, resume)
    # Of large corpora, checksums take their time.
    sums: Sums = {}
    if resume and not work.exists() and (done := read_result(output, config)) is not None:
        sums = read_sums(settings, folder)
        if find_change(done.sums, sums) is None:
            if is_first:
                _remove(work)  # what a kill left of it
            return done if is_first else None
    tokenizer = clean_tokenizer(load_tokenizer(str(folder), True))
    recipe = _make_recipe(settings, name, tokenizer)
    set_seed(settings.main.seed)
    task, new = _make_task(settings, folder, name, tokenizer)
    task.set_trained(settings.main.trained == "heads")
    if is_first:
        sums = _open_work(work, config, sums or read_sums(settings, folder))
    with _kept_with_checkpoint(work) if is_first else nullcontext():
        if is_first and not (work / "corpus").is_dir():
            _prepare(settings, tokenizer, work / "corpus", on_problem)
        with args.main_process_first(local=False):
            pass  # the others wait here for what the first one prepares
        facts = json.loads((work / "corpus" / "facts.json").read_text(encoding="utf-8"))
        pieces = {part: open_pieces(work / "corpus" / part) for part in ("train", "dev")}
        _check_size(settings, pieces, facts)
        # Masks of held-out windows are their own, and always the same.
        train, dev = (Examples(part, recipe) for part in pieces.values())
        trainer = PretrainTrainer(
            task,
            args,
            train,
            dev,
            pad_id=tokenizer.pad_token_id,
            dev_windows=settings.main.dev_windows,
            frequent_id=_most_frequent(pieces["train"], task.model.config.vocab_size),
        )
        before = _measure_before(trainer, tokenizer, work)
        checkpoint = find_checkpoint(work) if resume else None
        set_seed(settings.main.seed)  # whether the measuring was done now or by a stopped run
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        run = Run(settings, config, name, folder, facts, sums, train.n_windows, new)
        after = {"metrics": trainer.evaluate(), "fills": show_fills(task, dev, tokenizer)}
        history = trainer.state.log_history
        result = None
        if is_first:
            if not all(bool(torch.isfinite(p).all()) for p in task.parameters()):
                _remove(work)  # its checkpoints lead to the same
                raise ValueError(Errors.B711.format(steps=trainer.state.global_step))
            result = write_result(run, task.cpu(), tokenizer, output, before, after, history, draw)
            _remove(work)
    trainer.accelerator.end_training()
    return result


def _find(name: str) -> Path:
    folder = Path(name)
    # A tokenizer alone is no model folder.
    if not (folder.is_dir() and (folder / "tokenizer.json").is_file()):
        folder = Path(resolve_name(name))
    if not folder.is_dir():
        raise ValueError(Errors.B804.format(folder=name))
    return folder


def _make_recipe(settings: Settings, name: str, tokenizer: Any) -> Recipe:
    if tokenizer.mask_token_id is None or tokenizer.pad_token_id is None:
        raise ValueError(
            Errors.B702.format(name=name, reason="its tokenizer has no mask or padding")
        )
    ids = np.array(sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)))
    return Recipe(
        template=read_template(tokenizer),
        mask_id=tokenizer.mask_token_id,
        others=ids,
        masking=settings.masking,
        task=settings.sentences.task,
        window=settings.main.window,
        short=settings.sentences.short,
        buffer=settings.corpus.buffer,
        seed=settings.main.seed,
    )


def _make_task(
    settings: Settings, folder: Path, name: str, tokenizer: Any
) -> tuple[PretrainTask, list[str]]:
    has_pairs = settings.sentences.task != "none"
    # With a repeated line in its vocabulary a tokenizer has more ids than pieces.
    last = known_ids(tokenizer)[-1]
    if settings.main.weights is None:
        task = new_task(settings.model, last + 1, tokenizer.pad_token_id, has_pairs)
        new = ["masked-word head", "pooler", "sentence head"]
    else:
        task, new = load_task(folder, name, has_pairs)
    config = task.model.config
    if last >= config.vocab_size:
        reason = f"its tokenizer has more pieces than the model, {config.vocab_size}"
        raise ValueError(Errors.B702.format(name=name, reason=reason))
    if has_pairs and config.type_vocab_size < 2:
        reason = "it has no second segment, which a sentence task needs"
        raise ValueError(Errors.B702.format(name=name, reason=reason))
    limit = config.max_position_embeddings
    if settings.main.window > limit:
        raise ValueError(Errors.B205.format(window=settings.main.window, limit=limit))
    return task, new


def _check_work(work: Path, config: Config, resume: bool) -> None:
    """Refuse the folder of another run, or one that is none; see B676, B706, B707.

    work (Path): The folder.
    config (Config): The config.
    resume (bool): Go on.
    """
    path, difference = work / CONFIG_FILE, ""
    if path.is_file():
        if not resume:
            raise ValueError(Errors.B706.format(work=work))
        if path.read_text(encoding="utf-8") != config.to_str():
            difference = f"it has another config, {path}; give the same settings"
        elif not (work / SUMS_FILE).is_file():
            difference = "it is from an earlier version, which noted no checksums of what it read"
        if difference:
            raise ValueError(Errors.B707.format(work=work, difference=difference))
    elif work.exists() and not (work.is_dir() and not any(work.iterdir())):
        reason = f"{work}, where the run would keep its work, holds other files"
        raise ValueError(Errors.B676.format(path=work.with_suffix(""), reason=reason))


def _open_work(work: Path, config: Config, sums: Sums) -> Sums:
    """Begin the folder of a run, or check that a stopped one has read the same; see B707.

    work (Path): The folder, checked.
    config (Config): The config.
    sums (Sums): Checksums of what would be read now.
    RETURNS (Sums): Checksums of what the run has read or is to read.
    """
    if (work / CONFIG_FILE).is_file():
        then: Sums = read_json(work / SUMS_FILE)
        if name := find_change(then, sums):
            difference = f"{name} has changed, is new or is gone; put it back as it was"
            raise ValueError(Errors.B707.format(work=work, difference=difference))
        return then
    with atomic_dir(work) as new:
        (new / SUMS_FILE).write_text(json.dumps(sums), encoding="utf-8")
        (new / CONFIG_FILE).write_text(config.to_str(), encoding="utf-8")
    return sums


@contextmanager
def _kept_with_checkpoint(work: Path) -> Iterator[None]:
    """Remove the folder of a run that fails before its first checkpoint.

    There is nothing to go on with, and its settings may have to be corrected. A run that is
    killed keeps the prepared corpus.
    """
    try:
        yield
    except Exception:
        if find_checkpoint(work) is None:
            _remove(work)
        raise


def _remove(work: Path) -> None:
    """Remove the folder of a run; a kill on the way leaves nothing that looks like a run."""
    old = work.with_name(f".{work.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if work.is_dir():
        work.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def _prepare(settings: Settings, tokenizer: Any, folder: Path, on_problem: OnProblem) -> None:
    corpus = settings.corpus
    nlp = None
    if settings.needs_words:
        nlp = make_nlp(corpus.lang, corpus.segmenter, corpus.pkuseg_model)
        nlp.add_pipe("sentencizer")
    parts = {
        name: TextCorpus(paths, on_problem, by_blank_lines=corpus.documents == "blank")
        for name, paths in corpus.parts.items()
    }
    prepare(tokenizer, parts, folder, nlp=nlp, share=corpus.dev_share)


def _check_size(settings: Settings, pieces: Mapping[str, Pieces], facts: Mapping[str, Any]) -> None:
    """Refuse what the tasks cannot learn from, or be measured on."""
    need = 2 if settings.sentences.task == "next" else 1
    share, advice = settings.corpus.dev_share, "Give more text."
    if settings.corpus.dev is None:
        advice = (
            f"With corpus.dev_share = {share} one document of {held_out_every(share)} is held out: "
            f"give {need * held_out_every(share)} documents or more, a higher share (at most 0.5), "
            "or a held-out corpus.dev."
        )
    for part, store in pieces.items():
        if store.n_documents < need:
            raise ValueError(
                Errors.B705.format(
                    part=part,
                    n=store.n_documents,
                    need=need,
                    task=settings.sentences.task,
                    read=", ".join(f"{value} {key}" for key, value in facts["train"].items()),
                    advice=advice,
                )
            )
        if settings.sentences.task != "none" and (np.diff(store.documents) < 2).all():
            values = {"part": part, "n": store.n_documents, "task": settings.sentences.task}
            raise ValueError(Errors.B713.format(**values))


def _most_frequent(pieces: Pieces, size: int) -> int:
    counts = np.zeros(size, dtype=np.int64)
    for start in range(0, len(pieces.codes), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(pieces.codes)))
        counts += np.bincount(pieces.read(rows)[0], minlength=size)
    return int(counts.argmax())


def _measure_before(trainer: PretrainTrainer, tokenizer: Any, work: Path) -> dict[str, Any]:
    """Measure at step 0; a run that goes on has done so already."""
    path = work / "before.json"
    if not path.is_file():
        metrics = trainer.evaluate()
        fills = show_fills(trainer.task, trainer.dev_examples, tokenizer)
        found = {"metrics": metrics, "fills": fills}
        if trainer.args.process_index == 0:
            with atomic_file(path) as file_:
                file_.write(json.dumps(found))
    trainer.accelerator.wait_for_everyone()
    return json.loads(path.read_text(encoding="utf-8"))
