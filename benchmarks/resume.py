"""Kill a training run at random moments, let it go on, and compare the weights at the end.

    python benchmarks/resume.py --kills 20

Trains `configs/ner.cfg` on the small corpus, once without a stop and then `--kills` times with
one `kill -9` each, at a moment drawn over the whole time that a run takes. The last line is a JSON
object: how many of the final checksums equal the first.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--checkpoint-every", type=int, default=6)
    parser.add_argument("--weights", default="albert-tiny-zh")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw = random.Random(args.seed)  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for part in ("train", "dev"):
            convert = ("convert", "conll", f"corpus/ner/zh.{part}.bio", root / f"{part}.spacy")
            bert_spacy(*convert, "--lang", "zh").wait()
        begin = time.perf_counter()
        if start(root, root / "whole", args, resume=False).wait():
            sys.exit("The run without a stop failed.")
        seconds = time.perf_counter() - begin
        wanted = checksum(root / "whole" / "model-last")
        equal = early = 0
        for n in range(args.kills):
            output = root / f"killed{n}"
            process = start(root, output, args, resume=False)
            moment = draw.uniform(0, seconds)
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                early += 1
            steps = sorted(p.name for p in output.glob("checkpoints/step-*"))
            code = start(root, output, args, resume=True).wait()
            same = code == 0 and checksum(output / "model-last") == wanted
            equal += same
            print(f"{n}: {moment:.1f} s, checkpoint {steps[-1:]}, equal: {same}", flush=True)
    print(json.dumps({"kills": args.kills, "before_the_end": early, "equal": equal}))


def bert_spacy(*args: object) -> subprocess.Popen:
    """Start a command of the package."""
    words = [sys.executable, "-m", "bert_spacy", *map(str, args)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, cwd=ROOT, stdout=quiet, stderr=quiet)


def start(root: Path, output: Path, args: argparse.Namespace, *, resume: bool) -> subprocess.Popen:
    """Start or go on with one run."""
    settings = {
        "--checkpoint-every": args.checkpoint_every,
        "--components.bert_encoder.model.name": args.weights,
        "--nlp.lang": "zh",
        "--paths.train": root / "train.spacy",
        "--paths.dev": root / "dev.spacy",
        "--training.max_steps": args.steps,
        "--training.eval_frequency": 15,
        "--training.batcher.size": 4,
    }
    words = [word for item in settings.items() for word in item]
    flag = "--resume" if resume else "--no-resume"
    return bert_spacy("train", "configs/ner.cfg", "--output", output, flag, *words)


def checksum(folder: Path) -> str:
    """Return one checksum of all weights of a pipeline."""
    files = sorted(p for p in folder.rglob("*") if p.name in ("model", "model.safetensors"))
    return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()


if __name__ == "__main__":
    main()
