"""All measurements of speed in one run, written to docs/performance.md: what `make bench` does.

    python benchmarks/bench.py                          everything: an hour on two cores
    python benchmarks/bench.py --only machine parts     some sections; the others stay as they are
    python benchmarks/bench.py --quick                  tries every section in a short form, printed only

Times of a shared machine vary: what is compared takes turns, and a number is the median of the rounds with the lowest
and the highest. The limits of the machine, its rate of matrix products and its memory bandwidth, are measured in the
same run; a share says how much of the rate a judge reaches, by the operations that torch counts in one query.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import speed
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch.utils.flop_counter import FlopCounterMode

from lad_reasoner import Inspector
from lad_reasoner.files.whole import write_whole
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.judges.evidence import threads
from lad_reasoner.judges.evidence.efficientnet import GRAPH, WEIGHTS
from lad_reasoner.judges.evidence.judge import Evidence
from lad_reasoner.judges.vlm.generation import Generator, ResponseBatch
from lad_reasoner.judges.vlm.prefix_cache import PrefixCache
from lad_reasoner.miniloco import EVALUATION, draw_picture
from lad_reasoner.runner import run
from lad_reasoner.version import __version__

PAGE = Path(__file__).parents[1] / "docs/performance.md"
PACKAGE = Path(load_judge.__code__.co_filename).parents[1]
SIDE = 448  # pixels of the pictures that evidence judges here
DISTINCT = 50  # queries that are drawn; more are the same ones again
INTERVAL = 0.004  # seconds between two looks at what the judge is doing
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


def matrix_rate(dtype: torch.dtype, device: str = "cpu", size: int = 1024, rounds: int = 20) -> Spread:
    """GFLOP/s of a product of two square matrices."""
    # Random numbers: a GPU is faster with equal ones.
    matrix = torch.randn(size, size, device=device).to(dtype)
    return spread([2 * size**3 / seconds / 1e9 for seconds in _time(lambda: torch.mm(matrix, matrix), device, rounds)])


def bandwidth(device: str = "cpu", rounds: int = 10) -> Spread:
    """GB/s of a copy, reading and writing counted, of blocks that fit into no cache."""
    source = torch.ones((64 if device == "cpu" else 512) * 1024**2, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()
    return spread([moved / seconds / 1e9 for seconds in _time(lambda: target.copy_(source), device, rounds)])


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


def machine(quick: bool) -> str:
    """The limits that everything else is compared with."""
    rows = [(name, words(values, 0)) for name, values in limits().items()]
    told = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return f"{told}\n\n{table(('what', 'rate'), rows)}"


@cache
def _drawn(split: str, number: int) -> list[Image.Image]:
    """Pictures of one product; queries are good and anomalous in turn."""
    pictures = []
    for index in range(number):
        kind = "logical" if split == "test" and index % 2 else "good"
        pictures.append(draw_picture(EVALUATION[0], split, kind, index, size=SIDE, seed=speed.SEED).image)  # type: ignore[arg-type]
    return pictures


def _inspector(references: int) -> Inspector:
    """A new judge that knows none of its references."""
    return Inspector("evidence", _drawn("train", references))


def _judge(inspector: Inspector, number: int) -> None:
    drawn = _drawn("test", min(number, DISTINCT))
    for _ in inspector.run([drawn[i % len(drawn)] for i in range(number)]):
        pass


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """evidence judges one query after the other, in the calling thread, which alone is looked at."""

    def submit(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*arguments))
        return done

    with mock.patch.object(threads, "_pool", lambda: SimpleNamespace(map=map, submit=submit)):
        yield


def count_operations(call: Callable[[], Any]) -> float:
    """GFLOP that torch counts: convolutions, matrix products and attention."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def count_evidence(inspector: Inspector) -> float:
    """GFLOP of a query of `evidence`: the network, and the product of its patches with all views of the references."""
    import onnx

    judge = inspector.judge
    assert isinstance(judge, Evidence)
    matcher = judge._studied(inspector.references).matcher
    width, height = matcher.size
    shapes = {"pixels": (height, width)}
    work = 0.0
    for node in onnx.load(GRAPH, load_external_data=False).graph.node:
        rows, columns = next(shapes[name] for name in node.input if name in shapes)
        strides = {attribute.name: attribute.ints for attribute in node.attribute}.get("strides", (1, 1))
        rows, columns = rows // strides[0], columns // strides[1]
        shapes[node.output[0]] = rows, columns
        if node.op_type == "Conv":
            work += 2 * rows * columns * _weights()[node.input[1]]
    patches, channels = matcher.bank.features[0].shape[1:]
    views = sum(map(len, matcher.bank.features))
    return (work + 2 * patches**2 * channels * views) / 1e9


