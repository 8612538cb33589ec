"""A vision-language model as a judge: the paper's prompt for each pair, its response in the response grammar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn, get_args

import torch

from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judgement, PicturePair, refuse_copy
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, fingerprint, load_checkpoint
from lad_reasoner.judges.vlm.precision import WORTHWHILE, bfloat16_gain, use_bfloat16_products
from lad_reasoner.judges.vlm.transformers_engine import FLAG_LIMIT, Reasoning, TransformersEngine
from lad_reasoner.judges.vlm.vllm_engine import VllmEngine
from lad_reasoner.prompts import PROMPT_VERSION
from lad_reasoner.text import counted, listed

Precision = Literal["auto", "float32", "bfloat16"]
Engine = Literal["transformers", "vllm"]


class VlmJudge:
    """A vision-language model behind an engine; see `judge.Judge`.

    `settings` are those that its answers depend on, and that its name does not say.
    """

    def __init__(self, engine: TransformersEngine | VllmEngine, settings: Mapping[str, object] | None = None) -> None:
        self.engine, self.name = engine, engine.name
        self.prompt_version = describe_version(engine.checkpoint, settings or {})
        self.batch_size, self.notes = engine.batch_size, engine.notes
        self.parameters: int | None = engine.parameters
        self.known_pictures = engine.checkpoint.known_pictures
        self.trained_references = engine.checkpoint.trained_references

    def __reduce__(self) -> NoReturn:
        refuse_copy(self, "a network")

    def notes_on(self, references: Sequence[Picture]) -> tuple[str, ...]:
        """Whether the model was made for such pictures and for so many, if its checkpoint tells what it was made for.

        InputError if there are too many of them: see `check_references`.
        """
        self.check_references(references)
        notes = []
        if self.trained_references is not None and len(references) > self.trained_references:
            most, given = counted(self.trained_references, "reference"), len(references)
            notes.append(f"it learned from pairs with at most {most}, not with the {given} that it has here")
        if note := self.known_pictures.note(references) if self.known_pictures else "":
            notes.append(note)
        return tuple(notes)

    def check_references(self, references: Sequence[Picture]) -> None:
        """Raise InputError, with the number that fits, for more references than the model's context can hold."""
        self.engine.check_references([reference.image for reference in references])

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """One judgement for each pair, in the engine's batches; pairs of a batch may have different references."""
        pictures = [[*(reference.image for reference in pair.references), pair.query.image] for pair in pairs]
        replies = self.engine.respond(pictures)
        return [Judgement.of(reply.text, reply.score, tokens=reply.tokens) for reply in replies]


def describe_version(checkpoint: Checkpoint, settings: Mapping[str, object]) -> str:
    """What answers depend on beside the name: `rlad-1, weights 3f2a9c1b02de, max_pixels 200704`.

    A folder that is trained into again is another model: a limit or a run made with its old weights is not its own.
    """
    parts = [PROMPT_VERSION]
    if checkpoint.folder is not None:
        parts.append(f"weights {fingerprint(checkpoint.folder)}")
    parts += [f"{name} {value}" for name, value in settings.items() if value is not None]
    return ", ".join(parts)


def load_checkpoint_judge(
    name: str,
    *,
    votes: int = 1,
    max_pixels: int | None = None,
    device: str | None = None,
    reasoning_tokens: int | None = None,
    batch_size: int | None = None,
    dtype: Precision | None = None,
    reasoning: Reasoning = "always",
    flag_limit: float = FLAG_LIMIT,
    engine: Engine = "transformers",
) -> VlmJudge:
    """A vision-language model in this process: `micro` is built in, others by folder or hub name.

    On a CPU small models are in float32 by default, so that a verdict is the same on every machine. `dtype` "bfloat16"
    computes their products in bfloat16, "auto" does so where the processor is fast at it; the notes then say so. Larger
    models have the precision of their file unless another is given. `engine` "vllm" runs it in vLLM (vllm_engine.py).

    Raises what `load_checkpoint` raises.
    """
    if engine not in get_args(Engine):
        raise InputError(f"engine {engine}: must be {listed(get_args(Engine))}")
    settings = {"max_pixels": max_pixels, "reasoning_tokens": reasoning_tokens, "dtype": dtype}
    if engine == "vllm":
        taken = {"votes": votes != 1, "device": device, "reasoning": reasoning != "always", "dtype": dtype == "auto"}
        if refused := [option for option, given in taken.items() if given]:
            raise InputError(f"engine vllm: does not take {listed(refused)} as given; leave it out")
        size = {"reasoning_tokens": reasoning_tokens, "batch_size": batch_size}
        return VlmJudge(VllmEngine(name, max_pixels=max_pixels, dtype=dtype, **size), settings)
    checkpoint, note = _load_precise(name, dtype, max_pixels=max_pixels, device=device)
    judge = VlmJudge(
        TransformersEngine(
            checkpoint,
            votes=votes,
            reasoning_tokens=reasoning_tokens,
            batch_size=batch_size,
            reasoning=reasoning,
            flag_limit=flag_limit,
        ),
        settings | {"flag_limit": flag_limit if reasoning == "flagged" else None},
    )
    judge.notes += (note,) if note else ()
    return judge


def _load_precise(name: str, dtype: Precision | None, **options: Any) -> tuple[Checkpoint, str]:
    """The checkpoint in this precision, and a note on it, if there is something to know."""
    if dtype not in (None, *get_args(Precision)):
        raise InputError(f"dtype {dtype}: must be {listed(get_args(Precision))}")
    checkpoint = load_checkpoint(name, dtype="float32" if dtype == "float32" else None, **options)
    model = checkpoint.model
    if dtype in (None, "float32"):
        return checkpoint, ""
    if model.device.type != "cpu" or model.dtype != torch.float32:
        if dtype == "bfloat16" and model.dtype != torch.bfloat16:
            model.to(torch.bfloat16)
        return checkpoint, ""
    gain = bfloat16_gain()
    if dtype == "auto" and gain < WORTHWHILE:
        return checkpoint, f"computed in float32: products in bfloat16 are {gain:.1f} times as fast on this processor"
    use_bfloat16_products(model)
    return (
        checkpoint,
        f"products in bfloat16, {gain:.1f} times as fast as float32 on this processor; scores vary a little",
    )
