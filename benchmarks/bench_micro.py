"""Sections of `bench.py` about micro: in batches, beside the machine's rate, and beside vLLM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import speed
from bench_common import PACKAGE, ROUNDS, count_operations, limits, spread, table, time_in_turns, words


def micro(quick: bool) -> str:
    """micro in batches: how much of the machine's rate it reaches."""
    pairs = [pair for drawn in speed.draw_rounds(10 if quick else 64) for pair, _ in drawn]
    rows = []
    for name, bfloat16 in (("float32", False), ("bfloat16", True)):
        engine = speed.make_engine("micro", bfloat16=bfloat16)
        call: Callable[[], Any] = lambda engine=engine: engine.respond(pairs)  # noqa: E731
        work = count_operations(call) / len(pairs)
        seconds = time_in_turns({name: call}, 1 if quick else ROUNDS)[name]
        rates = [work * len(pairs) / value for value in seconds]
        limit = limits()[f"{name}, GFLOP/s"][0]
        each = words(spread([1000 * value / len(pairs) for value in seconds]))
        rows.append((name, each, f"{work:.2f}", words(spread(rates), 0), f"{100 * spread(rates)[0] / limit:.0f} %"))
    return table(("products in", "ms a query", "GFLOP a query", "GFLOP/s", "of the machine's rate"), rows)


def engines(quick: bool) -> str:
    """micro in the engine of this process and in vLLM: the same weights, grammar and pairs, in turns.

    LAD_VLLM_PYTHON names a Python in which vLLM can be imported.
    """
    python = os.environ.get("LAD_VLLM_PYTHON", "")
    if not python:
        return "No Python with vLLM was at hand (LAD_VLLM_PYTHON)."
    number, rounds = (10, 1) if quick else (255, ROUNDS)
    with Engine(sys.executable, "transformers", number) as ours, Engine(python, "vllm", number) as theirs:
        turns = [(ours.turn(), theirs.turn()) for _ in range(rounds)]
    rows = []
    for name, side in (("ours", 0), ("vLLM", 1)):
        each = [1000 * turn[side]["seconds"] / len(turn[side]["answers"]) for turn in turns]
        gains = [turn[1]["seconds"] / turn[side]["seconds"] for turn in turns]
        rows.append((name, words(spread(each)), words(spread(gains), 2)))
    pairs = list(zip(turns[0][0]["answers"], turns[0][1]["answers"], strict=True))
    same = sum(ours == theirs for ours, theirs in pairs)
    return (
        f"{table(('engine', 'ms a query', 'times as fast as vLLM'), rows)}\n\n{same} of {len(pairs)} texts are equal."
    )


class Engine:
    """A process of engine.py that waits for its turns."""

    def __init__(self, python: str, name: str, number: int) -> None:
        settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_LOGGING_LEVEL": "ERROR"}
        environment = {**os.environ, **settings, "PYTHONPATH": str(PACKAGE.parent)}
        command = [python, str(Path(__file__).with_name("engine.py")), name, str(number)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()  # its loop ends
        self.process.stdout.close()
        self.process.wait()

    def turn(self) -> dict[str, Any]:
        """One turn: seconds and answers."""
        assert self.process.stdin and self.process.stdout
        print("turn", file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("{"):  # vLLM writes of itself, too
                result: dict[str, Any] = json.loads(line)
                return result
        raise SystemExit("the engine ended; its last words are above")
