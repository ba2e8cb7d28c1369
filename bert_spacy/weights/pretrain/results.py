"""What a pretraining leaves: weights, model card, report, charts."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from thinc.api import Config

from ...util import atomic_dir, checksum, remove_unfinished
from ..folders import WEIGHTS_FILE, find_licence, read_json
from .examples import Examples, collate
from .settings import Settings
from .sums import Sums
from .task import PretrainTask, kept_state, known_ids

CONFIG_FILE, REPORT_FILE = "pretrain.cfg", "pretrain_report.json"
N_FILLS, CONTEXT, TOP = 5, 12, 3
LABELS = {
    "perplexity": "Perplexity of masked pieces",
    "masked_accuracy": "Masked pieces found",
    "frequent_accuracy": "The most frequent piece is right",
    "sentence_accuracy": "Sentence task right",
}


@dataclass(frozen=True)
class Run:
    """What a result came from.

    settings (Settings): The config, checked.
    config (Config): The config.
    name (str): The source as the user called it: weights, or a tokenizer for a new model.
    folder (Path): Its folder.
    facts (dict[str, Any]): What was read, by part of the corpus.
    sums (Sums): SHA-256 of all files that it came from.
    n_windows (int): Windows of one epoch.
    new (list[str]): Parts of the model that were new.
    """

    settings: Settings
    config: Config
    name: str
    folder: Path
    facts: dict[str, Any]
    sums: Sums
    n_windows: int
    new: list[str]


@dataclass(frozen=True)
class Result:
    """What was measured, and the weights.

    before, after (dict[str, float]): Measures on the held-out text.
    fills (list[dict]): Hidden pieces of that text, with what was put there before and after.
    curve (list[dict]): What was logged, by step.
    facts (dict[str, Any]): What was read.
    sums (Sums): SHA-256 of all files that were read.
    steps (int): Steps of the optimizer.
    epochs (float): How often the corpus was seen.
    checksum (str): SHA-256 of model.safetensors.
    is_new (bool): False for what a run has left that was finished before.
    """

    before: dict[str, float]
    after: dict[str, float]
    fills: list[dict[str, Any]]
    curve: list[dict[str, float]]
    facts: dict[str, Any]
    sums: Sums
    steps: int
    epochs: float
    checksum: str
    is_new: bool = field(default=True, compare=False)

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, value before, and value after of each measure."""
        return [
            (label, _show(name, self.before[name]), _show(name, self.after[name]))
            for name, label in LABELS.items()
            if name in self.after
        ]