@cache
def _weights() -> dict[str, int]:
    return {name: array.size for name, array in load_file(WEIGHTS).items()}


def queries(quick: bool) -> str:
    """evidence, four references: 1 to 1,000 queries, the studying of the references included."""
    numbers = (1, 3) if quick else (1, 10, 100, 1000)
    _drawn("test", max(min(number, DISTINCT) for number in numbers))
    calls = {str(number): lambda number=number: _judge(_inspector(4), number) for number in numbers}
    seconds = time_in_turns(calls, 1 if quick else 3)
    rows = []
    for name, times in seconds.items():
        each = [1000 * value / int(name) for value in times]
        gains = [first / value * int(name) for first, value in zip(seconds["1"], times, strict=True)]
        rows.append((f"{int(name):,}", words(spread(times)), words(spread(each)), words(spread(gains))))
    studied = _inspector(4)
    _judge(studied, 1)
    work = count_evidence(studied)
    rate = work / min(times[-1] / int(name) for name, times in seconds.items())
    limit = limits()["float32, GFLOP/s"][0]
    return (
        f"{table(('queries', 's', 'ms a query', 'times as fast a query as one alone'), rows)}\n\n"
        f"Network and product are {work:.1f} GFLOP a query: {rate:.0f} GFLOP/s, {100 * rate / limit:.0f} % of this "
        "machine's rate in float32. The rest is work that is not counted: registration, searching, regions, words."
    )


def references(quick: bool) -> str:
    """evidence: 1 to 200 references, studied and then used."""
    numbers = (1, 2) if quick else (1, 4, 10, 40, 200)
    count = 2 if quick else 8
    study: dict[str, list[float]] = {str(number): [] for number in numbers}
    use: dict[str, list[float]] = {str(number): [] for number in numbers}
    for _ in range(1 if quick else 3):
        for name in study:
            inspector = _inspector(int(name))
            start = time.perf_counter()
            _judge(inspector, 1)
            middle = time.perf_counter()
            _judge(inspector, count)
            each = (time.perf_counter() - middle) / count
            use[name].append(each)
            study[name].append(max(0.0, middle - start - each))
    rows = []
    for name in study:
        slower = [value / one for value, one in zip(use[name], use["1"], strict=True)]
        milliseconds = [1000 * value for value in use[name]]
        rows.append((name, words(spread(study[name])), words(spread(milliseconds), 0), words(spread(slower))))
    return table(("references", "s to study them", "ms a query", "times the time of one reference"), rows)


def processes(quick: bool) -> str:
    """evidence, four references: the threads of one process, and a process on each core, as `--ray` has them."""
    number, rounds = (4, 1) if quick else (100, 3)
    cores = threads.count_cores()
    inspector = _inspector(4)
    with ProcessPoolExecutor(cores, get_context("spawn"), _prepare, (get_context("spawn").Barrier(cores),)) as pool:
        calls = {
            f"one, of {cores} threads": lambda: _judge(inspector, number * cores),
            f"{cores}, of one thread": lambda: list(pool.map(_judge_apart, [number] * cores)),
        }
        time_in_turns(calls, 1)  # draws the pictures and studies the references
        seconds = time_in_turns(calls, rounds)
    first, *_ = seconds.values()
    rows = []
    for name, times in seconds.items():
        each = [1000 * value / (number * cores) for value in times]
        gains = [one / value for one, value in zip(first, times, strict=True)]
        rows.append((name, words(spread(each)), words(spread(gains), 2)))
    return table(("processes", "ms a query", "times as fast as threads"), rows)


