"""What the sections of `bench.py` share: rounds and how they are told, the limits of the machine, the pictures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import speed
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from lad_reasoner.judges import load_judge
from lad_reasoner.miniloco import EVALUATION, draw_picture

PACKAGE = Path(load_judge.__code__.co_filename).parents[1]
SIDE = 448  # pixels of the pictures that evidence judges here
ROUNDS = 5

Spread = tuple[float, float, float]  # median, lowest, highest


def spread(values: Sequence[float]) -> Spread:
    """Median, lowest, highest."""
    return statistics.median(values), min(values), max(values)


def words(values: Spread, digits: int = 1) -> str:
    """`4.5 (4.2 to 4.8)`."""
    middle, low, high = values
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def time_in_turns(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round; the calls take turns, so that a busy minute slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def matrix_rate(dtype: torch.dtype, device: str = "cpu", size: int = 1024) -> Spread:
    """GFLOP/s of a product of two square matrices."""
    # Random numbers: a GPU is faster with equal ones.
    matrix = torch.randn(size, size, device=device).to(dtype)
    return spread([2 * size**3 / seconds / 1e9 for seconds in _time(lambda: torch.mm(matrix, matrix), device, 20)])


def bandwidth(device: str = "cpu") -> Spread:
    """GB/s of a copy, reading and writing counted, of blocks that fit into no cache."""
    source = torch.ones((64 if device == "cpu" else 512) * 1024**2, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()
    return spread([moved / seconds / 1e9 for seconds in _time(lambda: target.copy_(source), device, 10)])


def _time(call: Callable[[], Any], device: str, rounds: int) -> list[float]:
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return times[1:]  # the first one makes threads and pages


@cache
def limits() -> dict[str, Spread]:
    """The rates of this machine, measured once a run."""
    return {
        "float32, GFLOP/s": matrix_rate(torch.float32),
        "bfloat16, GFLOP/s": matrix_rate(torch.bfloat16),
        "memory, GB/s": bandwidth(),
    }


@cache
def draw_pictures(split: str, number: int) -> list[Image.Image]:
    """Pictures of one product; queries are good and anomalous in turn."""
    pictures = []
    for index in range(number):
        kind = "logical" if split == "test" and index % 2 else "good"
        pictures.append(draw_picture(EVALUATION[0], split, kind, index, size=SIDE, seed=speed.SEED).image)  # type: ignore[arg-type]
    return pictures


def count_operations(call: Callable[[], Any]) -> float:
    """GFLOP that torch counts: convolutions, matrix products and attention."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9
