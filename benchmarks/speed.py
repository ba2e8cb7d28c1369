"""Speed of the package against other packages and against bare loops, side by side.

    python -m benchmarks.speed --quick

prints one table, and writes results.json and charts to metrics/speed. A row is a ratio
of speeds, measured round by round while all its contenders take turns, each in a process
of its own; before that, their answers are compared.
"""

import argparse
import json
import os
import platform
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import chart, startup, sweeps
from benchmarks.build import Assets, cache_key, piece_ends
from benchmarks.contest import (
    Contender,
    ContenderError,
    Worker,
    close_all,
    compare_answers,
    disagreements,
    run_in_turn,
)
from benchmarks.environments import python_of
from benchmarks.memory import measure_all
from benchmarks.speed_rows import GROUPS, Group, Row
from benchmarks.table import Result, format_table, from_json, ratios, to_json, write_json
from benchmarks.texts import ROOT, make_inputs
from bert_spacy.util import atomic_file

# Texts, questions, rounds and training batches a run.
SIZES = {"quick": (64, 24, 3, 3), "full": (400, 1000, 5, 20)}
FULL_ONLY = ("sweeps", "memory")
PACKAGES = ("torch", "transformers", "spacy", "spacy-transformers", "onnxruntime", "pytorch-crf")


def main() -> int:
    """Run the suite."""
    args = parse()
    mode = "quick" if args.quick else "full"
    n_texts, n_questions, rounds, batches = SIZES[mode]
    inputs = make_inputs(n_texts, n_questions, piece_ends("encoder"), piece_ends("encoder-zh"))
    folder = args.cache / cache_key(inputs)
    inputs_path = folder / f"inputs-{mode}.json"
    with atomic_file(inputs_path) as file:
        json.dump(inputs, file)
    settings = {
        "threads": args.threads,
        "budget": args.budget,
        "batches": batches,
        "inputs": str(inputs_path),
    }
    assets = Assets(folder, inputs)
    if args.prepare:
        return prepare(assets, mode)
    report = read_report(args.output / "results.json", mode) if args.only else {}
    report |= {"mode": mode, "machine": describe_machine(args.threads), "texts": inputs["origin"]}
    results = {result.id: result for result in from_json(report.get("rows", []))}

    begin = time.monotonic()

    def keep(part: str, found: list[Result]) -> None:
        """Write what there is after each part, so that a run that is stopped loses one part."""
        nonlocal begin
        print(f"{part}: took {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
        begin = time.monotonic()
        results.update({result.id: result for result in found})
        report["rows"] = to_json(in_order(results))
        write_json(args.output / "results.json", report)

    for group in GROUPS:
        rows = choose_rows(group, args.only, mode)
        if rows:
            keep(group.name, run_group(group, rows, settings, assets, args.rounds or rounds))
    if is_chosen("startup", args.only, mode):
        keep("startup", startup.measure(assets, args.rounds or rounds, args.threads, mode))
    if is_chosen("sweeps", args.only, mode):
        report["sweeps"] = sweeps.measure(settings, assets, folder)
        keep("sweeps", [])
    if is_chosen("memory", args.only, mode):
        report["memory"] = measure_all(args.threads)
        keep("memory", [])
    chart.draw_rows(in_order(results), args.output / "ratios.png")
    if report.get("sweeps"):
        chart.draw_sweeps(report["sweeps"], args.output / "sweeps.png")
    print(format_table(in_order(results)))
    for line in sweeps.format_lines(report.get("sweeps", {})):
        print(line)
    for row in report.get("memory", []):
        print(f"memory, {row['what']}: {row['peak_above_mb']} MB above the loaded pipeline")
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="under five minutes, fewer texts")
    parser.add_argument("--only", nargs="+", default=[], help="rows or groups; others are kept")
    parser.add_argument("--rounds", type=int, help="rounds, instead of the mode's own number")
    parser.add_argument("--threads", type=int, default=2)
    # With the 2,048 of ours, bare loops take up to 1.3 times as long.
    parser.add_argument("--budget", type=int, default=1024, help="pieces a batch, bare loops")
    parser.add_argument("--output", type=Path, default=ROOT / "metrics" / "speed")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "speed")
    parser.add_argument("--prepare", action="store_true", help="make what is needed, no timing")
    args = parser.parse_args()
    known = {group.name for group in GROUPS} | {row.id for group in GROUPS for row in group.rows}
    unknown = set(args.only) - known - {"startup", *FULL_ONLY}
    if unknown:
        parser.error(f"--only does not know {sorted(unknown)}; it knows {sorted(known)}")
    return args


