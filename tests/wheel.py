"""A pipeline in a wheel of its own, run by a process that knows the wheel alone."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import spacy

RUN = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
sys.modules["h5py"] = None
nlp = importlib.import_module(sys.argv[2]).load()
for doc in nlp.pipe(json.loads(sys.argv[3])):
    ents = [[ent.text, ent.label_] for ent in doc.ents]
    print(json.dumps([doc.cats, ents]))
"""


def assert_same_in_wheel(pipeline: Path, texts: list[str], folder: Path) -> None:
    """Package a pipeline, unpack its wheel, and compare what a new process predicts.

    pipeline (Path): A saved pipeline with a classifier and a NER component.
    texts (list[str]): What to predict.
    folder (Path): Where the wheel is made.
    """
    nlp = spacy.load(pipeline)
    packages, site = folder / "packages", folder / "site"
    packages.mkdir()
    options = ["--name", "tiny", "--version", "1.0.0", "--build", "wheel"]
    call([sys.executable, "-m", "spacy", "package", str(pipeline), str(packages), *options], folder)
    (wheel,) = packages.rglob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    rows = call(
        [sys.executable, "-c", RUN, str(site), f"{nlp.lang}_tiny", json.dumps(texts)], folder
    ).splitlines()
    assert len(rows) == len(texts)
    for row, doc in zip(rows, nlp.pipe(texts), strict=True):
        cats, ents = json.loads(row)
        assert cats == pytest.approx(doc.cats, abs=1e-5)
        assert ents == [[ent.text, ent.label_] for ent in doc.ents]


def call(command: list[str], folder: Path) -> str:
    """Run a command in a folder and return what it printed."""
    done = subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
