"""Stage joint: the vision tower and the language part learn together, on pictures drawn while they learn.

A GPU learns thousands of pairs a second, and a machine draws a few hundred pictures. So worker processes draw and
encode chunk after chunk, of new free scenes mostly, and a stock on the GPU takes each as it is done. A batch is about
pictures of one shape that are anywhere in the stock. Which pictures are there at a step depends on the machine's
speed: unlike the other stages this one does not end twice with the same weights.
"""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lad_reasoner.judges.vlm.checkpoint import load_processor
from lad_reasoner.micro.language import Batch, Script, batch_loss
from lad_reasoner.micro.lessons import DESCRIBE, Exercise, ExerciseSampler
from lad_reasoner.micro.perception import Heads, see, teach
from lad_reasoner.micro.pool import CELL, GROUP, Chunk, draw_chunk, end_with_parent, read_chunk
from lad_reasoner.micro.vision import SHIFT, lesson_loss, stack_lessons, to_pixels
from lad_reasoner.miniloco.catalogue import TRAINING
from lad_reasoner.miniloco.families.free import FAMILIES
from lad_reasoner.prompts import build_prompt

FIRST = 2000  # number of the first chunk of this stage
PICTURES = 60  # of a chunk
SHIFTS = 3  # of each picture, each with its lesson
FAMILY_WEIGHT = 4  # of a family in a batch; a training product has 1
PRODUCT_EVERY = 6  # every sixth chunk is of a training product
LESSON_SHARE = 0.3  # of the lessons of single tokens in the loss

Arrays = dict[str, NDArray[Any]]


def joint_chunks(size: int, seed: int) -> Iterator[Chunk]:
    """Chunks without end: families in turn, and now and then a training product."""
    families, products = itertools.cycle(FAMILIES), itertools.cycle(TRAINING)
    for number in itertools.count():
        name = next(products) if number % PRODUCT_EVERY == 0 else next(families)
        yield Chunk(name, FIRST + number, PICTURES, size, seed)


def encode_chunk(chunk: Chunk, folder: Path, model: Path, names: dict[str, int]) -> list[Path]:
    """Draw a chunk unless it is there, and write what a `Stock` takes in: a file for each shape of pictures.

    `model` is the folder of the tokenizer, `names` are those of the heads.
    """
    if not (folder / f"{chunk.stem}.jsonl").is_file():
        draw_chunk(chunk, folder)
    shots = read_chunk(folder / f"{chunk.stem}.jsonl")
    rng = np.random.default_rng([chunk.seed, zlib.crc32(chunk.name.encode()), chunk.number, 7])
    sampler, script = ExerciseSampler(shots), _script(model)
    script.shots = shots
    every = list(_pairs(sampler, rng))
    files = []
    for shape in sorted({shot.pixels.shape for shot in shots}):
        chosen = [number for number, shot in enumerate(shots) if shot.pixels.shape == shape]
        place = {number: index for index, number in enumerate(chosen)}
        shifts = rng.integers(-SHIFT, SHIFT + 1, (len(chosen), SHIFTS, 2))
        shifts[:, 0] = 0
        lessons = [
            teach(shots[number], names, int(dx), int(dy))
            for number, own in zip(chosen, shifts, strict=True)
            for dx, dy in own
        ]
        what, colour, number_of, measures = (tensor.numpy() for tensor in stack_lessons(lessons))
        whole = (len(chosen), SHIFTS, -1)
        arrays: Arrays = {
            "pixels": np.stack([shots[number].pixels for number in chosen]),
            "shifts": shifts.astype(np.int16),
            "what": what.reshape(*whole, what.shape[-1]),
            "colour": colour.reshape(*whole, colour.shape[-1]),
            "number": number_of.reshape(whole).astype(np.int8),
            "measures": measures.reshape(*whole, measures.shape[-1]).astype(np.float16),
        }
        pairs = [exercise for exercise in every if exercise.pictures[0] in place]
        for kind, exercises in (("pair", pairs), ("single", [sampler.single(rng, number) for number in chosen])):
            if not exercises:
                continue
            batch = script.batch(exercises, torch.zeros(()))
            arrays[f"{kind}-pictures"] = np.asarray([[place[i] for i in e.pictures] for e in exercises])
            arrays[f"{kind}-answers"] = batch.answers.numpy().astype(np.int16)
            arrays[f"{kind}-weights"] = batch.weights.numpy().astype(np.float16)
        file = folder / f"{chunk.stem}-{shape[0]}x{shape[1]}.npz"
        np.savez(file, allow_pickle=False, **arrays)
        files.append(file)
    return files


