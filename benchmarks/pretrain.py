r"""What training on plain text gives: perplexity on held-out text, before and after.

    python -m benchmarks.pretrain further      albert-tiny-zh on a handbook of its domain
    python -m benchmarks.pretrain further-en   minilm-l6-en on English Wikipedia
    python -m benchmarks.pretrain scratch      a new model of two layers, on the handbook
    python -m benchmarks.pretrain wiki         albert-tiny-zh on the Chinese Wikipedia

The last is for a task of its domain, CMRC 2018. Its text holds the passages of the training data
and none of the test data:

    python -m benchmarks.family --data DIR --out wiki.jsonl --tasks cmrc2018 --seeds 0 1 2 \
        --models albert-tiny-zh wiki=zh:metrics/pretrain/wiki

Texts are looked for in $BERT_SPACY_DATA/data/raw_text. Each run prints one JSON line, and
writes its folder below --output. A run that was stopped goes on where it was.

albert-tiny-zh comes with its masked-word head, so "before" is the model as it was fetched.
minilm-l6-en has none. A random head would make any "before" look bad. So the head alone is
trained first, with the encoder as it is, for as many steps; "before" is what that
reaches, and then head and encoder are trained together.
"""

import argparse
import json
import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from thinc.api import Config

from bert_spacy.weights.pretrain.results import REPORT_FILE
from bert_spacy.weights.pretrain.run import pretrain
from bert_spacy.weights.pretrain.tokenizer import train_tokenizer

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("BERT_SPACY_DATA", ROOT.parent / "shared")) / "data" / "raw_text"
ZH, EN = "zh_d2l.txt", "en_wikitext2_valid_test.txt"
WIKI = "zh_wikipedia_cmrc.txt"
SCRATCH = {
    "model_type": "bert",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 512,
    "max_position_embeddings": 128,
    "initializer_range": 0.05,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def run(
    output: Path, text: str, steps: int, rate: float, model: dict[str, Any] | None, **main: Any
) -> dict[str, Any]:
    """Train on one text, unless that has been done, and return the report.

    output (Path): The folder.
    text (str): Name of the file.
    steps (int): Steps of 4,096 pieces: 32 windows of 128 if [pretrain] says nothing else.
    rate (float): Learning rate.
    model (dict | None): Settings of a new model.
    main (Any): Settings of [pretrain].
    RETURNS (dict[str, Any]): The report, with the seconds of CPU of this call.
    """
    seconds = time.process_time()
    if not (output / REPORT_FILE).is_file():
        config = {
            "pretrain": {"window": 128, "batch_size": 32, "device_batch": 32, **main},
            "corpus": {"train": str(DATA / text), "dev_share": 0.05, "lang": text[:2]},
            "model": model or {},
            "trainer": {
                "max_steps": steps,
                "learning_rate": rate,
                "warmup_ratio": 0.1,
                "eval_steps": max(steps // 5, 1),
                "save_steps": max(steps // 5, 1),
                "logging_steps": 20,
            },
        }
        with redirect_stdout(sys.stderr):  # the Trainer's log
            pretrain(Config(config), output, resume=True)
    report = json.loads((output / REPORT_FILE).read_text(encoding="utf-8"))
    return {**report, "cpu_seconds": round(time.process_time() - seconds)}


def further(folder: Path, steps: int) -> dict[str, Any]:
    """Train albert-tiny-zh on a handbook."""
    return run(folder / "albert", ZH, steps, 3e-4, None, weights="albert-tiny-zh")


def further_en(folder: Path, steps: int) -> dict[str, Any]:
    """Train the new head of minilm-l6-en alone, and then all of it."""
    head = folder / "minilm-head"
    first = run(head, EN, steps, 1e-3, None, weights="minilm-l6-en", trained="heads")
    report = run(folder / "minilm", EN, steps, 3e-4, None, weights=str(head))
    report["with_random_head"] = first["before"]
    report["cpu_seconds"] += first["cpu_seconds"]
    return report


def scratch(folder: Path, steps: int) -> dict[str, Any]:
    """Train a new model of two layers, with a vocabulary of its own."""
    tokenizer = folder / "tokenizer"
    if not tokenizer.is_dir():
        train_tokenizer([DATA / ZH], tokenizer, size=4000, window=128)
    return run(folder / "scratch", ZH, steps, 1e-3, SCRATCH, tokenizer=str(tokenizer))


def wiki(folder: Path, steps: int) -> dict[str, Any]:
    """Train albert-tiny-zh on passages of the Chinese Wikipedia.

    Its task reads windows of 512 pieces, so these have as many: positions that see no text stay
    behind while all other weights move. A low rate, as the model knows such text well.
    """
    long = {"window": 512, "batch_size": 8, "device_batch": 8}
    return run(folder / "wiki", WIKI, steps, 1e-4, None, weights="albert-tiny-zh", **long)


RUNS = {"further": further, "further-en": further_en, "scratch": scratch, "wiki": wiki}
# Enough for the goals on one core; see the card of each folder for its curve.
STEPS = {"further": 600, "further-en": 300, "scratch": 3000, "wiki": 300}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", default=list(RUNS), metavar="RUN")
    parser.add_argument("--output", type=Path, default=Path("metrics/pretrain"))
    parser.add_argument("--steps", type=int, help="Instead of those of the run.")
    args = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"no texts at {DATA}; set BERT_SPACY_DATA to their folder")
    for name in args.runs:
        report = RUNS[name](args.output, args.steps or STEPS[name])
        before, after = report["before"], report["after"]
        row = {
            "run": name,
            "steps": report["steps"],
            "epochs": round(report["epochs"], 2),
            "perplexity_before": round(before["perplexity"], 2),
            "perplexity_after": round(after["perplexity"], 2),
            "fall": round(1 - after["perplexity"] / before["perplexity"], 3),
            "accuracy_before": round(before["masked_accuracy"], 4),
            "accuracy_after": round(after["masked_accuracy"], 4),
            "most_frequent_piece": round(after["frequent_accuracy"], 4),
            "cpu_seconds": report["cpu_seconds"],
            "checksum": report["checksum"],
        }
        if "with_random_head" in report:
            row["perplexity_with_random_head"] = round(report["with_random_head"]["perplexity"], 2)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
