"""What the model has computed of references: read once, then used by every query and batch.

    prefix = cache.get(references)             # None: not computed, or dropped since
    cache.put(prefix)

The prompt begins with the references, so that its beginning is the same for all queries. Of it are kept the keys and
values of every layer, and its rotary positions are part of them. `Rows` are the keys and values of a batch whose
rows have lengths of their own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

MOST_BYTES = 512 * 1024**2  # of all prefixes together; one that is larger is used and not kept
MOST = 16  # prefixes, since each keeps its pictures in memory, too

Grid = tuple[int, int, int]  # frames, rows and columns of patches


@dataclass(frozen=True, eq=False)
class Prefix:
    """The beginning of a prompt as the model has read it.

    `layers` are keys and values of each layer, each (tokens, heads, head width). `grids` are those of the references.
    """

    references: tuple[Image.Image, ...]  # kept, so that no other picture gets the id of one
    grids: tuple[Grid, ...]
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    @property
    def tokens(self) -> int:
        """The number of its tokens."""
        return len(self.layers[0][0])

    @property
    def bytes(self) -> int:
        """The memory of its keys and values."""
        return sum(part.nbytes for layer in self.layers for part in layer)


class PrefixCache:
    """Prefixes by their references, the same `Image` objects; the one that was not used for longest goes first.

    Several threads may use it.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, references: Sequence[Image.Image]) -> Prefix | None:
        """The prefix of these references, or None."""
        key = identify(references)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, prefix: Prefix) -> None:
        """Keep it, and drop others until all fit."""
        if prefix.bytes > self.most_bytes:
            return
        key = identify(prefix.references)
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = prefix
            self.bytes += prefix.bytes
            while self.bytes > self.most_bytes or len(self._kept) > MOST:
                _, dropped = self._kept.popitem(last=False)
                self.bytes -= dropped.bytes


def identify(pictures: Sequence[Image.Image]) -> tuple[int, ...]:
    """A key for pictures: which objects they are. It holds as long as they are in memory."""
    return tuple(map(id, pictures))


class Rows:
    """Keys and values of a batch, in the role of Transformers' cache: each row is filled from its own length on.

    A token of a row attends to all tokens of that row in the same place or before it. Beyond the last place, `size`,
    there is one for tokens that only fill up a shorter row: no token attends to it.
    """

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []  # each (rows, places, heads, head width)
        self._prefixes: Sequence[Prefix] = ()
        self._flat = torch.empty(0)
        self._length = 0

    def begin_with(self, prefixes: Sequence[Prefix]) -> None:
        """Each row begins with its prefix."""
        self._prefixes = prefixes

    def place(self, places: torch.Tensor, length: int) -> torch.Tensor:
        """Where the next tokens go, `places` (rows, tokens), all below `length`; returns the mask of their attention.

        The mask is (rows, 1, tokens, `length`), true where a token attends to a place.
        """
        rows = torch.arange(self.count, device=places.device)[:, None]
        self._flat, self._length = (rows * (self.size + 1) + places).flatten(), length
        return torch.arange(length, device=places.device) <= places[:, None, :, None]

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by the model: write (rows, heads, tokens, head width); all keys and values up to the length."""
        while len(self.layers) <= layer:
            number = len(self.layers)
            self.layers.append((self._allocate(keys, number, 0), self._allocate(values, number, 1)))
        views: list[torch.Tensor] = []
        for kept, new in zip(self.layers[layer], (keys, values), strict=True):
            rows = new.transpose(1, 2).flatten(0, 1)  # (rows · tokens, heads, head width)
            kept.view(-1, *kept.shape[2:]).index_copy_(0, self._flat.to(kept.device), rows)
            views.append(kept[:, : self._length].transpose(1, 2))
        return views[0], views[1]

    def _allocate(self, new: torch.Tensor, layer: int, part: int) -> torch.Tensor:
        _, heads, _, width = new.shape
        # Zeros: what is masked is multiplied with zero, which memory that holds no number would survive.
        kept = new.new_zeros(self.count, self.size + 1, heads, width)
        for row, prefix in enumerate(self._prefixes):
            kept[row, : prefix.tokens] = prefix.layers[layer][part]
        return kept

    def take(self, row: int, tokens: int) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        """A copy of the first tokens of a row, as a prefix keeps them."""
        return tuple((keys[row, :tokens].clone(), values[row, :tokens].clone()) for keys, values in self.layers)

    def part(self, start: int, stop: int) -> Rows:
        """Some of the rows, in the same memory."""
        rows = Rows(stop - start, self.size)
        rows.layers = [(keys[start:stop], values[start:stop]) for keys, values in self.layers]
        return rows

    def allocate(self, layers: int, like: torch.Tensor, heads: int, width: int) -> None:
        """Make room for all layers now, so that parts of the rows can be written."""
        for layer in range(layers):
            shape = like.new_empty(self.count, heads, 0, width)
            self.layers.append((self._allocate(shape, layer, 0), self._allocate(shape, layer, 1)))

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these (indices)."""
        self.count = len(rows)
        self.layers = [(keys[rows.to(keys.device)], values[rows.to(values.device)]) for keys, values in self.layers]

    def get_seq_length(self, *_: Any) -> int:
        """The length after the tokens that are being written, which Transformers asks for."""
        return self._length
