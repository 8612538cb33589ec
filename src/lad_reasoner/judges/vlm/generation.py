"""Generates responses in a batch whose rows share what they have in common and leave when they are done.

    generator = Generator(checkpoint)
    batch = generator.begin(pairs, decoding.beginning, write_prompt, check_lengths)
    batch.write(decoding)

For the models of the Qwen-VL family (Qwen2-VL, Qwen2.5-VL, Qwen3-VL): see `why_not`. Vision tower and language part are
Transformers'; the loop around them is ours. References are read once (prefix_cache.py), the tags that begin a response
are read with the prompt, a row leaves the batch with its answer, and keys and values have a fixed place in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from PIL import Image

from lad_reasoner.errors import InputError
from lad_reasoner.judges.vlm.checkpoint import Checkpoint
from lad_reasoner.judges.vlm.decoding import Row, StructuredDecoding
from lad_reasoner.judges.vlm.fused_text import FusedText
from lad_reasoner.judges.vlm.prefix_cache import Grid, Prefix, PrefixCache, Rows, identify

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
# Patches that the vision tower sees at once: few stay in a processor's caches, many fill a GPU.
PATCHES = {"cpu": 1024}
GPU_PATCHES = 16384
MOST_LAYOUTS = 64  # of prompts whose positions are kept
FUSED = 100_000_000  # weights of a language part of which a copy is small
STAYING = 0.75  # rows that are done leave when so few others are left, since leaving copies those


def why_not(model: Any) -> str:
    """Why responses of this model cannot be generated here; empty if they can."""
    config = model.config
    kind = getattr(config, "model_type", "")
    if kind not in FAMILIES:
        return f"a {kind} model"
    text = config.get_text_config()
    if text._attn_implementation != "sdpa":
        return f"attention by {text._attn_implementation}"
    if set(getattr(text, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return "attention in a sliding window"
    if "mm_token_type_ids" not in signature(model.model.get_rope_index).parameters:
        return "this version of transformers"
    return ""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture as the vision tower takes it: `patches` (patches, values)."""

    patches: torch.Tensor
    grid: Grid


@dataclass(frozen=True, eq=False)
class Features:
    """A picture as the language part takes it: `tokens` (tokens, width), and for some models more, layer by layer."""

    tokens: torch.Tensor
    deeper: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True, eq=False)
