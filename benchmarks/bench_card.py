"""The section `card` of `bench.py`: a model of Qwen2.5-VL-3B's sizes on a GPU, reading and writing apart."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import speed
import torch
from bench_common import ROUNDS, SIDE, bandwidth, draw_pictures, matrix_rate, spread, table, words
from torch.utils.flop_counter import FlopCounterMode

from lad_reasoner.judges.vlm.generation import Generator, ResponseBatch
from lad_reasoner.judges.vlm.prefix_cache import PrefixCache

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
    import transformers

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
        pairs = [[draw_pictures("train", 1)[0], query] for query in draw_pictures("test", batch)]
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


NO_GPU = "No GPU was at hand."