def _prepare(barrier: Any) -> None:
    """In a process that judges on one core; all take a part of the work, since each waits for the others."""
    global _together
    os.environ["OMP_NUM_THREADS"] = "1"
    _together = barrier


_together: Any = None


@cache
def _own_inspector() -> Inspector:
    return _inspector(4)


def _judge_apart(number: int) -> None:
    _together.wait()
    _judge(_own_inspector(), number)


STARTS = {
    "`lad-reasoner --help`": ("-m", "lad_reasoner", "--help"),
    "`import torch`": ("-c", "import torch"),
    "first verdict of evidence": (
        "-c",
        "from lad_reasoner import Inspector; Inspector('evidence', 'r.png').inspect('q.png')",
    ),
    "first verdict of micro": (
        "-c",
        "from lad_reasoner import Inspector; Inspector('micro', 'r.png').inspect('q.png')",
    ),
}


def start(quick: bool) -> str:
    """From a new process to its first result, with files that the system has read before."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        _drawn("train", 1)[0].save(Path(folder) / "r.png")
        _drawn("test", 1)[0].save(Path(folder) / "q.png")
        times: dict[str, list[float]] = {name: [] for name in STARTS}
        processor: dict[str, list[float]] = {name: [] for name in STARTS}
        for _ in range(1 if quick else ROUNDS + 1):
            for name, words_of in STARTS.items():
                before, begin = os.times(), time.perf_counter()
                subprocess.run([sys.executable, *words_of], cwd=folder, check=True, stdout=subprocess.DEVNULL)
                times[name].append(time.perf_counter() - begin)
                after = os.times()
                processor[name].append(sum(after[2:4]) - sum(before[2:4]))
    for name in STARTS:
        kept = slice(0 if quick else 1, None)  # the first one reads the files
        rows.append((name, words(spread(times[name][kept]), 2), words(spread(processor[name][kept]), 2)))
    return table(("what", "s", "s of processor time"), rows)


class Sampler:
    """Which module of the package the calling thread is in, looked at every few milliseconds while this is entered.

    What a library does for a module counts for that module.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._thread, self._done = threading.get_ident(), threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Sampler:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            frame = sys._current_frames().get(self._thread)
            while frame is not None and not frame.f_code.co_filename.startswith(str(PACKAGE)):
                frame = frame.f_back
            if frame is not None:
                self.counts[Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix()] += 1


def parts(quick: bool) -> str:
    """evidence, four references: where the time of a query goes, by module."""
    inspector = _inspector(4)
    _judge(inspector, 1)
    pictures = _drawn("test", 4 if quick else DISTINCT)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for index, image in enumerate(pictures):
            paths.append(Path(folder) / f"{index}.png")
            image.save(paths[-1])
        pairs: list[PicturePair] = []
        read = _sampled(lambda: pairs.extend(map(inspector.read_pair, paths)), "reading the file")
        judged = _sampled(lambda: list(run(inspector.judge, pairs, lambda pair: pair)), "")
    counts = read + judged
    rows = []
    for name, count in counts.most_common(12):
        rows.append((f"`{name}`" if name.endswith(".py") else name, f"{100 * count / counts.total():.0f} %"))
    return table(("module", "share of the time"), rows)


def _sampled(call: Callable[[], Any], name: str) -> Counter[str]:
    """Looks while the call ran, by module, or all under one name."""
    with one_thread(), Sampler() as sampler:
        call()
    return Counter({name: sampler.counts.total()}) if name else sampler.counts


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


# Qwen2.5-VL-3B's sizes; the weights are random, which changes no time.
TEXT: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
}
VOCABULARY = 151_936


