"""Speed, as ratios that are measured side by side: what is compared takes turns in one process.

    python benchmarks/speed.py vlm --number 256          micro against the plain loop of Transformers
    python benchmarks/speed.py precision --number 1000   micro in bfloat16 against float32: verdicts, scores, time
    python benchmarks/speed.py vision                    vision towers at the widths of Qwen2.5-VL-3B and Qwen3-VL-4B
    python benchmarks/speed.py flagged --number 300      what `--reasoning flagged` saves, and what it costs

Each section prints a table. A ratio is the median over the rounds, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from lad_reasoner.answers import parse_response
from lad_reasoner.judges.vlm import checkpoint as checkpoint_module
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, load_checkpoint
from lad_reasoner.judges.vlm.decoding import Reply
from lad_reasoner.judges.vlm.precision import use_bfloat16_products
from lad_reasoner.judges.vlm.qwen_speedups import speed_up_tower
from lad_reasoner.judges.vlm.transformers_engine import TransformersEngine
from lad_reasoner.miniloco import EVALUATION, draw_picture

SEED = 20261122  # of pictures that are used nowhere in training
ROUND = 32  # queries that each system judges before the next system has its turn


@dataclass
class Timed:
    """Seconds of each round, and the results of all rounds."""

    seconds: list[float] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def run(self, call: Callable[[], Sequence[Any]]) -> None:
        """Time a call."""
        start = time.perf_counter()
        results = call()
        self.seconds.append(time.perf_counter() - start)
        self.results += results


def ratio(slow: Timed, fast: Timed) -> str:
    """How many times as fast: `4.5 (4.2 to 4.8)`."""
    ratios = [a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def describe_machine() -> str:
    """Threads, and the rate of a matrix product in both precisions."""
    rates = {name: measure_rate(getattr(torch, name)) for name in ("float32", "bfloat16")}
    told = ", ".join(f"{rate:.0f} GFLOP/s in {name}" for name, rate in rates.items())
    return f"{torch.get_num_threads()} threads; a matrix product of 1024 runs at {told}"


def measure_rate(dtype: torch.dtype) -> float:
    """GFLOP/s of a matrix product of 1024."""
    matrix = torch.ones(1024, 1024, dtype=dtype)
    times: list[float] = []
    for _ in range(10):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        times.append(time.perf_counter() - start)
    return float(2 * 1024**3 / min(times) / 1e9)


@dataclass(frozen=True, eq=False)
class Query:
    """A query of MiniLOCO, and whether it is anomalous."""

    image: Image.Image
    anomalous: bool


def draw_queries(number: int) -> Iterator[tuple[Image.Image, list[Query]]]:
    """A reference and its queries, half of them with a logical anomaly; `number` queries over all products."""
    each = max(number // len(EVALUATION), 2)
    for product in EVALUATION:
        reference = draw_picture(product, "train", "good", 0, size=224, seed=SEED).image
        queries: list[Query] = []
        for index in range(each):
            kind = "logical" if index % 2 else "good"
            image = draw_picture(product, "test", kind, index // 2, size=224, seed=SEED).image  # type: ignore[arg-type]
            queries.append(Query(image, kind == "logical"))
        yield reference, queries


def draw_rounds(number: int) -> Iterator[list[tuple[Sequence[Image.Image], bool]]]:
    """Pairs and labels of a round; all queries of a product have one reference, the same object."""
    for reference, queries in draw_queries(number):
        for start in range(0, len(queries), ROUND):
            yield [([reference, query.image], query.anomalous) for query in queries[start : start + ROUND]]


def load_stock(name: str) -> Checkpoint:
    """The checkpoint as Transformers runs it, without our steps of the vision tower."""
    own = checkpoint_module.speed_up
    checkpoint_module.speed_up = lambda model: False
    try:
        return load_checkpoint(name)
    finally:
        checkpoint_module.speed_up = own


class PlainLoop:
    """What the documentation of Transformers shows: processor, `generate`, decode, one pair after the other."""

    def __init__(self, name: str, tokens: int) -> None:
        self.checkpoint, self.tokens = load_stock(name), tokens
        self.prompt = TransformersEngine(load_checkpoint(name))._prompt(2)

    @torch.inference_mode()
    def respond(self, pairs: Sequence[Sequence[Image.Image]]) -> list[str]:
        """A response to each pair, free of any grammar."""
        model, processor = self.checkpoint.model, self.checkpoint.processor
        texts: list[str] = []
        for pair in pairs:
            inputs = processor(text=[self.prompt], images=[list(pair)], return_tensors="pt")
            ids = model.generate(**inputs, max_new_tokens=self.tokens, do_sample=False)
            new = ids[0, inputs["input_ids"].shape[1] :]
            texts.append(processor.tokenizer.decode(new, skip_special_tokens=True))
        return texts


def make_engine(name: str, *, bfloat16: bool = False, **options: Any) -> TransformersEngine:
    """Ours, in this precision."""
    checkpoint = load_checkpoint(name, dtype="float32")
    if bfloat16:
        use_bfloat16_products(checkpoint.model)
    return TransformersEngine(checkpoint, **options)


def balanced_accuracy(yes: NDArray[np.bool_], labels: NDArray[np.bool_]) -> float:
    """The mean of the shares of anomalous and of good queries that are right."""
    return float((yes[labels].mean() + (~yes[~labels]).mean()) / 2)


def vlm(number: int) -> None:
    """micro, one reference of each product and `number` queries: the plain loop, and ours in several forms."""
    engines = {
        "ours, float32": make_engine("micro"),
        "ours, bfloat16": make_engine("micro", bfloat16=True),
        "ours, float32, reasoning never": make_engine("micro", reasoning="never"),
        "ours, bfloat16, reasoning never": make_engine("micro", bfloat16=True, reasoning="never"),
    }
    exact = engines["ours, float32"]
    plain = PlainLoop("micro", exact.reasoning_tokens + 16)
    warm = next(draw_rounds(2 * len(EVALUATION)))
    timed = {name: Timed() for name in ("plain loop", *engines)}
    labels: list[bool] = []
    for system in (plain, *engines.values()):
        system.respond([pair for pair, _ in warm])
    for drawn in draw_rounds(number):
        pairs = [pair for pair, _ in drawn]
        labels += [label for _, label in drawn]
        timed["plain loop"].run(lambda pairs=pairs: plain.respond(pairs))  # type: ignore[misc]
        for name, engine in engines.items():
            timed[name].run(lambda pairs=pairs, engine=engine: engine.respond(pairs))  # type: ignore[misc]
    rounds = len(timed["plain loop"].seconds)
    print(f"{describe_machine()}\n\nmicro, 1 reference, {len(labels)} queries; {rounds} rounds\n")
    print("| system | ms a query | times as fast as the plain loop | balanced accuracy |\n|---|---|---|---|")
    truth = np.array(labels)
    for name, own in timed.items():
        texts = [result.text if isinstance(result, Reply) else result for result in own.results]
        yes = np.array([parse_response(text).answer == "yes" for text in texts])
        spread = ratio(timed["plain loop"], own)
        milliseconds = sum(own.seconds) / len(labels) * 1000
        print(f"| {name} | {milliseconds:.1f} | {spread} | {balanced_accuracy(yes, truth):.3f} |")
    rounded = timed["ours, bfloat16"].results
    print(f"\nplain loop and float32: {_agreement(timed['plain loop'].results, timed['ours, float32'].results)}")
    print(f"float32 and bfloat16: {_agreement(timed['ours, float32'].results, rounded)}")
    print(f"bfloat16 against float32: {ratio(timed['ours, float32'], timed['ours, bfloat16'])} times as fast")


def precision(number: int) -> None:
    """micro with products in float32 and in bfloat16: do verdicts and scores agree, and what does it save?"""
    engines = {"float32": make_engine("micro"), "bfloat16": make_engine("micro", bfloat16=True)}
    timed = {name: Timed() for name in engines}
    labels: list[bool] = []
    for drawn in draw_rounds(number):
        pairs = [pair for pair, _ in drawn]
        labels += [label for _, label in drawn]
        for name, engine in engines.items():
            timed[name].run(lambda pairs=pairs, engine=engine: engine.respond(pairs))  # type: ignore[misc]
    exact, rounded = timed.values()
    print(f"{describe_machine()}\n\nmicro, 1 reference, {len(labels)} queries")
    print(f"float32 and bfloat16: {_agreement(exact.results, rounded.results)}")
    print(f"bfloat16 is {ratio(exact, rounded)} times as fast")
    for name, own in timed.items():
        yes = np.array([reply.score >= 0.5 for reply in own.results])
        print(f"balanced accuracy in {name}: {balanced_accuracy(yes, np.array(labels)):.3f}")


def _agreement(some: Sequence[Any], others: Sequence[Any]) -> str:
    """Shares of equal texts and verdicts, and the differences of the scores where both have one."""
    texts = [[one.text if isinstance(one, Reply) else one for one in group] for group in (some, others)]
    verdicts = [[parse_response(text).answer for text in group] for group in texts]
    words = [
        f"{np.mean([a == b for a, b in zip(*texts, strict=True)]):.2%} of the texts equal",
        f"{np.mean([a == b for a, b in zip(*verdicts, strict=True)]):.2%} of the verdicts equal",
    ]
    if all(isinstance(one, Reply) for one in (*some, *others)):
        apart = np.array([abs(a.score - b.score) for a, b in zip(some, others, strict=True)])
        words.append(f"scores within .02 for {(apart <= 0.02).mean():.2%}, median difference {np.median(apart):.1e}")
    return ", ".join(words)


def flagged(number: int) -> None:
    """What a first look is worth: queries by their score without a reasoning, and what each limit would save."""
    whole, glance = make_engine("micro"), make_engine("micro", reasoning="never")
    times = {"always": Timed(), "never": Timed()}
    labels: list[bool] = []
    for drawn in draw_rounds(number):
        pairs = [pair for pair, _ in drawn]
        labels += [label for _, label in drawn]
        times["always"].run(lambda pairs=pairs: whole.respond(pairs))  # type: ignore[misc]
        times["never"].run(lambda pairs=pairs: glance.respond(pairs))  # type: ignore[misc]
    truth = np.array(labels)
    scores = {name: np.array([reply.score for reply in own.results]) for name, own in times.items()}
    share = sum(times["never"].seconds) / sum(times["always"].seconds)
    print(f"micro, 1 reference, {len(labels)} queries; a first look takes {share:.2f} of the time of a whole response")
    for name, own in scores.items():
        order = own[truth][:, None] > own[~truth][None, :]
        print(
            f"reasoning {name}: balanced accuracy {balanced_accuracy(own >= 0.5, truth):.3f}, AUROC {order.mean():.3f}"
        )
    print("\n| recall of the first look | limit | flagged | balanced accuracy | share of the time |")
    print("|---|---|---|---|---|")
    for recall in (1.0, 0.99, 0.98, 0.95, 0.9, 0.8):
        limit = float(np.quantile(scores["never"][truth], 1 - recall))
        flags = scores["never"] >= limit
        yes = flags & (scores["always"] >= 0.5)
        # A flagged query's prompt is not read again: its first look is nearly for nothing.
        cost = share + flags.mean() * (1 - share)
        accuracy = balanced_accuracy(yes, truth)
        print(f"| {recall:.2f} | {limit:.3f} | {flags.mean():.2f} | {accuracy:.3f} | {cost:.2f} |")
    print(
        f"\nA first look that knew the answers would flag {truth.mean():.2f} of these queries and take "
        f"{share + truth.mean() * (1 - share):.2f} of the time."
    )


# Sizes of the hub's checkpoints; the weights are random, which changes no time.
TOWERS: dict[str, dict[str, Any]] = {
    "Qwen2.5-VL-3B": {
        "kind": "qwen2_5_vl",
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "patch_size": 14,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "window_size": 112,
    },
    "Qwen3-VL-4B": {
        "kind": "qwen3_vl",
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "out_hidden_size": 2560,
        "patch_size": 16,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [5, 11, 17],
    },
}


def make_tower(name: str, depth: int) -> Any:
    """A vision tower of these widths with random weights and so many blocks."""
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as second
    from transformers.models.qwen3_vl import modeling_qwen3_vl as third

    fields = {**TOWERS[name], "depth": depth}
    kind = fields.pop("kind")
    for key in ("fullatt_block_indexes", "deepstack_visual_indexes"):
        if key in fields:
            fields[key] = [number for number in fields[key] if number < depth] or [depth - 1]
    torch.manual_seed(0)
    if kind == "qwen2_5_vl":
        config: Any = second.Qwen2_5_VLVisionConfig(**fields)
        config._attn_implementation = "sdpa"
        return second.Qwen2_5_VisionTransformerPretrainedModel._from_config(config).eval()
    config = third.Qwen3VLVisionConfig(**fields)
    config._attn_implementation = "sdpa"
    return third.Qwen3VLVisionModel._from_config(config).eval()


def vision(number: int) -> None:
    """Vision towers of the hub's widths, a picture of 448 x 448 in float32: stock and ours, forward and gradient."""
    print(f"{describe_machine()}\n\n448 x 448 pixels, float32\n")
    print("| tower | blocks | pass | stock ms | ours ms | times as fast | at most, at that rate | largest difference |")
    print("|---|---|---|---|---|---|---|---|")
    for name in TOWERS:
        # Blocks are alike, and a gradient of all of them would not fit into the memory of a small machine.
        for depth, backward in ((4, False), (4, True)):
            _compare_towers(name, depth, backward, number)


