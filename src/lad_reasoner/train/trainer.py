"""TRL's GRPOTrainer with what the paper needs and TRL lacks; importing this module needs the extra `train`.

- Rollouts under structured decoding; forced tokens carry no gradient (rollouts.py, policy.py).
- `kl: reward` subtracts the KL to the frozen model from a sequence's reward (equation 7). TRL has it in the loss only.
- Rewards by part and by label, yes-rate, lengths, forced ends, KL: logged at every step beside what TRL logs.

Everything else, the loss above all, is TRL's.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lad_reasoner.answers import parse_response
from lad_reasoner.judges.vlm.checkpoint import Checkpoint
from lad_reasoner.judges.vlm.qwen_speedups import share_pictures, speed_up
from lad_reasoner.train.monitor import CollapseGuard, Samples
from lad_reasoner.train.objective import group_advantages, penalised_rewards, sequence_kl
from lad_reasoner.train.rewards import response_text
from lad_reasoner.train.rollouts import Rollouts, find_chosen
from lad_reasoner.train.settings import library

GRPOTrainer: Any = library("trl").GRPOTrainer
TrainerCallback: Any = library("transformers").TrainerCallback

# What a model may take beside ids and mask, under the names that TRL gives it.
SEEN = (
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)


class StructuredGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPO on pairs. `kl` says where the KL with coefficient `args.beta` goes: reward, loss or none (beta 0)."""

    def __init__(self, checkpoint: Checkpoint, *, kl: str, rollout_batch_size: int, **named: Any) -> None:
        args = named["args"]
        self.kl = kl
        self.rollouts = Rollouts(
            checkpoint, tokens=args.max_completion_length, at_once=rollout_batch_size, device=args.device
        )
        self.parts = torch.empty(0)  # rewards of the batch by part, of all processes
        self.samples: list[dict[str, Any]] = []  # the last responses of this process
        super().__init__(
            model=checkpoint.model,
            processing_class=checkpoint.processor,
            rollout_func=None if args.use_vllm else self.rollouts,
            **named,
        )
        share_pictures(self._bare(self.model))
        if self.ref_model is not None:
            reference = self._bare(self.accelerator.unwrap_model(self.ref_model))
            speed_up(reference)
            share_pictures(reference)

    def _bare(self, model: Any) -> Any:
        """The model itself, without adapters around it."""
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        """TRL's, with the responses decoded as inspection does it, and the forced tokens of vLLM's found."""
        prompt_ids, ids, chosen, _, *rest = super()._generate(prompts)
        grammar = self.rollouts.grammar
        if chosen is None:
            chosen = [[int(c) for c in find_chosen([grammar.text(token) for token in row])] for row in ids]
        texts = [grammar.decode([token for token in row if token not in grammar.ends]) for row in ids]
        return prompt_ids, ids, chosen, [[{"role": "assistant", "content": text}] for text in texts], *rest

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: Any, completions: list[Any], completion_ids_list: list[list[int]]
    ) -> torch.Tensor:
        self.parts = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._observe(inputs, [response_text(completion) for completion in completions], completion_ids_list)
        return self.parts

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.beta = self.args.beta  # TRL asks the reference model where this is not 0
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self.kl == "reward":
            self.beta = 0.0  # and puts no term into the loss where it is
            output["advantages"] = self._penalised_advantages(output)
        for sample, advantage in zip(self.samples, output["advantages"].tolist(), strict=True):
            sample["advantage"] = round(advantage, 4)
        return output

    def _penalised_advantages(self, output: dict[str, Any]) -> torch.Tensor:
        """The advantages of this process's responses (B,), from rewards less the KL (equations 4 to 8)."""
        chosen = output["completion_mask"] * output["tool_mask"]
        kl = sequence_kl(self._policy_logps(output), output.pop("ref_per_token_logps"), chosen)
        everyone = self.accelerator.gather(kl)
        tokens = self.accelerator.gather(chosen.sum(-1))
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["kl"].append((everyone.sum() / tokens.sum().clamp(min=1)).item())
        metrics["kl_sequence"].append(everyone.mean().item())
        rewards = penalised_rewards(self.parts, self.reward_weights.to(kl.device), everyone, self.args.beta)
        metrics["reward_penalised"].append(rewards.nanmean().item())
        advantages = group_advantages(rewards, self.num_generations, self.scale_rewards)
        return advantages[self.accelerator.process_index * len(kl) :][: len(kl)]

    def _policy_logps(self, output: dict[str, Any]) -> torch.Tensor:
        """Log-probabilities (B, T) of the sampled tokens under the policy that sampled them."""
        if "old_per_token_logps" in output:
            found: torch.Tensor = output["old_per_token_logps"]
            return found
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
        mask = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
        without_checkpoints = library("trl.models.utils").disable_gradient_checkpointing
        with torch.no_grad(), without_checkpoints(self.model, self.args.gradient_checkpointing_kwargs):
            logps, _, _ = self._get_per_token_logps_and_entropies(
                self.model,
                ids,
                mask,
                output["completion_ids"].size(1),
                batch_size=self.args.per_device_train_batch_size,
                **{name: output[name] for name in SEEN if name in output},
            )
        return logps  # type: ignore[no-any-return]

    def _observe(self, inputs: Sequence[Mapping[str, Any]], texts: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
        """Log what the responses of all processes are like; keep those of this one."""
        answers = [parse_response(text).answer for text in texts]
        facts = [
            [row["label"] == "yes", answer == "yes", answer == "no", row.get("forced", False), len(tokens)]
            for row, answer, tokens in zip(inputs, answers, ids, strict=True)
        ]
        everyone = self.accelerator.gather(torch.tensor(facts, dtype=torch.float32, device=self.accelerator.device))
        label, yes, no, forced, length = everyone.unbind(1)
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["yes_rate"].append(yes.mean().item())
        metrics["no_rate"].append(no.mean().item())
        metrics["label_yes_rate"].append(label.mean().item())
        metrics["response_length"].append(length.mean().item())
        if "forced" in inputs[0]:
            metrics["forced_ends"].append(forced.mean().item())
        rewards = penalised_rewards(
            self.parts, self.reward_weights.to(self.parts.device), torch.zeros_like(length), 0.0
        )
        groups = rewards.view(-1, self.num_generations)
        metrics["zero_spread"].append((groups.amax(1) - groups.amin(1) < 1e-6).float().mean().item())
        for word, rows in (("yes", label == 1), ("no", label == 0)):
            if rows.any():
                for name, part in zip(self.reward_func_names, self.parts[rows].unbind(1), strict=True):
                    metrics[f"rewards/{name}/{word}"].append(part.nanmean().item())
        mine = self.parts[self.accelerator.process_index * len(texts) :][: len(texts)].tolist()
        self.samples = [
            {
                "id": row["id"],
                "label": row["label"],
                "answer": answer,
                "rewards": dict(zip(self.reward_func_names, parts, strict=True)),
                "tokens": len(tokens),
                "response": text,
            }
            for row, answer, parts, tokens, text in zip(inputs, answers, mine, ids, texts, strict=True)
        ]


class Watch(TrainerCallback):  # type: ignore[misc]
    """Keeps samples, warns of a collapse, and puts a resumed trainer at its place in the round of generations."""

    def __init__(self, trainer: StructuredGRPOTrainer, samples: Samples, guard: CollapseGuard, *, stop: bool) -> None:
        self.trainer, self.samples, self.guard, self.stop = trainer, samples, guard, stop
        self.stopped = ""  # why the training was stopped

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer._step = state.global_step * args.gradient_accumulation_steps
        if state.is_world_process_zero:
            self.samples.forget(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero and self.samples.due(state.global_step):
            self.samples.add(state.global_step, self.trainer.samples)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        warning = self.guard.look(logs or {})
        if not warning:
            return
        if state.is_world_process_zero:
            print(f"step {state.global_step}: {warning}", file=sys.stderr)
        if self.stop:
            self.stopped = f"stopped at step {state.global_step}: {warning}"
            control.should_training_stop = control.should_save = True
