"""Stage one of micro's pretraining: the vision tower learns name, colour and number of the parts in each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lad_reasoner.micro.perception import Heads, Lesson, see, teach
from lad_reasoner.micro.pool import Shot

SHIFT = 8  # pixels: the largest random shift in each direction
NEAR = 0.15  # largest error of a measure that counts as right
MEASURE_WEIGHT = 2.0  # in the loss: an error of a tenth costs about a tenth
AT_ONCE = 32  # pictures that are measured


def to_pixels(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 (pictures, height, width, 3) -> float (pictures, 3, height, width) in [-1, 1], as the processor does."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


class Deck:
    """Pictures by shape, to draw batches of one shape from."""

    def __init__(self, shots: Sequence[Shot]) -> None:
        self.shots = shots
        shapes: dict[tuple[int, ...], list[int]] = {}
        for number, shot in enumerate(shots):
            shapes.setdefault(shot.pixels.shape, []).append(number)
        self.members = list(shapes.values())
        self.shares = np.asarray([len(members) for members in self.members]) / len(shots)

    def draw(self, rng: np.random.Generator, size: int) -> list[Shot]:
        members = self.members[int(rng.choice(len(self.members), p=self.shares))]
        return [self.shots[members[int(i)]] for i in rng.integers(len(members), size=size)]


def augment_shots(
    batch: Sequence[Shot], names: dict[str, int], rng: np.random.Generator
) -> tuple[torch.Tensor, list[Lesson]]:
    """The batch with random shifts, light and mirroring, and its lessons."""
    pictures, lessons = [], []
    for shot in batch:
        dx, dy = (int(v) for v in rng.integers(-SHIFT, SHIFT + 1, 2))
        mirrored = bool(rng.integers(2))
        pixels = shot.pixels[:, ::-1] if mirrored else shot.pixels
        height, width = pixels.shape[:2]
        # The edge is repeated into the space that a shift leaves.
        rows = np.clip(np.arange(height) - dy, 0, height - 1)
        columns = np.clip(np.arange(width) - dx, 0, width - 1)
        pictures.append(pixels[rows][:, columns])
        lessons.append(teach(shot, names, dx, dy, mirrored))
    moved = to_pixels(torch.from_numpy(np.stack(pictures)))
    light = torch.from_numpy(rng.normal(1, 0.06, (len(batch), 1, 1, 1)) * rng.normal(1, 0.02, (len(batch), 3, 1, 1)))
    return ((moved + 1) * light.float() - 1).clamp(-1, 1), lessons


def stack_lessons(lessons: Sequence[Lesson]) -> tuple[torch.Tensor, ...]:
    """The fields of lessons, each (pictures * tokens, …), in their order."""
    names = ("what", "colour", "number", "measures")
    return tuple(torch.from_numpy(np.concatenate([getattr(lesson, name) for lesson in lessons])) for name in names)


def lesson_loss(
    heads: Heads, tokens: torch.Tensor, lessons: tuple[torch.Tensor, ...], rare: torch.Tensor | None = None
) -> torch.Tensor:
    """The loss of the heads per part: cross-entropies, and the error of the measures.

    `tokens` (pictures, tokens, width); `lessons` as `stack_lessons` gives them; `rare` (names,) are the weights of
    parts. Nothing here waits for a GPU.
    """
    what, colour, number, measures = heads(tokens.flatten(0, 1))
    is_what, is_colour, is_number, is_measure = lessons
    loss = torch.zeros((), device=tokens.device)
    for logits, target, weight in ((what, is_what, rare), (colour, is_colour, None)):
        wanted = target.float().clamp(0, 1)
        every = F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight, reduction="none")
        loss = loss + (every * (target >= 0)).sum() / (target == 1).sum().clamp(1)
    every = F.cross_entropy(number, is_number, ignore_index=-1, reduction="sum")
    loss = loss + every / (is_number >= 0).sum().clamp(1)
    known = ~is_measure.isnan()  # (tokens, MEASURES)
    every = F.smooth_l1_loss(measures, is_measure.nan_to_num(), beta=0.1, reduction="none") * known
    return loss + MEASURE_WEIGHT * (every.sum(0) / known.sum(0).clamp(1)).sum()


@torch.no_grad()
def reading_accuracy(visual: Any, heads: Heads, shots: Sequence[Shot], names: dict[str, int]) -> dict[str, float]:
    """Shares of parts whose name, colour, number and measures are right, and of named parts that are visible."""
    device = visual.patch_embed.proj.weight.device
    right = {"what": 0, "colour": 0, "number": 0, "measures": 0}
    total = {"what": 0, "colour": 0, "number": 0, "measures": 0}
    claimed = 0
    by_shape: dict[tuple[int, ...], list[Shot]] = {}
    for shot in shots:
        by_shape.setdefault(shot.pixels.shape, []).append(shot)
    for batch in (group[i : i + AT_ONCE] for group in by_shape.values() for i in range(0, len(group), AT_ONCE)):
        pixels = to_pixels(torch.from_numpy(np.stack([shot.pixels for shot in batch])).to(device))
        with torch.autocast(device.type, torch.bfloat16):
            tokens = see(visual, pixels)
        lessons = [teach(shot, names) for shot in batch]
        what, colour, number, measures = (head.cpu().numpy() for head in heads(tokens.flatten(0, 1)))
        for logits, key in ((what, "what"), (colour, "colour")):
            target = np.concatenate([getattr(lesson, key) for lesson in lessons])
            right[key] += int(((logits > 0) & (target == 1)).sum())
            total[key] += int((target == 1).sum())
            if key == "what":
                claimed += int(((logits > 0) & (target >= 0)).sum())
        target = np.concatenate([lesson.number for lesson in lessons])
        right["number"] += int(((number.argmax(-1) == target) & (target >= 0)).sum())
        total["number"] += int((target >= 0).sum())
        wanted = np.concatenate([lesson.measures for lesson in lessons])
        right["measures"] += int((np.abs(measures - wanted) < NEAR).sum())
        total["measures"] += int((~np.isnan(wanted)).sum())
    shares = {key: right[key] / max(total[key], 1) for key in right}
    return {**shares, "precision": right["what"] / max(claimed, 1)}
