"""Install built wheels into a fresh environment and compare predictions with the source.

The environment has no network and no weights but those in the wheels. What the
wheels depend on is borrowed from the running Python, not installed again.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Any

from wasabi import msg

from bert_spacy.util import atomic_file

TOLERANCE = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline", type=Path, help="The folder that was packaged.")
    parser.add_argument("package", help="Name of the package, as in spacy.load.")
    parser.add_argument("wheels", type=Path, help="A folder with all wheels to install.")
    parser.add_argument("texts", type=Path, help="Input of `bert_spacy predict`.")
    parser.add_argument("output", type=Path, help="A .json file for the result.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="install-check-") as folder:
        n_rows = check(args.pipeline, args.package, args.wheels, args.texts, Path(folder))
    result = {"package": args.package, "rows": n_rows, "same": True}
    with atomic_file(args.output) as file_:
        file_.write(json.dumps(result, indent=2) + "\n")
    msg.good(f"'{args.package}' is installable", f"{n_rows} rows predicted as before packaging")


def check(pipeline: Path, package: str, wheels: Path, texts: Path, folder: Path) -> int:
    """Install, predict with both, and compare.

    pipeline (Path): The folder that was packaged.
    package (str): The package made of it.
    wheels (Path): The wheels.
    texts (Path): Rows to predict.
    folder (Path): An empty folder for the environment and the predictions.
    RETURNS (int): Number of rows. Exits if any differ, or a step fails.
    """
    python = make_environment(folder / "venv", sorted(wheels.rglob("*.whl")))
    before, after = folder / "before.jsonl", folder / "after.jsonl"
    predict([sys.executable], str(pipeline.resolve()), texts, before, folder)
    predict([str(python), "-I"], package, texts, after, folder)
    rows = [
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in (before, after)
    ]
    if not rows[0] or len(rows[0]) != len(rows[1]):
        msg.fail("Different numbers of rows", f"{len(rows[0])} and {len(rows[1])}", exits=1)
    for left, right in zip(*rows):
        if not is_same(left, right):
            msg.fail("Predictions differ after packaging", f"{left}\n{right}", exits=1)
    return len(rows[0])


def make_environment(folder: Path, wheels: list[Path]) -> Path:
    """Make an environment with the wheels.

    folder (Path): Where to make it.
    wheels (list[Path]): The wheels to install, without their dependencies.
    RETURNS (Path): Its Python.
    """
    if not wheels:
        msg.fail("There are no wheels to install", "Run the step 'package' first.", exits=1)
    venv.create(folder, with_pip=False)
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = folder / scripts / Path(sys.executable).name
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    answer = subprocess.run([python, "-I", "-c", query], capture_output=True, text=True, check=True)
    borrowed = dict.fromkeys(sysconfig.get_path(key) for key in ("purelib", "platlib"))
    # Plain paths: an editable install of the checkout is not borrowed.
    lines = "".join(f"{path}\n" for path in borrowed)
    Path(answer.stdout.strip(), "borrowed.pth").write_text(lines, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    options = ["--no-deps", "--no-index", "--force-reinstall", "--ignore-installed"]
    subprocess.run([*command, *options, *map(str, wheels)], check=True)
    return python


def predict(python: list[str], pipeline: str, texts: Path, output: Path, folder: Path) -> None:
    """Run `bert_spacy predict` in a process that cannot fetch anything.

    python (list[str]): The interpreter and its options.
    pipeline (str): Folder or package.
    texts (Path): The input.
    output (Path): The output.
    folder (Path): Working folder, in which no source of ours lies.
    """
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(empty),
        "BERT_SPACY_CACHE": str(empty),
    }
    command = [*python, "-m", "bert_spacy", "predict", pipeline, str(texts.resolve())]
    done = subprocess.run(
        [*command, "-o", str(output)],
        cwd=empty,
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        msg.fail(f"Cannot predict with {pipeline}", done.stdout + done.stderr, exits=1)


def is_same(left: Any, right: Any) -> bool:
    """Compare two JSON values; numbers may differ by rounding."""
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=0, abs_tol=TOLERANCE)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(is_same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(is_same, left, right))
    return bool(left == right)


if __name__ == "__main__":
    main()
