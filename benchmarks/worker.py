"""The process of one contender: loads it, and runs it once for each line on standard input.

    {"do": "start", "module": ..., "name": ..., "settings": {...}}
    {"do": "answers", "path": "answers.npz"}     what it predicts, to compare with others
    {"do": "run", "arguments": {...}}            one timed run

Each line is answered by one line of JSON with "ok", and "reason" where that is false.
This module imports nothing but the standard library and numpy, as contenders live in
environments of their own.
"""

import importlib
import json
import os
import sys
import time
import traceback
from typing import Any, TextIO

import numpy as np


def main() -> None:
    """Serve until standard input ends."""
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf8")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    serve(sys.stdin, out)


def serve(lines: TextIO, out: TextIO) -> None:
    """Answer requests line by line.

    lines (TextIO): Requests.
    out (TextIO): Answers.
    """
    contender: Any = None
    for line in lines:
        request = json.loads(line)
        try:
            if request["do"] == "start":
                module = importlib.import_module(request["module"])
                contender = getattr(module, request["name"])(request["settings"])
                answer: dict[str, Any] = {}
            elif request["do"] == "answers":
                np.savez(request["path"], **contender.answers())
                answer = {}
            else:
                answer = timed(contender, request.get("arguments", {}))
            answer["ok"] = True
        except Exception as err:  # noqa: BLE001 - the reason is reported, whatever it is
            traceback.print_exc()
            answer = {"ok": False, "reason": reason(err)}
        print(json.dumps(answer), file=out, flush=True)


def timed(contender: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a contender once.

    contender (Any): Its `run` returns the units of work done (pieces, examples), or a
        dictionary with "units" and further values; "seconds" among them are taken for ours.
    RETURNS (dict): With "seconds" and "units".
    """
    begin = time.perf_counter()
    result = contender.run(**arguments)
    seconds = time.perf_counter() - begin
    values = result if isinstance(result, dict) else {"units": result}
    return {"seconds": seconds, **values}


def reason(err: Exception) -> str:
    """Say in one line what went wrong."""
    text = " ".join(str(err).split())
    return f"{type(err).__name__}: {text}"[:300]


if __name__ == "__main__":
    main()
