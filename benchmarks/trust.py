"""Measure how far the probabilities of entities can be trusted, and what they cost.

    python -m benchmarks.trust --pipeline PIPELINE --dev DEV.spacy --test TEST.spacy

The pipeline is calibrated on DEV in memory, once for everything, and judged on TEST; the folder
stays as it is. The last line is one JSON object:

- `ece`: expected calibration error (15 bins, exact bounds and label) before and after; `ece_noise`
  is what perfectly calibrated probabilities of the same size would show by chance alone;
- `halves`: the same where the Docs of DEV and TEST are mixed, one half fitted and the other judged,
  which leaves out the difference between the two files;
- `ranking`: area under the precision-recall curve of right against wrong entities, ours and that
  of the mean softmax of their tokens, and the same with wrong entities as the ones to find;
- `threshold`: precision and recall on DEV and TEST under thresholds for `--min-precision` on DEV;
- `cost`: seconds in one run, and shares of `nlp.pipe`.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import torch
from spacy.training import Example

from bert_spacy.data.corpus import Corpus
from bert_spacy.pipeline.ner import BertEntityRecognizer
from bert_spacy.scoring.calibration import average_precision, brier_score, expected_error
from bert_spacy.scoring.ner import has_gold, judge_spans
from bert_spacy.weights.calibrate import fit_head

K = 5


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--min-precision", type=float, default=0.95)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    nlp = spacy.load(args.pipeline)
    head = next(pipe for _, pipe in nlp.pipeline if isinstance(pipe, BertEntityRecognizer))
    dev, test = (
        [eg for eg in Corpus([path])(nlp) if has_gold(eg)] for path in (args.dev, args.test)
    )
    head.cfg.update(temperature=1.0, thresholds={})
    cost = time_all(nlp, head, test)
    before = judge(head, test)
    fitted = fit_head(head, dev, args.min_precision)
    after = judge(head, test)
    keep = after["p"] >= np.array([head.cfg["thresholds"][label] for label in after["label"]])
    n_gold = sum(len(eg.reference.ents) for eg in test)
    right = before["right"]
    result = {
        "entities": len(right),
        "precision": float(right.mean()),
        "recall": float(right.sum() / n_gold),
        "temperature": fitted["temperature"],
        "ece": [expected_error(x["p"], right) for x in (before, after)],
        "ece_noise": find_noise(after["p"]),
        "brier": [brier_score(x["p"], right) for x in (before, after)],
        "halves": judge_halves(head, dev + test, args.min_precision),
        "ranking": {
            "ours": average_precision(before["p"], right),
            "mean_softmax": average_precision(before["softmax"], right),
            "ours_wrong": average_precision(1 - before["p"], ~right),
            "mean_softmax_wrong": average_precision(1 - before["softmax"], ~right),
        },
        "threshold": {
            "asked": args.min_precision,
            "dev": [fitted["kept_precision"], fitted["kept_recall"]],
            "test": [float(right[keep].mean()), float(right[keep].sum() / n_gold)],
            "kept_of_right": float(right[keep].sum() / right.sum()),
            "unreached": fitted["unreached"],
        },
        "cost": cost,
    }
    print(json.dumps(result, default=lambda x: round(float(x), 4)))


def judge(head: BertEntityRecognizer, examples: list[Example]) -> dict[str, Any]:
    """Return probability, mean softmax of the tokens, label and verdict of each entity."""
    p, softmax, right, label = [], [], [], []
    for index, lattice in head.read_lattices([eg.predicted for eg in examples]):
        tags = lattice.decode()
        spans = lattice.read_spans(tags)
        scores = lattice.score(spans)
        table = torch.softmax(lattice.scores.emissions, 1).numpy()
        own = table[np.arange(len(tags)), tags]
        rows = zip(lattice.doc_of(spans), *spans, scores)
        for doc, start, end, k, score in rows:
            first, last = lattice.scores.tokens[[start, end - 1]].tolist()
            place = (first, last + 1, head.labels[k])
            [verdict] = judge_spans(examples[index[doc]], [place])
            if verdict is not None:
                p.append(score)
                softmax.append(own[start:end].mean())
                right.append(verdict)
                label.append(place[2])
    return {
        "p": np.array(p),
        "softmax": np.array(softmax),
        "right": np.array(right, dtype=bool),
        "label": label,
    }


def judge_halves(
    head: BertEntityRecognizer, examples: list[Example], min_precision: float
) -> dict[str, Any]:
    """Fit on random halves of the Docs and judge on the others; means over two halves."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(2):
        order = rng.permutation(len(examples))
        half = len(order) // 2
        parts = [[examples[i] for i in part] for part in (order[:half], order[half:])]
        head.cfg.update(temperature=1.0, thresholds={})
        before = judge(head, parts[1])
        fit_head(head, parts[0], min_precision)
        after = judge(head, parts[1])
        keep = after["p"] >= np.array([head.cfg["thresholds"][label] for label in after["label"]])
        right = after["right"]
        errors = [expected_error(x["p"], right) for x in (before, after)]
        row = [*errors, find_noise(after["p"]), right[keep].mean()]
        rows.append([*row, right[keep].sum() / right.sum()])
    names = ("ece_before", "ece_after", "ece_noise", "threshold_precision", "kept_of_right")
    return dict(zip(names, np.mean(rows, 0)))


def find_noise(p: np.ndarray, n_times: int = 200) -> float:
    """Return the mean error of outcomes that are drawn with just these probabilities."""
    rng = np.random.default_rng(0)
    return float(np.mean([expected_error(p, rng.random(len(p)) < p) for _ in range(n_times)]))


def time_all(nlp: Any, head: BertEntityRecognizer, examples: list[Example]) -> dict[str, Any]:
    """Time the pipeline and what comes on top of it, best of two rounds in turn."""
    texts = [eg.predicted.text for eg in examples]
    lattices = [lattice for _, lattice in head.read_lattices([eg.predicted for eg in examples])]
    scores = [lattice.scores for lattice in lattices]
    seconds: dict[str, list[float]] = {}

    def pipe(is_on: bool) -> None:
        head.score_entities = is_on
        list(nlp.pipe(texts))

    def each(action: Any) -> None:
        for part in scores:
            action(head.make_lattice(part))

    steps = {
        "pipe_without_scores": lambda: pipe(False),
        "pipe_with_scores": lambda: pipe(True),
        "marginals": lambda: each(lambda x: x.marginals()),
        "k_best": lambda: each(lambda x: x.decode_k_best(K)),
        "candidates": lambda: each(lambda x: x.search(head.candidate_threshold)),
    }
    for _ in range(2):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            seconds.setdefault(name, []).append(time.perf_counter() - begin)
    best = {name: min(values) for name, values in seconds.items()}
    whole = best["pipe_without_scores"]
    # k_best counts the sums over all paths as well, which turn scores into probabilities.
    shares = {f"{x}_share": best[x] / whole for x in ("marginals", "k_best", "candidates")}
    return {**best, **shares}


if __name__ == "__main__":
    main()