_scripts: dict[Path, Script] = {}


def _script(model: Path) -> Script:
    """The script of a tokenizer, read once by each worker."""
    if model not in _scripts:
        _scripts[model] = Script(load_processor(model)[0].processor, [])
    return _scripts[model]


def _pairs(sampler: ExerciseSampler, rng: np.random.Generator) -> Iterator[Exercise]:
    """All pairs of each free scene's rule, the good ones as often as the others; of a product three a picture."""
    for group, good in sampler.good.items():
        bad = sampler.bad.get(group, [])
        if len(good) < 2 or not bad:
            continue
        if len(good) + len(bad) > GROUP:
            yield from (sampler.pair(rng, group) for _ in range(3 * (len(good) + len(bad))))
            continue
        allowed = [(first, second) for first in good for second in good if first != second]
        wrong = [(first, second) for first in good for second in bad]
        again = rng.integers(len(allowed), size=max(len(wrong) - len(allowed), 0))
        for reference, query in (*allowed, *wrong, *(allowed[int(i)] for i in again)):
            yield sampler.respond(rng, reference, query)


def draw_ahead(
    chunks: Iterator[Chunk], folder: Path, model: Path, names: dict[str, int], workers: int
) -> Generator[tuple[str, list[Path]] | None]:
    """Name and files of each chunk as it is done, in any order, or None where none is yet; never ends by itself."""
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as executor:
        running: dict[Future[list[Path]], str] = {}
        try:
            while True:
                while len(running) < 2 * workers:
                    chunk = next(chunks)
                    running[executor.submit(encode_chunk, chunk, folder, model, names)] = chunk.name
                done, _ = wait(running, timeout=0, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
                if not done:
                    yield None
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


@dataclass
class _Table:
    """Exercises about pictures of one shape: numbers of pictures (rows, 1 or 2), ids and weights (rows, length)."""

    parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = field(default_factory=list)
    members: dict[str, list[int]] = field(default_factory=dict)  # rows of each product or family
    lengths: list[int] = field(default_factory=list)

    def merged(self) -> tuple[torch.Tensor, ...]:
        if len(self.parts) > 1:
            longest = max(part[1].shape[1] for part in self.parts)
            padded = [(p, _pad(ids, longest), _pad(w, longest)) for p, ids, w in self.parts]
            self.parts = [tuple(torch.cat(column) for column in zip(*padded, strict=True))]  # type: ignore[list-item]
        return self.parts[0]


def _pad(tensor: torch.Tensor, length: int) -> torch.Tensor:
    return F.pad(tensor, (0, length - tensor.shape[1]))


@dataclass
class _Shelf:
    """All pictures of one shape, with their lessons and exercises."""

    pictures: list[dict[str, torch.Tensor]] = field(default_factory=list)
    tables: dict[str, _Table] = field(default_factory=dict)
    count: int = 0

    def merged(self) -> dict[str, torch.Tensor]:
        if len(self.pictures) > 1:
            self.pictures = [{key: torch.cat([part[key] for part in self.pictures]) for key in self.pictures[0]}]
        return self.pictures[0]


@dataclass(frozen=True)
class Drawn:
    """A batch: pictures (rows * pictures, 3, height, width) in [-1, 1], their lessons, and the texts around them."""

    pixels: torch.Tensor
    lessons: tuple[torch.Tensor, ...]
    texts: Batch  # without features


class Stock:
    """The pictures that were drawn so far, on the device that trains."""

    def __init__(self, device: torch.device, model: Path) -> None:
        self.device, self.shelves = device, dict[tuple[int, ...], _Shelf]()
        script = Script(load_processor(model)[0].processor, [])
        self.before = {"pair": script.before(2, build_prompt(1)), "single": script.before(1, DESCRIBE)}
        self.pictures = 0

    def add(self, name: str, files: Sequence[Path]) -> None:
        """Take in the files of a chunk of this product or family, and remove them."""
        for file in files:
            with np.load(file, allow_pickle=False) as opened:
                arrays = {key: torch.from_numpy(opened[key]).to(self.device) for key in opened.files}
            file.unlink()
            shelf = self.shelves.setdefault(tuple(arrays["pixels"].shape[1:]), _Shelf())
            for kind in self.before:
                if f"{kind}-pictures" not in arrays:
                    continue
                pictures, answers, weights = (arrays.pop(f"{kind}-{key}") for key in ("pictures", "answers", "weights"))
                table = shelf.tables.setdefault(kind, _Table())
                start = len(table.lengths)
                table.parts.append((pictures + shelf.count, answers, weights))
                table.lengths += ((weights > 0).cumsum(1).argmax(1) + 1).tolist()
                table.members.setdefault(name, []).extend(range(start, start + len(pictures)))
            shelf.pictures.append(arrays)
            shelf.count += len(arrays["pixels"])
            self.pictures += len(arrays["pixels"])

    def draw(self, rng: np.random.Generator, size: int, singles: float) -> Drawn:
        """A batch of exercises about pictures of one shape: all of pairs, or, with the chance `singles`, of one."""
        kind = "single" if rng.random() < singles else "pair"
        shelves = [shelf for shelf in self.shelves.values() if kind in shelf.tables]
        totals: Counter[str] = Counter()  # rows of each product or family, over all shapes
        for shelf in shelves:
            totals.update({name: len(rows) for name, rows in shelf.tables[kind].members.items()})
        weight = {name: (FAMILY_WEIGHT if name in FAMILIES else 1) / total for name, total in totals.items()}
        members = [
            {name: weight[name] * len(rows) for name, rows in shelf.tables[kind].members.items()} for shelf in shelves
        ]
        shares = np.asarray([sum(each.values()) for each in members])
        chosen = int(rng.choice(len(shelves), p=shares / shares.sum()))
        shelf, own = shelves[chosen], members[chosen]
        table = shelf.tables[kind]
        counts = rng.multinomial(size, np.asarray(list(own.values())) / shares[chosen])
        rows = [
            table.members[name][int(i)]
            for name, count in zip(own, counts, strict=True)
            for i in rng.integers(len(table.members[name]), size=int(count))
        ]
        length = max(table.lengths[row] for row in rows)
        pictures, answers, weights = (part[torch.tensor(rows, device=self.device)] for part in table.merged())
        flat = pictures.flatten()
        stored = shelf.merged()
        slot = torch.from_numpy(rng.integers(SHIFTS, size=len(flat))).to(self.device)
        pixels = self._shifted(stored["pixels"], flat, stored["shifts"][flat, slot].long())
        light = rng.normal(1, 0.06, (len(flat), 1, 1, 1)) * rng.normal(1, 0.02, (len(flat), 3, 1, 1))
        lit = ((pixels + 1) * torch.from_numpy(light).float().to(self.device) - 1).clamp(-1, 1)
        what, colour, number, measures = (
            stored[key][flat, slot].flatten(0, 1) for key in ("what", "colour", "number", "measures")
        )
        height, width = lit.shape[2:]
        texts = Batch(
            torch.zeros(()),
            self.before[kind],
            answers[:, :length].long(),
            weights[:, :length].float(),
            (height // CELL, width // CELL),
        )
        return Drawn(lit, (what, colour, number.long(), measures.float()), texts)

    @staticmethod
    def _shifted(stock: torch.Tensor, chosen: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """The chosen pictures of a stock moved by (dx, dy) (chosen, 2); the edge is repeated into the space."""
        height, width = stock.shape[1:3]
        down = torch.arange(height, device=stock.device) - shift[:, 1:]
        right = torch.arange(width, device=stock.device) - shift[:, :1]
        rows, columns = down.clamp(0, height - 1), right.clamp(0, width - 1)
        return to_pixels(stock[chosen[:, None, None], rows[:, :, None], columns[:, None, :]])


def joint_loss(model: Any, heads: Heads, locate: torch.nn.Module, drawn: Drawn, rare: torch.Tensor) -> torch.Tensor:
    """The loss of the responses, with a share of the lessons of single tokens."""
    tokens = see(model.model.visual, drawn.pixels)
    texts = drawn.texts
    texts.features = tokens.reshape(len(texts.answers), -1, tokens.shape[-1])
    return batch_loss(model, texts, locate) + LESSON_SHARE * lesson_loss(heads, tokens, drawn.lessons, rare)
