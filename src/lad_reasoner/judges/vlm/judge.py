"""A vision-language model as a judge: the paper's prompt for each pair, its response in the response grammar."""

from __future__ import annotations

from collections.abc import Sequence

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.judges.vlm.transformers_engine import TransformersEngine
from lad_reasoner.prompts import PROMPT_VERSION


class VlmJudge:
    """A vision-language model behind an engine; see `judge.Judge`."""

    prompt_version = PROMPT_VERSION

    def __init__(self, engine: TransformersEngine) -> None:
        self.engine, self.name = engine, engine.name
        self.batch_size, self.notes = engine.batch_size, engine.notes
        self.parameters: int | None = engine.parameters
        self.known_pictures = engine.checkpoint.known_pictures

    def notes_on(self, references: Sequence[Picture]) -> tuple[str, ...]:
        """Whether the model was made for such pictures, if its checkpoint tells which it was made for."""
        note = self.known_pictures.note(references) if self.known_pictures else ""
        return (note,) if note else ()

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """One judgement for each pair, in the engine's batches; pairs of a batch may have different references."""
        pictures = [[*(reference.image for reference in pair.references), pair.query.image] for pair in pairs]
        return [Judgement.of(reply.text, reply.score, tokens=reply.tokens) for reply in self.engine.respond(pictures)]


def load_checkpoint_judge(
    name: str,
    *,
    votes: int = 1,
    max_pixels: int | None = None,
    device: str | None = None,
    reasoning_tokens: int | None = None,
    batch_size: int | None = None,
) -> VlmJudge:
    """A vision-language model in this process: `micro` is built in, others by folder or hub name.

    Raises what `load_checkpoint` raises.
    """
    checkpoint = load_checkpoint(name, max_pixels=max_pixels, device=device)
    return VlmJudge(
        TransformersEngine(checkpoint, votes=votes, reasoning_tokens=reasoning_tokens, batch_size=batch_size)
    )
