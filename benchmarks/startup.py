"""Start-up: loading a saved pipeline against loading its encoder alone, and what imports load."""

import os
import subprocess
import sys
from datetime import datetime, timezone

from benchmarks.build import Assets
from benchmarks.contest import ContenderError
from benchmarks.table import Result
from benchmarks.texts import ROOT

# Each is run in a fresh process and prints seconds: of the load alone, and of the imports too.
LOAD_OURS = """
import time; begin = time.perf_counter()
import spacy, torch, transformers, bert_spacy.pipeline.encoder
ready = time.perf_counter()
spacy.load({path!r})
"""
LOAD_THEIRS = """
import time; begin = time.perf_counter()
import torch; from transformers import AutoModel, BertModel
ready = time.perf_counter()
AutoModel.from_pretrained({path!r})
"""
PIPELINES = (("ours-fp32", "exact"), ("ours", "torch fp32"))
PRINT = "end = time.perf_counter(); print(end - ready, end - begin)"
# Prints the module that imports transformers first, or nothing.
WATCH = """
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while "importlib" in frame.f_globals["__name__"]:
            frame = frame.f_back
        if name == "transformers":
            print(frame.f_globals["__name__"])
sys.meta_path.insert(0, Watch())
{code}
"""
LIGHT = {
    "import bert_spacy": "import bert_spacy",
    'spacy.blank("zh")': 'import spacy; spacy.blank("zh")',
}


def measure(assets: Assets, rounds: int, threads: int, mode: str) -> list[Result]:
    """Load ours and theirs in turn, each time in a fresh process.

    assets (Assets): Has the pipelines.
    rounds (int): How often; a first round warms the cache of files and is not counted.
    threads (int): Threads of both.
    mode (str): "quick" leaves out the pipeline without an exported encoder.
    RETURNS (list[Result]): A ratio above 0.5 means less than twice their time.
    """
    found = []
    for name, title in PIPELINES if mode == "full" else PIPELINES[:1]:
        load = Result(
            f"load-{name}", f"spacy.load, {title}", "AutoModel.from_pretrained, same weights", 0.5
        )
        whole = Result(
            f"start-{name}", f"imports and spacy.load, {title}", "the same with AutoModel alone"
        )
        load.measured = whole.measured = datetime.now(timezone.utc).isoformat(timespec="seconds")
        try:
            ours = LOAD_OURS.format(path=str(assets.get(name))) + PRINT
            theirs = LOAD_THEIRS.format(path=str(assets.get("encoder"))) + PRINT
            for i in range(rounds + 1):
                pair = run(ours, threads), run(theirs, threads)
                if i:
                    load.rounds.append(pair[1][0] / pair[0][0])
                    whole.rounds.append(pair[1][1] / pair[0][1])
        except ContenderError as err:
            load.reason = whole.reason = str(err)
        found += [load, whole]
    return [*found, *(light(what, code) for what, code in LIGHT.items())]


def light(what: str, code: str) -> Result:
    """Say whether something imports transformers, a share of 0 or 1, and by which module."""
    result = Result(f"light: {what}", f"{what} imports transformers", "-", 0.0, is_share=True)
    try:
        importers = output(WATCH.format(code=code), 1).split()
    except ContenderError as err:
        result.reason = str(err)
        return result
    result.rounds = [float(bool(importers))]
    if importers:
        result.problems = [f"transformers is first imported by {importers[0]}"]
    return result


def run(code: str, threads: int) -> list[float]:
    """Run code in a fresh process and read the numbers that it prints last."""
    return [float(x) for x in output(code, threads).strip().splitlines()[-1].split()]


def output(code: str, threads: int) -> str:
    """Run code in a fresh process and give what it prints."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ContenderError(done.stderr.strip().splitlines()[-1][:300])
    return done.stdout
