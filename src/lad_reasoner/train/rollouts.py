"""Structured decoding in GRPO's rollouts: each sampled response follows the grammar, and its forced tokens are known.

`Rollouts` is a `rollout_func` of TRL for generation in this process. With vLLM TRL generates by itself under the
regular expression of `response_regex`; which of its tokens were forced is then read from the text (`find_chosen`).

The paper samples "under structured decoding constraints guided by a predefined reasoning template" (section 4.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from lad_reasoner.errors import InputError
from lad_reasoner.judges.vlm.checkpoint import Checkpoint
from lad_reasoner.judges.vlm.decoding import StructuredDecoding, Written
from lad_reasoner.judges.vlm.grammar import make_grammar
from lad_reasoner.train.settings import library

_ANSWER = re.compile(r"</think>\s*<answer>\s*(?=(yes|no))", re.IGNORECASE)


class Rollouts:
    """Samples a response for each prompt; used as TRL's `rollout_func`.

    `tokens` are the most that a response may take, its tags and its end included, `at_once` how many responses are
    generated together. InputError where so few tokens leave no room for a reasoning, and for a chat template that opens
    `<think>` itself.
    """

    def __init__(self, checkpoint: Checkpoint, *, tokens: int, at_once: int, device: Any = None) -> None:
        self.grammar, self.at_once = make_grammar(checkpoint, device), at_once
        frame = StructuredDecoding(self.grammar, 1).max_new_tokens - 1
        if tokens <= frame:
            raise InputError(
                f"max_completion_length {tokens}: the tags alone take {frame} tokens; give at least {frame + 32}"
            )
        self.budget = tokens - frame
        turn = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
        if (
            checkpoint.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
            .rstrip()
            .endswith("<think>")
        ):
            raise InputError(f"{checkpoint.name}: its chat template opens <think> itself; train the version without it")

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """What TRL asks for: ids of prompts and responses, `env_mask` with 0 at forced tokens; and `forced`."""
        prompt_ids: list[list[int]] = []
        written: list[Written] = []
        for start in range(0, len(prompts), self.at_once):
            ids, responses = self._sample(prompts[start : start + self.at_once], trainer)
            prompt_ids += ids
            written += responses
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": [list(response.ids) for response in written],
            "logprobs": None,  # the trainer computes those that it needs
            "env_mask": [[int(choice) for choice in response.chosen] for response in written],
            "forced": [response.forced for response in written],
        }

    def _sample(self, prompts: Sequence[Any], trainer: Any) -> tuple[list[list[int]], list[Written]]:
        inputs = trainer.processing_class.apply_chat_template(
            list(prompts),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs={"padding": True, "return_tensors": "pt"},
            **trainer.chat_template_kwargs,
        ).to(trainer.accelerator.device)
        ids = [
            row[kept].tolist() for row, kept in zip(inputs["input_ids"], inputs["attention_mask"].bool(), strict=True)
        ]
        decoding = StructuredDecoding(self.grammar, self.budget)
        with (
            library("trl.models.utils").unwrap_model_for_generation(
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
            model.generate(**inputs, generation_config=trainer.generation_config, logits_processor=[decoding])
        return ids, decoding.written()


def response_regex(tokens: int) -> str:
    """A regular expression of the response grammar for vLLM's structured outputs.

    The reasoning holds no `<` and at most so many characters that a response of `tokens` tokens nearly always ends.
    """
    return rf"<think>[^<]{{1,{max(1, 2 * tokens)}}}</think><answer>(yes|no)</answer>"


def find_chosen(texts: Sequence[str]) -> list[bool]:
    """Of each token of a response under `response_regex`: did the model have a choice? `texts` are the tokens' texts.

    Chosen are the tokens of the reasoning, the one in which its end tag begins, and the one in which the answer begins.
    Of a response that was cut off everything after `<think>` counts as chosen.
    """
    whole = "".join(texts)
    reasoning = whole.find("<think>") + len("<think>")
    found = list(_ANSWER.finditer(whole))
    end, answer = (found[-1].start(), found[-1].end()) if found else (len(whole), None)
    chosen, place = [], 0
    for text in texts:
        begin, place = place, place + len(text)
        thinks = place > reasoning and begin <= end and begin < len(whole)
        chosen.append(thinks or (answer is not None and begin <= answer < place))
    return chosen
