"""Train classifier, NER and question answering on one encoder, and score each.

    python benchmarks/joint.py --data DIR --weights albert-tiny-zh --seed 0

trains one pipeline on thucnews_titles, cluener and cmrc2018 together, each item as
often as benchmarks/accuracy.py does for its task alone, and prints the scores of
all three as one JSON object on its last line. Compare with three runs of
accuracy.py with the same weights and seed.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.cli.train import train
from spacy.tokens import DocBin
from spacy.util import load_model_from_config
from thinc.api import Config

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import ours  # noqa: E402
from benchmarks.accuracy import round_score  # noqa: E402
from benchmarks.tasks import TASKS, encoder_rate  # noqa: E402

NAMES = ("thucnews_titles", "cluener", "cmrc2018")
EVALUATIONS = 4


def main() -> None:
    """Train on the three tasks together and print their scores."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="Folder with one folder per set.")
    parser.add_argument("--weights", default="albert-tiny-zh")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="Use only so many training items, for a trial.")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    began = time.perf_counter()
    splits = {name: TASKS[name].load(args.data) for name in NAMES}
    with tempfile.TemporaryDirectory() as folder:
        config = write_corpora(splits, args, Path(folder))
        config.to_disk(Path(folder) / "config.cfg")
        train(Path(folder) / "config.cfg", Path(folder) / "out")
        nlp = spacy.load(Path(folder) / "out" / "model-best")
    result: dict[str, Any] = {"task": "joint", "weights": args.weights, "seed": args.seed}
    for name in NAMES:
        for split in ("dev", "test"):
            items = splits[name][split]
            score = TASKS[name].score(items, ours.predict(nlp, TASKS[name], items))
            result.setdefault(name, {})[split] = round_score(score)
    result["seconds"] = round(time.perf_counter() - began, 1)
    print(json.dumps(result), flush=True)


def write_corpora(splits: dict[str, Any], args: argparse.Namespace, root: Path) -> Config:
    """Write the `.spacy` files of all tasks and make the config that trains on them.

    splits (dict): Items by task and split.
    args (Namespace): Weights, seed and limit.
    root (Path): Where the files go.
    RETURNS (Config): For `spacy train`.
    """
    blank = spacy.blank(ours.language(args.weights))
    passes: list[str] = []
    for name in NAMES:
        task = TASKS[name]
        items = [x for x in splits[name]["train"] if getattr(x, "is_trainable", True)][: args.limit]
        for split, part in (("train", items), ("dev", splits[name]["dev"])):
            docs = [ours.make_gold(blank, item) for item in part]
            DocBin(docs=docs).to_disk(root / f"{name}.{split}.spacy")
        passes += [str(root / f"{name}.train.spacy")] * task.epochs
    question = TASKS["cmrc2018"]
    config = Config().from_str(ours.CONFIG)
    heads = [ours.COMPONENTS[TASKS[name].kind] for name in NAMES]
    config["nlp"].update(lang=ours.language(args.weights), pipeline=["bert_encoder", *heads])
    del config["components"]["head"]
    for head in heads:
        config["components"][head] = {"factory": head}
    config["components"]["bert_qa"]["max_answer_tokens"] = question.max_answer
    config["components"]["bert_encoder"]["model"].update(
        name=args.weights, window=question.max_pieces, stride=question.max_pieces - 160
    )
    config["corpora"]["train"]["path"] = passes
    config["corpora"]["dev"]["path"] = [str(root / f"{name}.dev.spacy") for name in NAMES]
    config["training"]["batcher"]["max_pieces"] = ours.BATCH_SIZE * question.max_pieces
    config["training"]["score_weights"] = {
        ours.SCORES[TASKS[name].kind]: round(1 / len(NAMES), 4) for name in NAMES
    }
    # One pass over a list that holds each item as often as it is to be seen.
    nlp = load_model_from_config(config, auto_fill=True)
    frequency = ours.count_batches(nlp) // EVALUATIONS
    steps = frequency * EVALUATIONS
    config = nlp.config
    config["training"].update(seed=args.seed, max_steps=steps, eval_frequency=frequency)
    config["training"]["optimizer"]["learn_rate"].update(
        initial_rate=encoder_rate(args.weights),
        warmup_steps=max(1, steps // 10),
        total_steps=steps,
    )
    return config


if __name__ == "__main__":
    main()