def make_3b(folder: Path, *, layers: int | None = None, device: str = "cpu") -> None:
    """A folder with Qwen2.5-VL-3B's sizes and random weights, made on the device.

    The tokenizer is that of LAD_TOKENIZER, a tokenizer.json of Qwen, or else micro's. `layers` is fewer of each, for a
    try.
    """
    transformers = __import__("transformers")
    from lad_reasoner.micro.build import save_micro

    small = speed.load_checkpoint("micro", device="cpu")
    config = small.model.config.__class__.from_dict(small.model.config.to_dict())
    generation, tokenizer = small.model.generation_config, small.processor.tokenizer
    for key, value in TEXT.items():
        setattr(config.text_config, key, value)
    tower = {key: value for key, value in speed.TOWERS["Qwen2.5-VL-3B"].items() if key != "kind"}
    for key, value in tower.items():
        setattr(config.vision_config, key, value)
    config.text_config.vocab_size = VOCABULARY
    file = os.environ.get("LAD_TOKENIZER", "")
    if file:
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=file, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=32768
        )
        ids = tokenizer.convert_tokens_to_ids
        config.image_token_id, config.video_token_id = ids("<|image_pad|>"), ids("<|video_pad|>")
        config.vision_start_token_id, config.vision_end_token_id = ids("<|vision_start|>"), ids("<|vision_end|>")
        ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        for key, value in ends.items():
            setattr(config, key, value)
            setattr(config.text_config, key, value)
            setattr(generation, key, value)
    if layers is not None:
        config.text_config.num_hidden_layers = config.vision_config.depth = layers
        config.vision_config.fullatt_block_indexes = [0]
        if not file:
            config.text_config.vocab_size = 1024
    config.text_config.layer_types = ["full_attention"] * config.text_config.num_hidden_layers
    config.scope = ""
    with torch.device(device):
        model = transformers.Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    model.generation_config = generation
    save_micro(model, tokenizer, folder)