def show_fills(task: PretrainTask, dev: Examples, tokenizer: Any) -> list[dict[str, Any]]:
    """Fill a mask in each of a few held-out windows.

    task (PretrainTask): The model.
    dev (Examples): The windows.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    RETURNS (list[dict]): "text" around the mask, the "piece" that was there, and the "best"
        pieces of the model with their probabilities.
    """
    found = []
    mask = tokenizer.mask_token_id
    device = next(task.parameters()).device
    known = torch.tensor(known_ids(tokenizer), device=device)
    for window in dev.order(0)[:N_FILLS].tolist():
        example = dev.make(0, window)
        masked = [i for i, at in enumerate(example.places) if example.ids[at] == mask]
        if not masked:
            continue
        chosen = masked[len(masked) // 2]
        at = int(example.places[chosen])
        batch = {key: value.to(device) for key, value in collate([example], 0).items()}
        with torch.inference_mode():
            logits, _ = task.eval().predict(
                batch["ids"], batch["mask"], batch["types"], batch["places"][chosen : chosen + 1]
            )
            best = logits[0, known].softmax(-1).topk(TOP)
        around = example.ids[max(at - CONTEXT, 0) : at + CONTEXT + 1].tolist()
        pieces = tokenizer.convert_ids_to_tokens(
            [int(example.labels[chosen]), *known[best.indices].tolist()]
        )
        found.append(
            {
                "text": tokenizer.decode(around).strip(),
                "place": sum(number == mask for number in around[: min(at, CONTEXT)]) + 1,
                "piece": pieces[0],
                "best": list(zip(pieces[1:], [round(p, 4) for p in best.values.tolist()])),
            }
        )
    return found


def write_result(
    run: Run,
    task: PretrainTask,
    tokenizer: Any,
    output: Path,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    history: Sequence[dict[str, float]],
    draw: Callable[[Mapping[str, Any], str], str] | None,
) -> Result:
    """Write an ordinary Hugging Face folder with a card, and return what is in it.

    run (Run): What it came from.
    task (PretrainTask): The trained model.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    output (Path): The folder.
    before, after (Mapping): "metrics" and "fills".
    history (Sequence[dict]): The Trainer's log.
    draw (Callable | None): Makes an SVG of curves.
    RETURNS (Result): The report.
    """
    settings = run.settings
    steps = settings.trainer["max_steps"]
    kind, state = kept_state(task, run.new)
    # Times and speeds differ from run to run.
    curve = [
        {key: value for key, value in row.items() if not key.endswith(("_runtime", "_per_second"))}
        for row in history
        if "loss" in row or "eval_loss" in row
    ]
    fills = [
        {**old, "before": old["best"], "after": new["best"]}
        for old, new in zip(before["fills"], after["fills"])
    ]
    for fill in fills:
        del fill["best"]
    remove_unfinished(output)
    with atomic_dir(output) as folder:
        task.model.save_pretrained(folder, state_dict=state, safe_serialization=True)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["architectures"] = [kind]
        _write_json(folder / "config.json", config)
        tokenizer.save_pretrained(folder)
        run.config.to_disk(folder / CONFIG_FILE)
        result = Result(
            before=before["metrics"],
            after=after["metrics"],
            fills=fills,
            curve=curve,
            facts=run.facts,
            sums=run.sums,
            steps=steps,
            epochs=steps * settings.main.batch_size / run.n_windows,
            checksum=checksum(folder / WEIGHTS_FILE),
        )
        report = asdict(result)
        del report["is_new"]
        _write_json(folder / REPORT_FILE, report)
        charts = _draw(result, draw) if draw else {}
        for name, svg in charts.items():
            (folder / name).write_text(svg, encoding="utf-8", newline="\n")
        card = _make_card(run, result, kind, output.name, list(charts))
        (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
    return result


def read_result(output: Path, config: Config) -> Result | None:
    """Read what a run has measured, if a folder is what it left.

    output (Path): The folder.
    config (Config): The config of the run.
    RETURNS (Result | None): The report; None if the folder is not there or not whole, or comes
        from another config, or its weights are no longer those of the report.
    """
    files = [output / name for name in (CONFIG_FILE, REPORT_FILE, WEIGHTS_FILE)]
    if not all(path.is_file() for path in files):
        return None
    if files[0].read_text(encoding="utf-8") != config.to_str():
        return None
    try:
        result = Result(**read_json(files[1]), is_new=False)
    except TypeError:
        return None
    return result if result.checksum == checksum(files[2]) else None


def _draw(result: Result, draw: Callable[[Mapping[str, Any], str], str]) -> dict[str, str]:
    points: dict[str, list[tuple[float, float]]] = {}
    rows = [{"step": 0, **{f"eval_{k}": v for k, v in result.before.items()}}, *result.curve]
    for row in rows:
        for key in ("eval_perplexity", "eval_masked_accuracy", "eval_sentence_accuracy"):
            if key in row:
                points.setdefault(key.removeprefix("eval_"), []).append((row["step"], row[key]))
    shares = {name: line for name, line in points.items() if name != "perplexity"}
    return {
        "perplexity.svg": draw({"perplexity": points["perplexity"]}, "Held-out perplexity"),
        "accuracy.svg": draw(shares, "Held-out accuracy"),
    }


def _make_card(run: Run, result: Result, kind: str, title: str, charts: list[str]) -> str:
    settings = run.settings
    if settings.main.weights is None:
        source = f"Made anew ({kind}), with the tokenizer of `{run.name}`"
        licence = "that of the text it learnt from; see there"
    else:
        source = f"Made from: `{run.name}` ({kind})"
        licence = find_licence(run.name, run.folder)
    used = [
        part for part in run.new if settings.sentences.task != "none" or part.startswith("mask")
    ]
    facts = [
        source,
        f"Licence as stated: {licence}",
        *([f"New before training: {', '.join(used)}"] if used else []),
        "Command: `python -m bert_spacy pretrain pretrain.cfg -o OUT`, with the config here",
        *(_corpus_fact(name, run) for name in ("train", "dev")),
        f"Masked: {100 * settings.masking.rate:g} % of the pieces, by {settings.masking.unit}; "
        f"sentence task: {settings.sentences.task}",
        f"Steps: {result.steps} of {settings.main.batch_size} windows of {settings.main.window} "
        f"pieces, {result.epochs:.2f} epochs; seed {settings.main.seed}; "
        f"trained: {settings.main.trained}",
        f"SHA-256 of model.safetensors: {result.checksum}",
    ]
    scores = "".join(f"| {label} | {old} | {new} |\n" for label, old, new in result.rows())
    fills = "".join(
        f"| {_cell(fill['text'])} | {fill['place']} | `{fill['piece']}` | {_best(fill['before'])} "
        f"| {_best(fill['after'])} |\n"
        for fill in result.fills
    )
    return (
        f"# {title}\n\nAn encoder, trained on plain text.\n\n"
        + "".join(f"- {fact}\n" for fact in facts)
        + "\nOn held-out text:\n\n| measure | before | after |\n| --- | --- | --- |\n"
        + scores
        + "\nMasks filled in held-out text:\n\n| text | mask number | piece | before | after |\n"
        + "| --- | --- | --- | --- | --- |\n"
        + fills
        + "".join(f"\n![{name}]({name})\n" for name in charts)
    )


def _corpus_fact(name: str, run: Run) -> str:
    facts = run.facts[name]
    paths = run.settings.corpus.parts.get(name)
    where = ", ".join(f"`{path.name}`" for path in paths) if paths else "every so many documents"
    counts = f"{facts['documents']} documents, {facts['pieces']} pieces"
    if "bad" in facts:
        counts += f"; {facts['bad']} bad lines skipped, {facts['empty']} empty"
    return f"{'Text' if name == 'train' else 'Held-out text'}: {where}; {counts}"


def _best(pairs: Sequence[Sequence[Any]]) -> str:
    return ", ".join(f"`{piece}` {100 * score:.0f} %" for piece, score in pairs)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _show(name: str, value: float) -> str:
    return f"{value:.2f}" if name == "perplexity" else f"{100 * value:.2f} %"


def _write_json(path: Path, data: Any) -> None:
    text = json.dumps(data, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")