class PromptLayout:
    """A prompt for pictures of certain sizes.

    `ids` (tokens,); `positions` (3, tokens) are the rotary positions; a token after the prompt is at its place plus
    `shift`. The first `prefix` tokens do not depend on the query.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    shift: int
    prefix: int


class Generator:
    """See the module's docstring."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.model = checkpoint, checkpoint.model
        self.cache = PrefixCache()
        self.fused = self._fuse()
        self.merged = int(self.model.config.vision_config.spatial_merge_size) ** 2  # patches of a token
        self._layouts: dict[tuple[Grid, ...], PromptLayout] = {}

    def _fuse(self) -> FusedText | None:
        """The language part in fewer steps, for a small model on a CPU."""
        text = self.model.model.language_model
        small = sum(weight.numel() for weight in text.parameters()) < FUSED
        # A config may ask for what no published model has, and the fused steps do not do.
        usual = text.config.hidden_act == "silu" and text.layers[0].self_attn.o_proj.bias is None
        if not (small and usual) or self.model.device.type != "cpu" or self.model.dtype != torch.float32:
            return None
        return FusedText(text, text.layers[0].mlp.down_proj.weight.dtype)

    def begin(
        self,
        pairs: Sequence[Sequence[Image.Image]],
        beginning: Sequence[int],
        write_prompt: Callable[[int], str],
        check_lengths: Callable[[Sequence[int], Sequence[int]], None],
        *,
        room: int,
    ) -> ResponseBatch:
        """Read the prompts, and the ids that every response begins with; there is room for so many tokens of each.

        `write_prompt(pictures)` is the text of a prompt. `check_lengths` gets pictures and tokens of each prompt.
        """
        # Votes are several responses to the same pair: it is read once.
        different = list({id(pair): pair for pair in pairs}.values())
        number = {id(pair): index for index, pair in enumerate(different)}
        queries = [self.prepare(pair[-1]) for pair in different]
        prefixes, layouts = self._find_prefixes(different, queries, write_prompt, check_lengths)
        batch = ResponseBatch(self, beginning, prefixes, layouts, self.look(queries), room)
        if len(different) < len(pairs):
            batch.keep([number[id(pair)] for pair in pairs])
        return batch

    def prepare(self, image: Image.Image) -> Prepared:
        """The picture within the pixel budget, in patches; InputError if the processor refuses it."""
        try:
            made = self.checkpoint.processor.image_processor(images=[self.checkpoint.fit(image)], return_tensors="pt")
        except ValueError as error:
            raise InputError(f"{self.checkpoint.name}: cannot take these pictures ({error})") from None
        frames, rows, columns = made["image_grid_thw"][0].tolist()
        return Prepared(made["pixel_values"], (frames, rows, columns))

    def look(self, pictures: Sequence[Prepared]) -> list[Features]:
        """The pictures as the language part takes them, a few at a time through the vision tower."""
        features: list[Features] = []
        for group in self._groups(pictures):
            patches = torch.cat([picture.patches for picture in group])
            output = self.model.model.get_image_features(
                patches.to(self.model.device, self.model.dtype),
                torch.tensor([picture.grid for picture in group], device=self.model.device),
                return_dict=True,
            )
            deeper = getattr(output, "deepstack_features", None) or ()
            for number, tokens in enumerate(output.pooler_output):
                features.append(Features(tokens, tuple(layer[number] for layer in deeper)))
        return features

    def _groups(self, pictures: Sequence[Prepared]) -> Iterator[list[Prepared]]:
        most = PATCHES.get(self.model.device.type, GPU_PATCHES)
        group: list[Prepared] = []
        patches = 0
        for picture in pictures:
            if group and patches + len(picture.patches) > most:
                yield group
                group, patches = [], 0
            group.append(picture)
            patches += len(picture.patches)
        if group:
            yield group

    def _find_prefixes(
        self,
        pairs: Sequence[Sequence[Image.Image]],
        queries: Sequence[Prepared],
        write_prompt: Callable[[int], str],
        check_lengths: Callable[[Sequence[int], Sequence[int]], None],
    ) -> tuple[list[Prefix], list[PromptLayout]]:
        """The prefix and the layout of each pair; prefixes that are not kept are read together."""
        known: dict[tuple[int, ...], Prefix] = {}
        missing: dict[tuple[int, ...], list[Prepared]] = {}
        for pair in pairs:
            references = tuple(pair[:-1])
            key = identify(references)
            if key in known or key in missing:
                continue
            prefix = self.cache.get(references)
            if prefix is None:
                missing[key] = [self.prepare(reference) for reference in references]
            else:
                known[key] = prefix
        layouts: list[PromptLayout] = []
        for pair, query in zip(pairs, queries, strict=True):
            key = identify(pair[:-1])
            grids = known[key].grids if key in known else tuple(picture.grid for picture in missing[key])
            layouts.append(self._lay_out((*grids, query.grid), write_prompt))
        # Before anything is computed.
        check_lengths(list(map(len, pairs)), [len(layout.ids) for layout in layouts])
        keys = [identify(pair[:-1]) for pair in pairs]
        if missing:
            chosen = [keys.index(key) for key in missing]
            prompts = [layouts[row] for row in chosen]
            new = [tuple(pairs[row][:-1]) for row in chosen]
            for prefix in self._read(new, list(missing.values()), prompts):
                known[identify(prefix.references)] = prefix
                self.cache.put(prefix)
        return [known[key] for key in keys], layouts

    def _read(
        self,
        references: Sequence[tuple[Image.Image, ...]],
        prepared: Sequence[Sequence[Prepared]],
        layouts: Sequence[PromptLayout],
    ) -> list[Prefix]:
        """Read the beginning of these prompts."""
        features = self.look([picture for pictures in prepared for picture in pictures])
        lengths = [layout.prefix for layout in layouts]
        rows = Rows(len(layouts), max(lengths))
        self.read(
            rows,
            [layout.ids[: layout.prefix] for layout in layouts],
            [layout.positions[:, : layout.prefix] for layout in layouts],
            [0] * len(layouts),
            features,
        )
        prefixes = []
        for number, (pictures, made) in enumerate(zip(references, prepared, strict=True)):
            grids = tuple(picture.grid for picture in made)
            prefixes.append(Prefix(pictures, grids, rows.take(number, lengths[number])))
        return prefixes

    def read(
        self,
        rows: Rows,
        ids: Sequence[torch.Tensor],
        positions: Sequence[torch.Tensor],
        starts: Sequence[int],
        features: Sequence[Features],
    ) -> torch.Tensor:
        """Read tokens behind what each row holds; returns the hidden states (rows, tokens, width).

        `ids` (tokens,) and `positions` (3, tokens) of each row, which begins at its place of `starts`. `features` are
        those of all pictures, in order.
        """
        device = self.model.device
        longest = max(map(len, ids))
        all_ids = torch.zeros(len(ids), longest, dtype=torch.long)
        all_positions = torch.zeros(3, len(ids), longest, dtype=torch.long)
        places = torch.full((len(ids), longest), rows.size)  # what fills up a row goes behind the last place
        for row, (own, where, start) in enumerate(zip(ids, positions, starts, strict=True)):
            all_ids[row, : len(own)] = own
            all_positions[:, row, : len(own)] = where
            places[row, : len(own)] = torch.arange(start, start + len(own))
        length = max(start + len(own) for start, own in zip(starts, ids, strict=True))
        return self.step(rows, all_ids.to(device), all_positions.to(device), places.to(device), length, features)

    def step(
        self,
        rows: Rows,
        ids: torch.Tensor,
        positions: torch.Tensor,
        places: torch.Tensor,
        length: int,
        features: Sequence[Features] = (),
    ) -> torch.Tensor:
        """One pass of the language part over `ids` (rows, tokens); returns the hidden states (rows, tokens, width).

        `positions` (3, rows, tokens) are rotary, `places` (rows, tokens) are those in `rows`, below `length`.
        """
        embedded = self.model.get_input_embeddings()(ids)
        extra: dict[str, Any] = {}
        if features:
            # (rows, tokens), true where a token stands for a part of a picture.
            pictured = ids == self.model.config.image_token_id
            seen = torch.cat([feature.tokens for feature in features]).to(embedded.device, embedded.dtype)
            embedded = embedded.masked_scatter(pictured[..., None], seen)
            if features[0].deeper:
                layers = zip(*(feature.deeper for feature in features), strict=True)
                extra["deepstack_visual_embeds"] = [torch.cat(layer) for layer in layers]
                extra["visual_pos_masks"] = pictured
        if self.fused is not None:
            nothing = torch.zeros_like(embedded)
            deeper = [
                nothing.masked_scatter(pictured[..., None], layer.to(embedded.dtype))
                for layer in extra.get("deepstack_visual_embeds", ())
            ]
            if not rows.layers:
                rows.allocate(len(self.fused.layers), embedded, self.fused.shared, self.fused.width)
            return self.fused(embedded, positions, rows, places, length, deeper)
        output = self.model.model.language_model(
            inputs_embeds=embedded,
            position_ids=positions,
            attention_mask=rows.place(places, length),
            past_key_values=rows,
            use_cache=True,
            **extra,
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """The logits (rows, vocabulary) of hidden states (rows, width)."""
        logits: torch.Tensor = self.model.get_output_embeddings()(hidden)
        return logits

    def _lay_out(self, grids: tuple[Grid, ...], write_prompt: Callable[[int], str]) -> PromptLayout:
        """The prompt for pictures with these grids."""
        if grids not in self._layouts:
            while len(self._layouts) >= MOST_LAYOUTS:
                self._layouts.pop(next(iter(self._layouts)))
            self._layouts[grids] = self._make_layout(grids, write_prompt(len(grids)))
        return self._layouts[grids]

    def _make_layout(self, grids: tuple[Grid, ...], prompt: str) -> PromptLayout:
        tokenizer, model = self.checkpoint.processor.tokenizer, self.model.model
        bos = tokenizer.bos_token
        # Some templates begin with this token; a second one must not be added.
        text = tokenizer(prompt, add_special_tokens=not (bos and prompt.startswith(bos)))["input_ids"]
        image = self.model.config.image_token_id
        counts = iter(frames * rows * columns // self.merged for frames, rows, columns in grids)
        ids: list[int] = []
        prefix = 0
        for token in text:
            if token == image:
                prefix = len(ids)  # at last the place where the query begins
            ids += [image] * next(counts) if token == image else [token]
        tokens = torch.tensor([ids])
        positions, shift = model.get_rope_index(
            input_ids=tokens,
            mm_token_type_ids=(tokens == image).int(),
            image_grid_thw=torch.tensor(grids),
            attention_mask=torch.ones_like(tokens),
        )
        return PromptLayout(tokens[0], positions[:, 0], int(shift.item()), prefix)


class ResponseBatch:
    """Responses that are generated together. See `Generator.begin`."""

    def __init__(
        self,
        generator: Generator,
        beginning: Sequence[int],
        prefixes: Sequence[Prefix],
        layouts: Sequence[PromptLayout],
        features: Sequence[Features],
        room: int,
    ) -> None:
        self.generator = generator
        begun = torch.tensor(beginning)
        after = torch.arange(len(begun))
        ids, positions = [], []
        for layout in layouts:
            # The tags that begin the response are known: they are read with the prompt.
            ids.append(torch.cat([layout.ids[layout.prefix :], begun]))
            behind = (len(layout.ids) + layout.shift + after).expand(3, -1)
            positions.append(torch.cat([layout.positions[:, layout.prefix :], behind], 1))
        self.cache = Rows(len(layouts), max(len(layout.ids) for layout in layouts) + room)
        self.cache.begin_with(prefixes)
        hidden = generator.read(self.cache, ids, positions, [layout.prefix for layout in layouts], features)
        device = hidden.device
        rows = torch.arange(len(ids), device=device)[:, None]
        first = torch.tensor([len(own) - len(begun) for own in ids], device=device)
        self.begun = hidden[rows, first[:, None] + after.to(device)]  # (rows, tokens of the beginning, width)
        self.layouts = list(layouts)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows, by their numbers; a row may become several."""
        chosen = torch.tensor(rows, device=self.begun.device)
        self.cache.keep(chosen)
        self.begun = self.begun[chosen]
        self.layouts = [self.layouts[row] for row in rows]

    def write(self, decoding: StructuredDecoding, temperature: float | None = None) -> None:
        """Write the rows of `decoding` to their ends, a response to each row; greedy unless there is a temperature.

        What they begin with must be the beginning of what was read.
        """
        for row in decoding.begin(self.cache.count):
            row.finish()
        generator, read = self.generator, len(decoding.beginning)
        cache = self.cache.part(0, self.cache.count)
        writing: list[_Writing] = []
        for row, layout in zip(decoding.rows, self.layouts, strict=True):
            writing.append(_Writing(row, len(layout.ids) + read, layout.shift))
        logits = generator.head(self.begun[:, read - 1])
        live = list(range(len(writing)))  # rows whose reasoning goes on, by their numbers
        while live:
            _choose(decoding, [writing[number].row for number in live], logits, temperature)
            live = [number for number in live if writing[number].row.ending is None]
            if len(live) <= STAYING * len(writing):
                self._end(decoding, cache, writing, temperature)
                cache.keep(torch.tensor(live, dtype=torch.long, device=logits.device))
                writing = [writing[number] for number in live]
                live = list(range(len(writing)))
            if live:
                logits = self._read_on(cache, writing, live)

    def _end(
        self, decoding: StructuredDecoding, cache: Rows, writing: Sequence[_Writing], temperature: float | None
    ) -> None:
        """Write the answers of the rows whose reasoning is over, all in one pass."""
        ended = [number for number, own in enumerate(writing) if own.row.ending and not own.row.answered]
        if ended:
            rows = cache.part(0, cache.count)
            rows.keep(torch.tensor(ended, device=self.begun.device))
            own = [writing[number] for number in ended]
            logits = self._read_on(rows, own, range(len(own)))
            _choose(decoding, [each.row for each in own], logits, temperature)
        for each in writing:
            if each.row.answered:
                each.row.finish()

    def _read_on(self, cache: Rows, writing: Sequence[_Writing], live: Sequence[int]) -> torch.Tensor:
        """Read what came to the rows of these numbers; the logits (numbers, vocabulary) behind it."""
        fed: list[list[int]] = [[] for _ in writing]
        for number in live:
            fed[number] = writing[number].feed()
        device, longest = self.begun.device, max(map(len, fed))
        ids: list[list[int]] = []
        places: list[list[int]] = []
        for own, tokens in zip(writing, fed, strict=True):
            filling = longest - len(tokens)
            ids.append(tokens + [0] * filling)
            written = range(own.place - len(tokens), own.place)
            places.append([*written, *[cache.size] * filling])
        where = torch.tensor(places, device=device)
        shifts = torch.tensor([own.shift for own in writing], device=device)
        positions = (where + shifts[:, None]).expand(3, -1, -1)
        length = max(writing[number].place for number in live)
        hidden = self.generator.step(cache, torch.tensor(ids, device=device), positions, where, length)
        last = torch.tensor([len(fed[number]) - 1 for number in live], device=device)
        return self.generator.head(hidden[torch.tensor(live, device=device), last])


def _choose(decoding: StructuredDecoding, rows: Sequence[Row], logits: torch.Tensor, temperature: float | None) -> None:
    """Choose the next token of each row from the logits (rows, vocabulary)."""
    masked = decoding.constrain(rows, logits)
    if temperature is None:
        tokens = masked.argmax(-1)
    else:
        tokens = torch.multinomial((masked / temperature).softmax(-1), 1)[:, 0]
    decoding.take(rows, tokens.tolist())


@dataclass
class _Writing:
    """A row that is being written, and the place of the token that is read next."""

    row: Row
    place: int
    shift: int  # of rotary positions against places

    def feed(self) -> list[int]:
        """The tokens to read next: the one that was chosen, and those that are forced behind it, in one pass."""
        begun = len(self.row.ids) - 1
        self.row.finish()
        tokens = self.row.ids[begun:]
        self.place += len(tokens)
        return tokens