def _compare_towers(name: str, depth: int, backward: bool, number: int) -> None:
    """A line of the table: one tower, `number` rounds."""
    stock, ours = make_tower(name, depth), make_tower(name, depth)
    assert speed_up_tower(ours)
    size = TOWERS[name]["patch_size"]
    grid = torch.tensor([[1, 448 // size, 448 // size]])
    patches = torch.randn(int(grid.prod()), 3 * 2 * size**2)
    with FlopCounterMode(display=False) as counter:
        _pass(ours, patches, grid, backward)
    least = counter.get_total_flops() / 1e9 / measure_rate(torch.float32)  # s, if nothing but products took time
    runs: dict[str, Timed] = {}
    for which, tower in (("stock", stock), ("ours", ours)):
        _pass(tower, patches, grid, backward)  # warms up
        runs[which] = Timed()
    for _ in range(number):
        runs["stock"].run(lambda: _pass(stock, patches, grid, backward))
        runs["ours"].run(lambda: _pass(ours, patches, grid, backward))
    results = zip(runs["stock"].results, runs["ours"].results, strict=True)
    apart = max(float((a - b).abs().max() / a.abs().max()) for a, b in results)
    took = " | ".join(f"{statistics.median(own.seconds) * 1000:.0f}" for own in runs.values())
    what = "forward and gradient" if backward else "forward"
    most = min(runs["stock"].seconds) / least
    print(f"| {name} | {depth} | {what} | {took} | {ratio(*runs.values())} | {most:.2f} | {apart:.1e} |", flush=True)


def _pass(tower: Any, patches: torch.Tensor, grid: torch.Tensor, backward: bool) -> list[torch.Tensor]:
    """The tower's tokens, and with `backward` the gradient of the first block's and the last block's weights."""
    with torch.set_grad_enabled(backward):
        tower.zero_grad()
        tokens = tower(patches, grid_thw=grid).pooler_output
    if not backward:
        return [tokens]
    tokens.square().mean().backward()
    return [tokens.detach(), tower.patch_embed.proj.weight.grad, tower.blocks[-1].attn.qkv.weight.grad]


SECTIONS: dict[str, Callable[[int], None]] = {"vlm": vlm, "precision": precision, "flagged": flagged, "vision": vision}
NUMBERS = {"vlm": 256, "precision": 1000, "flagged": 300, "vision": 5}  # unless --number is given


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("--number", type=int, help="queries; rounds of vision")
    parser.add_argument("--threads", type=int, help="threads of torch")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    SECTIONS[options.section](options.number or NUMBERS[options.section])


if __name__ == "__main__":
    main()
