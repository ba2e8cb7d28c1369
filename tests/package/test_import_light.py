"""Importing the package, its factories and its command line stays light."""

import subprocess
import sys

import pytest

HEAVY = ("transformers", "spacy_transformers", "matplotlib", "safetensors.torch", "pandas")


def run(code: str) -> str:
    """Run code in a fresh process and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "module", ["bert_spacy", "bert_spacy.factories", "bert_spacy.sources", "bert_spacy.cli.app"]
)
def test_import_does_not_load_heavy_packages(module):
    # A module on disk, even unimported, must not be mistaken: only what is loaded counts.
    loaded = run(
        f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert loaded == "[]"


def test_importing_the_package_does_not_load_spacy_or_torch():
    loaded = run(
        "import sys, bert_spacy; print([n for n in ('spacy','torch') if n in sys.modules])"
    )
    assert loaded == "[]"


def test_a_blank_pipeline_makes_no_module_of_ours_load_heavy_packages():
    # spaCy loads the factories of all packages, and spacy-transformers' own load transformers.
    loaded = run(f"""
import builtins, sys
found, load = set(), builtins.__import__
def watch(name, globals=None, *args, **kwargs):
    place = (globals or {{}}).get("__name__", "")
    if place.startswith("bert_spacy") and name.startswith({HEAVY!r}):
        found.add((place, name))
    return load(name, globals, *args, **kwargs)
builtins.__import__ = watch
import spacy
spacy.blank("zh")
assert "bert_spacy.factories" in sys.modules
print(found or "nothing")
""")
    assert loaded == "nothing"
