"""The contents of a compartment of a lunch tray: an exact set of fruit, or bulk in one or two layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lad_reasoner.miniloco.scene import jitter, pick
from lad_reasoner.text import number_word

MIX = ("banana chips", "almonds")
# A border between layers may be this far from where the rule says.
SLACK = 0.06
_INGREDIENTS = (("cereal",), ("banana chips",), ("almonds",), MIX)


def _few(number: int, what: str) -> str:
    return f"{number_word(number)} {what}" + ("" if number == 1 else "s")


@dataclass(frozen=True)
class Fruits:
    """An exact number of tangerines and of nectarines."""

    tangerines: int
    nectarines: int

    def holds(self) -> str:
        """'two tangerines and one nectarine'; sorts that are not there are not named."""
        numbers = ((self.tangerines, "tangerine"), (self.nectarines, "nectarine"))
        listed = [_few(number, what) for number, what in numbers if number]
        return " and ".join(listed) or "no fruit"

    def words(self) -> str:
        """The rule for the compartment, as the end of a sentence."""
        return f"holds exactly {self.holds()}"

    def varied(self, rng: np.random.Generator) -> Fruits:
        """Fruit does not vary in number."""
        return self

    def wrong(self) -> list[tuple[str, Fruits]]:
        """Defects of the compartment by name, each with the fruit that is then in it."""
        t, n = self.tangerines, self.nectarines
        options = [
            ("missing_fruit", t - 1, n),
            ("missing_fruit", t, n - 1),
            ("extra_fruit", t + 1, n),
            ("extra_fruit", t, n + 1),
            ("replaced_fruit", t - 1, n + 1),
            ("replaced_fruit", t + 1, n - 1),
        ]
        if abs(t - n) >= 2:
            options.append(("several_replaced_fruits", n, t))
        return [(name, Fruits(a, b)) for name, a, b in options if a >= 0 and b >= 0]

    def broken_by(self, content: Content) -> list[str]:
        """The faults of a compartment that should hold this and holds `content`."""
        return [] if content == self else [f"holds {content.holds()}, not {self.holds()}"]


@dataclass(frozen=True)
class Layer:
    """Ingredients between two shares of the compartment's length; in a mix a share of it is almonds."""

    parts: tuple[str, ...]
    low: float
    high: float
    almonds: float = 0.5

    def words(self) -> str:
        """'cereal', 'a mix of banana chips and almonds'."""
        return self.parts[0] if len(self.parts) == 1 else f"a mix of {' and '.join(self.parts)}"


