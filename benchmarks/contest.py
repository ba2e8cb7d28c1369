"""Contenders as processes, run in turn, and compared before they are timed."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.texts import ROOT

START_LIMIT, RUN_LIMIT = 300, 900  # seconds
PAUSE = 0.1  # lets spinning threads of the one before fall asleep


@dataclass
class Contender:
    """Describe one contender.

    name (str): Key in the results.
    module (str): Module in `benchmarks.contenders`.
    kind (str): Class in that module.
    settings (dict): What the class is given, beside the settings of the run.
    assets (dict[str, str]): Setting -> name of something in `benchmarks.build`.
    python (str): Name of its environment in `benchmarks.environments`; "" for this one.
    """

    name: str
    module: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    assets: dict[str, str] = field(default_factory=dict)
    python: str = ""


class ContenderError(Exception):
    """A contender cannot take part, for the reason in the message."""


class Worker:
    """The process of one contender.

    contender (Contender): Which one.
    settings (dict): Its complete settings; "threads" goes to the environment too.
    folder (Path): Takes its log and its answers.
    python (str): The interpreter.
    """

    def __init__(
        self, contender: Contender, settings: dict[str, Any], folder: Path, python: str = ""
    ):
        self.name = contender.name
        self.log = folder / f"{contender.name}.log"
        self.path = folder / f"{contender.name}.npz"
        threads = str(settings.get("threads", 2))
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python or sys.executable, "-m", "benchmarks.worker"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.rest = b""
        module = f"benchmarks.contenders.{contender.module}"
        self._send({"do": "start", "module": module, "name": contender.kind, "settings": settings})

    def wait(self) -> None:
        """Wait until the contender is loaded; several can load at the same time.

        RAISES (ContenderError): It could not be loaded.
        """
        self._receive(START_LIMIT)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer.

        request (dict): See `benchmarks.worker`.
        RETURNS (dict): The answer.
        RAISES (ContenderError): The contender failed, died or took too long.
        """
        self._send(request)
        return self._receive(RUN_LIMIT)

    def _send(self, request: dict[str, Any]) -> None:
        if self.process.stdin is None:
            raise ContenderError("no pipe to the process")
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ContenderError(self._why_dead()) from None

    def _receive(self, limit: float) -> dict[str, Any]:
        if self.process.stdout is None:
            raise ContenderError("no pipe to the process")
        answer = json.loads(self._read_line(self.process.stdout.fileno(), limit))
        if not answer.pop("ok"):
            raise ContenderError(answer["reason"])
        return answer

    def _read_line(self, pipe: int, limit: float) -> bytes:
        end = time.monotonic() + limit
        while b"\n" not in self.rest:
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                self.process.kill()
                raise ContenderError(f"took longer than {limit:.0f} seconds")
            part = os.read(pipe, 65536)
            if not part:
                raise ContenderError(self._why_dead())
            self.rest += part
        line, self.rest = self.rest.split(b"\n", 1)
        return line

    def _why_dead(self) -> str:
        code = self.process.wait(timeout=60)
        lines = self.log.read_text(encoding="utf8", errors="replace").strip().splitlines()
        return f"its process ended with {code}: {lines[-1] if lines else 'no message'}"[:300]

    def answers(self) -> dict[str, np.ndarray]:
        """Let it predict, and give what it found."""
        self.ask({"do": "answers", "path": str(self.path)})
        with np.load(self.path) as file:
            return {name: file[name] for name in file.files}

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError, ValueError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def run_in_turn(
    workers: dict[str, Worker], rounds: int
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Run every contender once in each round, so that a slow spell hits all of them.

    workers (dict[str, Worker]): By name, in the order of each round.
    rounds (int): How often.
    RETURNS: For each contender one answer a round, and the reasons of those that failed.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for name, worker in workers.items():
            if name in failed:
                continue
            time.sleep(PAUSE)
            try:
                found[name].append(worker.ask({"do": "run"}))
            except ContenderError as err:
                failed[name] = str(err)
    return {name: runs for name, runs in found.items() if name not in failed}, failed


def compare_answers(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    """Compare what two contenders predict, key by key, where both have the key.

    RETURNS (dict[str, float]): For floats the norm of the difference over the norm, for
        labels the share that is different: 0 is agreement in both.
    """
    result = {}
    for key in ours.keys() & theirs.keys():
        a, b = ours[key], theirs[key]
        if a.shape != b.shape:
            result[key] = float("inf")
        elif a.dtype.kind == "f":
            result[key] = float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-12))
        else:
            result[key] = float((a != b).mean())
    return dict(sorted(result.items()))


def disagreements(differences: dict[str, float], tolerance: dict[str, float]) -> list[str]:
    """Name what differs by more than is allowed; every key must be allowed something."""
    if not differences:
        return ["no answers that could be compared"]
    return [
        f"answers differ: {key} by {value:.3g}, allowed {tolerance.get(key, 0.0):g}"
        for key, value in differences.items()
        if not value <= tolerance.get(key, 0.0)
    ]


def close_all(workers: Iterable[Worker]) -> None:
    """End all processes."""
    for worker in workers:
        worker.close()
