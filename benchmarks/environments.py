"""Virtual environments for packages that cannot live in ours."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.contest import ContenderError
from benchmarks.texts import ROOT

# Name -> requirements, beside the torch and transformers of this environment.
# edsnlp wants versions of its own, and brings accelerate, without which there is no Trainer.
REQUIREMENTS = {"edsnlp": ["edsnlp[ml]==0.23.0"]}
SAME = ("torch", "transformers", "tokenizers", "numpy")

_failed: dict[str, str] = {}


def python_of(name: str, root: Path = ROOT) -> str:
    """Give the interpreter of an environment, and make the environment if need be.

    name (str): One of `REQUIREMENTS`; "" for the environment of this process.
    root (Path): Where `.venv-<name>` is.
    RETURNS (str): Path of the interpreter.
    RAISES (ContenderError): pip failed; the message has its last line.
    """
    if not name:
        return sys.executable
    folder = root / f".venv-{name}"
    python, stamp = folder / "bin" / "python", folder / ".complete"
    wanted = "\n".join(requirements(name))
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    if name not in _failed:
        print(f"making {folder}", file=sys.stderr, flush=True)
        _failed[name] = _install(folder, python, requirements(name))
        if not _failed[name]:
            stamp.write_text(wanted)
            del _failed[name]
            return str(python)
    raise ContenderError(f"{folder.name} could not be made: {_failed[name]}")


def requirements(name: str) -> list[str]:
    """List what pip installs: the same torch and transformers as here, and the package."""
    return [*(f"{x}=={version(x).split('+')[0]}" for x in SAME), *REQUIREMENTS[name]]


def _install(folder: Path, python: Path, wanted: list[str]) -> str:
    """Make the environment; return what went wrong, or nothing."""
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", *wanted],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = (done.stderr + done.stdout).strip().splitlines()
            errors = [line for line in lines if line.startswith("ERROR")] or lines
            return errors[-1][:300] if errors else f"{command} ended with {done.returncode}"
    return ""