class Watch:
    """Seconds of the engine's parts while this is entered: preparing pictures, reading prompts, writing.

    `steps` are the passes of the language part while writing; `moved` are the bytes that they have to read: the
    weights, and keys and values. With `counting`, which takes time, `work` are the GFLOP of reading.
    """

    def __init__(self, engine: speed.TransformersEngine, *, counting: bool = False) -> None:
        text = engine.checkpoint.model.config.get_text_config()
        language = {id(weight): weight for weight in engine.checkpoint.model.model.language_model.parameters()}
        head = engine.checkpoint.model.get_output_embeddings().weight
        language[id(head)] = head
        # Of an embedding that is not the head a step reads a few rows only.
        if engine.checkpoint.model.get_input_embeddings().weight is not head:
            del language[id(engine.checkpoint.model.get_input_embeddings().weight)]
        self.weights = sum(weight.numel() * weight.element_size() for weight in language.values())
        width = text.hidden_size // text.num_attention_heads
        self.place = 2 * text.num_hidden_layers * text.num_key_value_heads * width * head.element_size()
        self.seconds: Counter[str] = Counter()
        self.steps, self.moved, self.work, self.counting = 0, 0, 0.0, counting
        self._device, self._patches = engine.checkpoint.model.device.type, contextlib.ExitStack()

    def __enter__(self) -> Watch:
        step = Generator.step

        def counted(
            generator: Generator, rows: Any, ids: Any, positions: Any, places: Any, length: int, *_: Any
        ) -> Any:
            self.steps += 1
            self.moved += self.weights + rows.count * length * self.place
            return step(generator, rows, ids, positions, places, length, *_)

        for owner, name, part in (
            (Generator, "prepare", "preparing"),
            (Generator, "begin", "reading"),
            (ResponseBatch, "write", "writing"),
        ):
            self._patches.enter_context(mock.patch.object(owner, name, self._timed(getattr(owner, name), part)))
        self._patches.enter_context(mock.patch.object(Generator, "step", counted))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    def _timed(self, call: Callable[..., Any], part: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            if part == "writing":  # what was read before counts no more
                self.steps = self.moved = 0
            start = time.perf_counter()
            with contextlib.ExitStack() as stack:
                counts = self.counting and part == "reading"
                counter = stack.enter_context(FlopCounterMode(display=False)) if counts else None
                result = call(*arguments, **named)
            if counter is not None:
                self.work += counter.get_total_flops() / 1e9
            if self._device != "cpu":
                torch.cuda.synchronize()
            self.seconds[part] += time.perf_counter() - start
            return result

        return timed


def measure_3b(folder: Path, device: str, rounds: int, batches: Sequence[int] = (1, 32)) -> str:
    """Reading and writing apart, each beside the limit that it can reach: operations, and bytes."""
    checkpoint = speed.load_checkpoint(folder, device=device, dtype="bfloat16", max_pixels=SIDE * SIDE)
    on_card = device != "cpu"
    size = 8192 if on_card else 1024
    limit = matrix_rate(torch.bfloat16, device, size=size)
    copied = bandwidth(device)
    rows: list[tuple[str, ...]] = []
    told: list[str] = []
    steps: list[float] = []  # ms of a step of writing, for each size of batch
    for batch in batches:
        if on_card:
            torch.cuda.reset_peak_memory_stats()
        engine = speed.TransformersEngine(checkpoint, reasoning_tokens=64, batch_size=batch)
        assert engine.generator is not None
        pairs = [[_drawn("train", 1)[0], query] for query in _drawn("test", batch)]
        work, read, write, prepared, rates, moved, whole = 0.0, [], [], [], [], [], []
        for number in range(rounds + 1):
            engine.generator.cache = PrefixCache()  # the reference is read in each round
            begin = time.perf_counter()
            with Watch(engine, counting=number == 0) as watch:
                replies = engine.respond(pairs)
            if number == 0:  # also the round in which memory is taken
                work = watch.work
                continue
            whole.append(time.perf_counter() - begin)
            seconds = watch.seconds
            prepared.append(1000 * seconds["preparing"])
            read.append(seconds["reading"] - seconds["preparing"])
            write.append(1000 * seconds["writing"] / watch.steps)
            rates.append(sum(reply.tokens for reply in replies) / seconds["writing"])
            moved.append(watch.moved / seconds["writing"] / 1e9)
        reached = spread([work / value for value in read])
        rows.append(
            (
                f"{batch}",
                "reading",
                f"{words(spread([1000 * value for value in read]), 0)} ms, {work / 1000:.1f} TFLOP",
                f"{words((reached[0] / 1000, reached[1] / 1000, reached[2] / 1000), 1)} TFLOP/s",
                f"{100 * reached[0] / limit[0]:.0f} %",
            )
        )
        rows.append(
            (
                f"{batch}",
                "writing",
                f"{words(spread(write), 1)} ms a step, {words(spread(rates), 0)} tokens/s",
                f"{words(spread(moved), 0)} GB/s",
                f"{100 * spread(moved)[0] / copied[0]:.0f} %",
            )
        )
        steps.append(spread(write)[0])
        peak = f", peak memory {torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if on_card else ""
        told.append(
            f"Batches of {batch}: {words(spread(prepared), 0)} ms to prepare the pictures, "
            f"{words(spread([1000 * value / batch for value in whole]), 0)} ms a query in all{peak}."
        )
    name = torch.cuda.get_device_name() if on_card else "CPU"
    tokens = len(checkpoint.processor.tokenizer)
    return "\n\n".join(
        (
            f"{name}, bfloat16: {words(limit, 0)} GFLOP/s in a product of {size}, {words(copied, 0)} GB/s in a copy. "
            f"{engine.parameters / 1e9:.2f} billion weights, a vocabulary of {tokens:,}, pictures of {SIDE} x {SIDE}, "
            "reasonings of 64 tokens. Limits: of reading the operations, of writing the bytes, "
            f"{watch.weights / 1e9:.1f} GB of weights a step, and keys and values.",
            table(("batch", "part", "time", "rate", "of the limit"), rows),
            " ".join(told),
            *([_launches(checkpoint.model.config, steps, batches)] if on_card else []),
        )
    )


def _launches(config: Any, steps: Sequence[float], batches: Sequence[int]) -> str:
    """What bounds writing, if a step takes about as long for few rows as for many."""
    if steps[-1] > 1.5 * steps[0]:
        return ""
    layers = config.get_text_config().num_hidden_layers
    few, many = (f"{ms:.1f} ms for {batch}" for ms, batch in ((steps[0], batches[0]), (steps[-1], batches[-1])))
    return (
        f"A step of writing takes {few} and {many} responses: it is bound neither by bytes nor by operations, but by "
        f"launching the small kernels of {layers} layers one by one, {1000 * steps[0] / layers:.0f} µs a layer, while "
        "the GPU waits for the next. Larger batches cost next to nothing.\n"
        "Open: the remedy is to launch a whole step at once, as a CUDA graph over keys and values of a fixed length. "
        "vLLM does (`-M engine=vllm`); our own loop does not, and the two have not been compared on a GPU."
    )


def card(quick: bool) -> str:
    """Qwen2.5-VL-3B's sizes with random weights on a GPU."""
    if not torch.cuda.is_available():
        return NO_GPU
    with tempfile.TemporaryDirectory() as folder:
        make_3b(Path(folder), layers=1 if quick else None, device="cuda")
        return measure_3b(Path(folder), "cuda", 1 if quick else ROUNDS, (1, 4) if quick else (1, 32))


def _of_speed(name: str, quick: int) -> Callable[[bool], str]:
    """A section of speed.py, which prints."""

    def section(is_quick: bool) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            speed.SECTIONS[name](quick if is_quick else speed.NUMBERS[name])
        return printed.getvalue().strip()

    section.__doc__ = speed.SECTIONS[name].__doc__
    return section


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


NO_GPU = "No GPU was at hand."
QUICK = {"vlm": 10, "flagged": 10, "vision": 1}  # queries or rounds of speed.py's sections
SECTIONS: dict[str, Callable[[bool], str]] = {
    "machine": machine,
    "queries": queries,
    "references": references,
    "processes": processes,
    "parts": parts,
    "start": start,
    "micro": micro,
    **{name: _of_speed(name, QUICK.get(name, 1)) for name in speed.SECTIONS},
    "engines": engines,
    "card": card,
}


HEAD = """# Performance

Written by `make bench` (benchmarks/bench.py). What is compared takes turns in one run; a number is the median
of the rounds, with the lowest and the highest behind it.

"""


def _section(name: str, quick: bool) -> str:
    """The section with its heading, its command, and what else the machine did."""
    load = f", load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    told = (SECTIONS[name].__doc__ or "").partition("\n")[0]
    body = re.sub(r"(?m)^(?!\|.*\n\|)(.+)\n(?=.)", r"\1\n\n", SECTIONS[name](quick))  # a paragraph a line, not a row
    where = f"LAD-Reasoner {__version__}, {platform.system()}, {os.cpu_count()} cores{load}"
    return f"## {name}\n\n{told} `python benchmarks/bench.py --only {name}` ({where})\n\n{body}\n"


def _split(page: str) -> dict[str, str]:
    """The sections of a page by name, as `_section` made them."""
    parts = re.split(r"(?m)^(?=## )", page)[1:]
    return {part[3:].partition("\n")[0]: part.rstrip("\n") + "\n" for part in parts}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections; the others stay on the page")
    parser.add_argument("--quick", action="store_true", help="a short form of each; the page stays as it is")
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args(words)
    names = options.only or list(SECTIONS)
    made = _split(options.out.read_text("utf-8")) if options.out.exists() else {}
    for name in names:
        section = _section(name, options.quick)
        print(section, flush=True)
        if name not in made or NO_GPU not in section:  # what a GPU gave stays where there is none
            made[name] = section
    if not options.quick:
        write_whole(options.out, HEAD + "\n".join(made[name] for name in SECTIONS if name in made))
        print(f"written to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