@dataclass(frozen=True)
class Bulk:
    """Layers one above the other (upright), or side by side from the left; a gap between them is empty floor."""

    upright: bool
    layers: tuple[Layer, ...]

    def holds(self) -> str:
        """Its layers in order."""
        return " and ".join(layer.words() for layer in self.layers) or "nothing"

    def words(self) -> str:
        """The rule for the compartment, as the end of a sentence."""
        first = self.layers[0]
        if len(self.layers) == 1:
            return f"is full of {first.words()}"
        side, other = ("upper", "below") if self.upright else ("left", "on the right")
        share = number_word(round(first.high * 10))
        rest = self.layers[1].words()
        return f"is full: its {side} part, about {share} tenths, is {first.words()}, the rest {other} is {rest}"

    def is_breakfast(self) -> bool:
        """Whether this is cereal above a mix, as in the breakfast box."""
        return self.upright and self.parts() == [("cereal",), MIX]

    def parts(self) -> list[tuple[str, ...]]:
        """The ingredients of each layer."""
        return [layer.parts for layer in self.layers]

    def has_a_mix(self) -> bool:
        """Whether a layer is a mix."""
        return any(len(parts) == 2 for parts in self.parts())

    def varied(self, rng: np.random.Generator) -> Bulk:
        """The same layers in a good picture: a border and a mix that vary within their limits."""
        layers = [replace(layer, almonds=float(rng.uniform(0.3, 0.55))) for layer in self.layers]
        if len(layers) == 2:
            border = layers[0].high + jitter(rng, SLACK)
            layers = [replace(layers[0], high=border), replace(layers[1], low=border)]
        return replace(self, layers=tuple(layers))

    def levels(self) -> list[tuple[str, float]]:
        """How much of the compartment each ingredient fills."""
        levels = []
        for layer in self.layers:
            shares = [1.0] if len(layer.parts) == 1 else [1 - layer.almonds, layer.almonds]
            for what, share in zip(layer.parts, shares, strict=True):
                levels.append((what, (layer.high - layer.low) * share))
        return levels

    def sights(self) -> list[tuple[str, float, float]]:
        """Ingredients and empty floor: name, place along and across the layers, in parts of the compartment."""
        sights, reached = [], 0.0
        end = Layer((), 1.0, 1.0)
        for layer in (*self.layers, end):
            if layer.low - reached > 0.01:
                sights.append(("empty floor", (reached + layer.low) / 2 - 0.5, 0.0))
            for i, what in enumerate(layer.parts):
                # The two ingredients of a mix are named side by side.
                across = 0.0 if len(layer.parts) == 1 else 0.14 * (2 * i - 1)
                sights.append((what, (layer.low + layer.high) / 2 - 0.5, across))
            reached = layer.high
        return sights

    def broken_by(self, content: Content) -> list[str]:
        """The faults of a compartment that should hold this and holds `content`."""
        if not isinstance(content, Bulk) or content.parts() != self.parts():
            return [f"holds {content.holds()}, not {self.holds()}"]
        if content.upright != self.upright:
            return ["its layers lie the other way"]
        border, wanted = content.layers[0].high, self.layers[0].high
        if abs(border - wanted) > SLACK + 1e-6:
            return [f"{self.layers[0].words()} fills {border:.0%}, not {wanted:.0%}"]
        return []

    def turned(self) -> Bulk:
        """The same layers in the other order."""
        first, second = self.layers
        one, two = replace(second, low=0.0, high=1 - second.low), replace(first, low=1 - first.high, high=1.0)
        return replace(self, layers=(one, two))

    def layers_exchanged(self, rng: np.random.Generator) -> Wrong:
        """A defect: the layers in the other order, as words, and no layer in particular."""
        first, second = self.layers
        where = "above" if self.upright else "to the left of"
        return self.turned(), f"{second.words()} lies {where} {first.words()}, it should be the other way", None

    def missing_ingredient(self, rng: np.random.Generator) -> Wrong:
        """A defect: one layer is missing, its floor empty."""
        gone = pick(rng, self.layers)
        left = tuple(layer for layer in self.layers if layer is not gone)
        return replace(self, layers=left), f"there should be {gone.words()}, that part of the floor is empty", gone

    def missing_part_of_the_mix(self, rng: np.random.Generator) -> Wrong:
        """A defect: one ingredient of a mix is missing, the other one fills its place."""
        layer = pick(rng, [y for y in self.layers if len(y.parts) == 2])
        gone, stays = layer.parts if rng.integers(2) else layer.parts[::-1]
        layers = tuple(replace(y, parts=(stays,)) if y is layer else y for y in self.layers)
        return replace(self, layers=layers), f"the {gone} of the mix are missing", layer

    def wrong_ratio(self, rng: np.random.Generator) -> Wrong:
        """A defect: the border is far from where it is now."""
        first, second = self.layers
        now, least = first.high, 0.17 + SLACK
        options = [(0.12, now - least), (now + least, 0.88)]
        low, high = pick(rng, [(a, b) for a, b in options if b - a > 0.02])
        border = float(rng.uniform(low, high))
        much, little = (first, second) if border > now else (second, first)
        words = f"there is too much {much.words()} and too little {little.words()}"
        changed = replace(self, layers=(replace(first, high=border), replace(second, low=border)))
        return changed, words, Layer((), min(now, border), max(now, border))


Content = Fruits | Bulk
# A wrong filling, its fault in words, and the layer that shows it (None: the whole filling).
Wrong = tuple[Bulk, str, Layer | None]


def any_bulk(rng: np.random.Generator, upright: bool | None) -> Bulk:
    """One or two layers, which share no ingredient; one above the other, side by side, or (None) either."""
    upright = bool(rng.integers(2)) if upright is None else upright
    if rng.random() < 0.3:
        return Bulk(upright, (Layer(pick(rng, _INGREDIENTS), 0.0, 1.0),))
    other = pick(rng, [("banana chips",), ("almonds",), MIX, MIX, MIX])
    pair = [("cereal",), other] if rng.random() < 0.8 else [("banana chips",), ("almonds",)]
    first, second = pair if rng.random() < 0.5 else pair[::-1]
    border = float(pick(rng, (0.3, 0.4, 0.5, 0.6, 0.7)))
    return Bulk(upright, (Layer(first, 0.0, border), Layer(second, border, 1.0)))