def is_chosen(name: str, only: list[str], mode: str) -> bool:
    """Whether a part that is no group is wanted."""
    return name in only if only else mode == "full" or name not in FULL_ONLY


def choose_rows(group: Group, only: list[str], mode: str) -> list[Row]:
    """Give the rows of a group that are wanted."""
    if only:
        return [row for row in group.rows if group.name in only or row.id in only]
    return group.rows if group.is_quick or mode == "full" else []


def run_group(
    group: Group, rows: list[Row], settings: dict[str, Any], assets: Assets, rounds: int
) -> list[Result]:
    """Start the contenders of some rows, compare their answers, and run them in turn."""
    wanted = {name for row in rows for name in (row.ours, row.theirs) if name}
    workers: dict[str, Worker] = {}
    answers: dict[str, Any] = {}
    failed: dict[str, str] = {}
    try:
        for contender in group.contenders:
            if contender.name in wanted:
                try:
                    workers[contender.name] = start(contender, settings, assets)
                except ContenderError as err:
                    failed[contender.name] = str(err)
        for name, worker in workers.items():
            try:
                worker.wait()
            except ContenderError as err:
                failed[name] = str(err)
        for name, worker in workers.items():
            try:
                if name not in failed:
                    answers[name] = worker.answers()
            except ContenderError as err:
                failed[name] = str(err)
        alive = {name: worker for name, worker in workers.items() if name not in failed}
        runs, stopped = run_in_turn(alive, rounds)
    finally:
        close_all(workers.values())
    failed |= stopped
    return [make_result(row, answers, runs, failed) for row in rows]


def start(contender: Contender, settings: dict[str, Any], assets: Assets) -> Worker:
    """Make what a contender needs, and start its process."""
    found = {key: str(assets.get(name)) for key, name in contender.assets.items()}
    complete = {**settings, **contender.settings, **found}
    python = python_of(contender.python)
    return Worker(contender, complete, assets.folder, python)


def make_result(
    row: Row, answers: dict[str, Any], runs: dict[str, list[dict]], failed: dict[str, str]
) -> Result:
    """Put the line of a row together."""
    result = Result(row.id, row.what, row.against, row.target, is_share=not row.theirs)
    result.measured = datetime.now(timezone.utc).isoformat(timespec="seconds")
    sides = [name for name in (row.ours, row.theirs) if name]
    result.reason = "; ".join(failed[name] for name in sides if name in failed)
    if result.reason:
        return result
    if not row.theirs:
        result.rounds = [run["share"] for run in runs[row.ours]]
        return result
    result.ours, result.theirs = (
        [run["units"] / run["seconds"] for run in runs[name]] for name in sides
    )
    result.rounds = ratios(result.ours, result.theirs)
    result.differences = compare_answers(answers[row.ours], answers[row.theirs])
    result.problems = disagreements(result.differences, row.tolerance)
    return result


def prepare(assets: Assets, mode: str) -> int:
    """Make every pipeline and environment of a mode, and say what cannot be made."""
    for group in [group for group in GROUPS if choose_rows(group, [], mode)]:
        for contender in group.contenders:
            try:
                python_of(contender.python)
                for name in contender.assets.values():
                    assets.get(name)
            except ContenderError as err:
                print(f"{contender.name}: {err}")
    return 0


def read_report(path: Path, mode: str) -> dict[str, Any]:
    """Read earlier results, to which single rows are added; none of another mode."""
    report = json.loads(path.read_text(encoding="utf8")) if path.exists() else {}
    return report if report.get("mode") == mode else {}


def in_order(results: dict[str, Result]) -> list[Result]:
    """Sort results as the groups have them; the rest follows."""
    order = [row.id for group in GROUPS for row in group.rows]
    return sorted(
        results.values(), key=lambda r: order.index(r.id) if r.id in order else len(order)
    )


def describe_machine(threads: int) -> dict[str, Any]:
    """Describe what the run ran on."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "packages": packages,
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    sys.exit(main())
