"""Structured decoding in GRPO's rollouts: each sampled response follows the grammar, and its forced tokens are known.

`Rollouts` is a `rollout_func` of TRL for generation in this process. With vLLM TRL generates by itself under the
regular expression of `response_regex`; `find_chosen` then reads from the text which tokens were forced. Without
structure the model writes freely, every token is chosen, and the structure reward has something to teach.

The paper samples "under structured decoding constraints guided by a predefined reasoning template" (section 4.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from lad_reasoner.errors import InputError, require
from lad_reasoner.judges.vlm.checkpoint import Checkpoint
from lad_reasoner.judges.vlm.decoding import StructuredDecoding, Written
from lad_reasoner.judges.vlm.grammar import CHARACTERS, make_grammar

_ANSWER = re.compile(r"</think>\s*<answer>\s*(?=(yes|no))", re.IGNORECASE)


class Rollouts:
    """Samples a response for each prompt; used as TRL's `rollout_func`.

    `tokens` is the most that a response may take, its tags and its end included; `budget` is what they leave for the
    reasoning. `at_once` is how many responses are generated together. Without `structured` they are free. Raises
    InputError if so few tokens leave no room for a reasoning (its message begins with `about`: where `tokens` was set),
    or if the chat template opens `<think>` itself.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        tokens: int,
        at_once: int,
        structured: bool = True,
        device: Any = None,
        about: str = "max_completion_length",
    ) -> None:
        self.grammar, self.at_once, self.structured = make_grammar(checkpoint, device), at_once, structured
        # (vocabulary,) added to the logits of free sampling. Unlike under the grammar the model ends the text itself.
        self.free = self.grammar.never.clone()
        self.free[self.grammar.end_ids] = 0.0
        # Everything but the reasoning; a decoder with a budget of one token knows how much that is.
        frame = StructuredDecoding(self.grammar, 1).max_new_tokens - 1
        if tokens <= frame:
            raise InputError(
                f"{about}: must be at least {frame + 1}, not {tokens}: the tags take {frame} tokens of this model, a "
                "reasoning at least one"
            )
        self.budget = tokens - frame
        turn = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
        prompt = checkpoint.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        # TRL keeps such a prompt as it is, so the response would open the tag a second time.
        if prompt.rstrip().endswith("<think>"):
            raise InputError(f"{checkpoint.name}: its chat template opens <think> itself; train the version without it")

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """TRL's fields: ids of prompts and responses, `env_mask` with 0 at forced tokens; and ours, `forced`."""
        prompt_ids: list[list[int]] = []
        written: list[Written] = []
        # In parts: all responses of a step at once may not fit into memory.
        for start in range(0, len(prompts), self.at_once):
            ids, responses = self._sample(prompts[start : start + self.at_once], trainer)
            prompt_ids += ids
            written += responses
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": [list(response.ids) for response in written],
            "logprobs": None,  # the trainer computes those that it needs
            # TRL leaves tokens with 0 out of the loss, as it does with what an environment has written.
            "env_mask": [[int(choice) for choice in response.chosen] for response in written],
            "forced": [response.forced for response in written],
        }

    def _sample(self, prompts: Sequence[Any], trainer: Any) -> tuple[list[list[int]], list[Written]]:
        """The ids of the prompts, without padding, and a response to each."""
        inputs = trainer.processing_class.apply_chat_template(
            list(prompts),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs={"padding": True, "return_tensors": "pt"},
            **trainer.chat_template_kwargs,
        ).to(trainer.accelerator.device)
        # (prompts, tokens) padded on the left; the mask is true where a token is no padding.
        masks = inputs["attention_mask"].bool()
        ids = [row[mask].tolist() for row, mask in zip(inputs["input_ids"], masks, strict=True)]
        decoding = StructuredDecoding(self.grammar, self.budget)
        # The contexts of TRL's own generation: weights that are spread over processes are gathered.
        with (
            require("trl.models.utils", "train").unwrap_model_for_generation(
                trainer.model_wrapped,
                trainer.accelerator,
                gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
                # A checkpoint's own settings (temperature, repetition penalty) would fill the gaps of TRL's.
                generation_kwargs=trainer.generation_kwargs,
                gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
            ) as model,
            torch.no_grad(),
            trainer._dist.summon_full_params(trainer.model_wrapped, recurse=False),
            trainer.accelerator.autocast(),
        ):
            process = [decoding if self.structured else self._forbid_placeholders]
            rows = model.generate(**inputs, generation_config=trainer.generation_config, logits_processor=process)
        if self.structured:
            return ids, decoding.written()
        return ids, [self._cut(row) for row in rows[:, inputs["input_ids"].shape[1] :].tolist()]

    def _forbid_placeholders(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The logits (rows, vocabulary) of free sampling, in which tokens that stand for pictures never win."""
        return scores + self.free

    def _cut(self, row: Sequence[int]) -> Written:
        """A free response: the ids up to its end, which is missing if the tokens were spent; all are chosen."""
        end = next((at for at, token in enumerate(row, start=1) if token in self.grammar.ends), 0)
        return Written(tuple(row[: end or None]), (True,) * (end or len(row)), forced=not end)


def find_chosen(texts: Sequence[str], budget: int) -> list[bool]:
    """Whether the model had a choice at each token of a response under `response_regex`; `texts` are the tokens' texts.

    Chosen are the tokens of the reasoning, the one in which its end tag begins, and the one in which the answer begins.
    The end of a reasoning as long as `budget` allows is forced. In a response that was cut off everything after
    `<think>` counts as chosen.
    """
    whole = "".join(texts)
    # Places count characters of `whole`; a token lies in [begin, place).
    reasoning = whole.find("<think>") + len("<think>")
    end, answer = len(whole), -1  # of a response that was cut off: no end tag, no answer
    for match in _ANSWER.finditer(whole):
        end, answer = match.span()
    # Where no character was left, only the end tag could follow.
    ends = end - reasoning < CHARACTERS * budget
    chosen: list[bool] = []
    place = 0
    for text in texts:
        begin, place = place, place + len(text)
        # The last condition leaves out tokens without text at the end, such as the end of text.
        thinks = place > reasoning and begin < end + ends and begin < len(whole)
        chosen.append(thinks or begin <= answer < place)
    return chosen
