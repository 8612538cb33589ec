"""TRL's GRPOTrainer with what the paper needs and TRL lacks; importing this module needs the extra `train`.

- Rollouts under structured decoding, or free; forced tokens carry no gradient (rollouts.py, objective.py).
- `kl: reward` subtracts the KL to the frozen model from a sequence's reward (equation 7). TRL has it in the loss only.
- A step's pictures are kept once each, not once for each response (`keep_once`): 14 GB less with 512 responses.
- Groups whose responses are all right or all wrong can be replaced by other pairs (`resample`) and left out
  (`spread_of`); docs/training.md.
- Rewards by part and by label, yes-rate, lengths, forced ends, KL: logged at every step beside TRL's own metrics.

Everything else, the loss above all, is TRL's.
"""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch

from lad_reasoner.answers import parse_response
from lad_reasoner.errors import require
from lad_reasoner.judges.vlm.checkpoint import Checkpoint
from lad_reasoner.judges.vlm.grammar import response_regex
from lad_reasoner.judges.vlm.qwen_speedups import find_different, share_pictures, speed_up
from lad_reasoner.train.monitor import CollapseGuard, Samples
from lad_reasoner.train.objective import group_advantages, penalised_rewards, sequence_kl, zero_spread
from lad_reasoner.train.rewards import response_text
from lad_reasoner.train.rollouts import Rollouts, find_chosen
from lad_reasoner.train.settings import TRL

GRPOTrainer: Any = require("trl", "train").GRPOTrainer
TrainerCallback: Any = require("transformers", "train").TrainerCallback


class StructuredGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPO on pairs. `kl` says where the KL with coefficient `args.beta` goes: reward, loss or none (beta 0).

    `rollouts` samples the responses, structured or free. With vLLM TRL does; its `vllm_structured_outputs_regex` is
    then that of structured ones unless given. `spread_of` names a reward: a group in which it is the same for all has
    no advantage. `resample` times such groups, by the answers alone, give way to other pairs of the data before
    anything is learned; not with vLLM.

    Shapes in comments: B responses of this process, N of all processes, T tokens at most.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        kl: str,
        rollouts: Rollouts,
        spread_of: str | None = None,
        resample: int = 0,
        **named: Any,
    ) -> None:
        args = named["args"]
        self.kl, self.spread_of, self.resample = kl, spread_of, resample
        self._sampled: dict[str, Any] | None = None  # what `_replace_flat` has sampled already, for TRL to take
        self.rollouts = rollouts
        if args.use_vllm and rollouts.structured and args.vllm_structured_outputs_regex is None:
            args.vllm_structured_outputs_regex = response_regex(rollouts.budget)
        self.parts = torch.empty(0)  # (N, rewards), a column for each reward function
        self.samples: list[dict[str, Any]] = []  # the last responses of this process
        super().__init__(
            model=checkpoint.model,
            processing_class=checkpoint.processor,
            rollout_func=None if args.use_vllm else self._roll_out,
            **named,
        )
        # All responses of a group look at the same pictures.
        share_pictures(self._bare(self.model))
        if self.ref_model is not None:
            # TRL loads the frozen model by itself, without our speed-ups.
            reference = self._bare(self.accelerator.unwrap_model(self.ref_model))
            speed_up(reference)
            share_pictures(reference)

    def _bare(self, model: Any) -> Any:
        """The model itself, without adapters around it."""
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        self._sampler = super()._get_train_sampler(dataset)
        return self._sampler

    def skip(self, steps: int, batches: int) -> None:
        """Set the counter of batches, and the order of the pairs, as they are after these steps.

        An epoch has `batches` for this process, of which the last step takes what is left.
        """
        parts = self.args.gradient_accumulation_steps
        epochs, rest = divmod(steps, math.ceil(batches / parts))
        self._step = epochs * batches + rest * parts
        for _ in range(epochs):
            next(iter(self._sampler))  # draws the order of an epoch that is over

    @property
    def between_rounds(self) -> bool:
        """Whether the next step samples new responses, `num_iterations` and `steps_per_generation` considered."""
        return bool(self._step % (self.args.steps_per_generation * self.num_iterations) == 0)

    def _own(self, everyone: torch.Tensor, count: int) -> torch.Tensor:
        """This process's `count` rows of what was gathered, (N, …) -> (B, …)."""
        start = self.accelerator.process_index * count
        return everyone[start : start + count]

    def _log_number(self, name: str, value: torch.Tensor) -> None:
        """Hand a number () to TRL, which logs its mean over the steps since the last log.

        TRL's own `_log_metric` is another: reward functions get it as `log_metric`.
        """
        self._metrics["train" if self.model.training else "eval"][name].append(value.item())

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        """TRL's, with the responses decoded as inspection does it, and the forced tokens of vLLM's found."""
        prompt_ids, ids, chosen, _, *rest = super()._generate(prompts)
        grammar = self.rollouts.grammar
        if chosen is None and not self.rollouts.structured:
            chosen = [[1] * len(row) for row in ids]
        elif chosen is None:  # vLLM does not tell which tokens its regular expression forced
            chosen = []
            for row in ids:
                pieces = [grammar.text(token) for token in row]
                chosen.append([int(choice) for choice in find_chosen(pieces, self.rollouts.budget)])
        completions = [[{"role": "assistant", "content": self._read(row)}] for row in ids]
        return prompt_ids, ids, chosen, completions, *rest

    def _read(self, ids: Sequence[int]) -> str:
        """The text of a response: TRL would drop special tokens, and with them tags that are added tokens."""
        grammar = self.rollouts.grammar
        return grammar.decode([token for token in ids if token not in grammar.ends])

    def _roll_out(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`: what was sampled for these prompts already, or new responses."""
        sampled, self._sampled = self._sampled, None
        return self.rollouts(prompts, trainer) if sampled is None else sampled

    def _replace_flat(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Sample a response for each of this process's rows; groups of one answer give way to other pairs, in turns.

        What was sampled for the rows that are returned is kept for `_roll_out`. After `resample` turns groups without
        spread stay.
        """
        kept, group = [dict(row) for row in rows], self.num_generations
        count, start = len(kept), self.accelerator.process_index * len(kept)
        sampled = self._sample(kept)
        # The same draws in all processes, and after a resume.
        draw = random.Random(f"{self.args.seed}/{self._step}")
        replaced = 0
        for _ in range(self.resample):
            responses = map(self._read, sampled["completion_ids"])
            right = [parse_response(text).answer == row["label"] for text, row in zip(responses, kept, strict=True)]
            everyone = self.accelerator.gather(torch.tensor(right, device=self.accelerator.device))
            shares = everyone.view(-1, group).float().mean(1).tolist()  # (N / G,)
            flat = [number for number, share in enumerate(shares) if share in (0, 1)]
            if not flat:
                break
            replaced += len(flat)
            pairs = dict(zip(flat, draw.choices(range(len(self.train_dataset)), k=len(flat)), strict=True))
            places = [at for at in range(len(everyone)) if at // group in pairs]
            own = [at - start for at in places if 0 <= at - start < count]
            for at in own:
                kept[at] = dict(self.train_dataset[pairs[(start + at) // group]])
            # Weights that are spread over processes need as many calls in each of them.
            most = max(Counter(at // count for at in places).values())
            filling = [kept[0]] * (most - len(own))
            again = self._sample([kept[at] for at in own] + filling)
            for name, values in again.items():
                for at, value in zip(own, values or (), strict=False):
                    sampled[name][at] = value
        # Above 1 where groups gave way several times.
        self._log_number("groups_resampled", torch.tensor(replaced * group / (count * self.accelerator.num_processes)))
        self._sampled = sampled
        return kept

    def _sample(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The responses of `Rollouts` to these rows."""
        with_pictures = require("trl.data_utils", "train").prepare_multimodal_messages
        return self.rollouts([with_pictures(row["prompt"], images=row["images"]) for row in rows], self)

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: Any, completions: list[Any], completion_ids_list: list[list[int]]
    ) -> torch.Tensor:
        # Gathered by TRL: groups may be spread over processes.
        self.parts = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._observe(inputs, [response_text(completion) for completion in completions], completion_ids_list)
        return self.parts

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self.resample and self.model.training:
            inputs = self._replace_flat(inputs)
        # Where `beta` is not 0 TRL asks the reference model, and puts the KL into the loss.
        self.beta = self.args.beta
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self.kl == "reward":
            self.beta = 0.0  # the reward has it; a second term in the loss would count it twice
            output["advantages"] = self._penalised_advantages(output)
        if self.spread_of is not None:
            output["advantages"] = output["advantages"] * self._has_spread(len(output["advantages"]))
        for sample, advantage in zip(self.samples, output["advantages"].tolist(), strict=True):
            sample["advantage"] = round(advantage, 4)
        return keep_once(output)

    def _compute_loss(self, model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
        loss: torch.Tensor = super()._compute_loss(model, spread_out(inputs))
        return loss

    def _penalised_advantages(self, output: dict[str, Any]) -> torch.Tensor:
        """The advantages of this process's responses (B,), from rewards less the KL (equations 4 to 8)."""
        # TRL's names: `completion_mask` is 0 at padding, `tool_mask` (our `env_mask`) at forced tokens; both (B, T).
        chosen = output["completion_mask"] * output["tool_mask"]
        kl = sequence_kl(self._policy_logps(output), output.pop("ref_per_token_logps"), chosen)
        everyone = self.accelerator.gather(kl)  # (B,) -> (N,)
        tokens = self.accelerator.gather(chosen.sum(-1))
        self._log_number("kl", everyone.sum() / tokens.sum().clamp(min=1))  # per token, as TRL logs its own
        self._log_number("kl_sequence", everyone.mean())
        rewards = penalised_rewards(self.parts, self.reward_weights.to(kl.device), everyone, self.args.beta)
        self._log_number("reward_penalised", rewards.nanmean())
        return self._own(group_advantages(rewards, self.num_generations, self.scale_rewards), len(kl))

    def _has_spread(self, count: int) -> torch.Tensor:
        """1 for each of this process's `count` responses whose group has spread in the reward `spread_of`, else 0."""
        part = self.parts[:, self.reward_func_names.index(self.spread_of)].view(-1, self.num_generations)  # (N / G, G)
        spread = (part.amax(1) > part.amin(1)).float()
        self._log_number("groups_skipped", 1 - spread.mean())
        return self._own(spread.repeat_interleave(self.num_generations), count)

    def _policy_logps(self, output: dict[str, Any]) -> torch.Tensor:
        """Log-probabilities (B, T) of the sampled tokens under the policy that sampled them."""
        if "old_per_token_logps" in output:
            logps: torch.Tensor = output["old_per_token_logps"]
            return logps
        # TRL leaves them out where the policy is still the one that sampled: then the ratio of the loss is 1.
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)  # (B, prompt + T)
        mask = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
        without_checkpoints = require("trl.models.utils", "train").disable_gradient_checkpointing
        with torch.no_grad(), without_checkpoints(self.model, self.args.gradient_checkpointing_kwargs):
            logps, _, _ = self._get_per_token_logps_and_entropies(
                self.model,
                ids,
                mask,
                output["completion_ids"].size(1),
                batch_size=self.args.per_device_train_batch_size,
                **{name: output[name] for name in TRL["model_inputs"] if name in output},
            )
        return logps

    def _observe(self, inputs: Sequence[Mapping[str, Any]], texts: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
        """Log what the responses of all processes are like; keep those of this one."""
        answers = [parse_response(text).answer for text in texts]
        facts = [
            [row["label"] == "yes", answer == "yes", answer == "no", row.get("forced", False), len(tokens)]
            for row, answer, tokens in zip(inputs, answers, ids, strict=True)
        ]
        # (B, 5) -> (N, 5): one gather for all five numbers.
        everyone = self.accelerator.gather(torch.tensor(facts, dtype=torch.float32, device=self.accelerator.device))
        label, yes, no, forced, length = everyone.unbind(1)
        self._log_number("yes_rate", yes.mean())
        self._log_number("no_rate", no.mean())  # below 1 - yes_rate where answers are invalid
        self._log_number("label_yes_rate", label.mean())
        self._log_number("response_length", length.mean())
        if "forced" in inputs[0]:  # vLLM does not tell
            self._log_number("forced_ends", forced.mean())
        # Without the KL: it differs from response to response, and would hide that a group earns the same.
        weights = self.reward_weights.to(self.parts.device)
        rewards = penalised_rewards(self.parts, weights, torch.zeros_like(length), 0.0)
        self._log_number("zero_spread", zero_spread(rewards, self.num_generations))
        # By label, too: a policy that always says yes is right about every anomaly.
        for word, rows in (("yes", label == 1), ("no", label == 0)):
            if rows.any():
                for name, part in zip(self.reward_func_names, self.parts[rows].unbind(1), strict=True):
                    self._log_number(f"rewards/{name}/{word}", part.nanmean())
        own_parts = self._own(self.parts, len(texts)).tolist()
        self.samples = []
        for row, answer, parts, tokens, text in zip(inputs, answers, own_parts, ids, texts, strict=True):
            # What does not apply is NaN for TRL, which JSON does not have.
            numbers = [None if math.isnan(part) else part for part in parts]
            sample = {
                "id": row["id"],
                "label": row["label"],
                "answer": answer,
                "rewards": dict(zip(self.reward_func_names, numbers, strict=True)),
                "tokens": len(tokens),
                "response": text,
            }
            self.samples.append(sample)


def keep_once(output: Mapping[str, Any]) -> dict[str, Any]:
    """What a step keeps, its pictures once each in `pictures`: a list of (patches, grid) for each response.

    TRL keeps the patches of all responses, which in a group are the same, until the step is over. It shuffles and cuts
    our list as it does with its own fields. Models whose pictures are no rows of patches keep TRL's form.
    """
    kept = dict(output)
    if not {"pixel_values", "image_grid_thw", "num_images"} <= kept.keys():
        return kept
    # (patches of all pictures, values), (pictures, 3), pictures of each response
    pixels, grids, counts = (kept.pop(name) for name in ("pixel_values", "image_grid_thw", "num_images"))
    pieces = torch.split(pixels, grids.prod(-1).tolist())
    first, kinds = find_different(pieces, grids.tolist())
    different = [pieces[number].clone() for number in first]  # a view would keep all of them
    pictures = zip((different[kind] for kind in kinds), grids, strict=True)
    kept["pictures"] = [list(islice(pictures, count)) for count in counts]
    return kept


def spread_out(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """TRL's fields of what `keep_once` made."""
    fields = dict(inputs)
    if "pictures" in fields:
        rows = fields.pop("pictures")
        pixels, grids = zip(*(picture for row in rows for picture in row), strict=True)
        fields |= {"pixel_values": torch.cat(pixels), "image_grid_thw": torch.stack(grids)}
        fields["num_images"] = [len(row) for row in rows]
    return fields


class GRPOMonitor(TrainerCallback):  # type: ignore[misc]
    """Keeps samples, warns of a collapse, and puts a resumed trainer at its place in the round of generations."""

    def __init__(self, trainer: StructuredGRPOTrainer, samples: Samples, guard: CollapseGuard, *, stop: bool) -> None:
        self.trainer, self.samples, self.guard, self.stop = trainer, samples, guard, stop
        self.stopped = ""  # why the training was stopped

    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **_: Any) -> None:
        # TRL starts from 0 after a resume, too: its rounds of generation would begin at other steps, and each epoch
        # would have the order of the first one again.
        self.trainer.skip(state.global_step, len(train_dataloader))
        if state.is_world_process_zero:
            self.samples.forget(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero and self.samples.due(state.global_step):
            self.samples.add(state.global_step, self.trainer.samples)
        if self.stopped and self.trainer.between_rounds:
            control.should_training_stop = control.should_save = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        warning = self.guard.look(logs or {})
        if not warning:
            return
        if state.is_world_process_zero:
            print(f"step {state.global_step}: {warning}", file=sys.stderr)
        if self.stop and not self.stopped:
            self.stopped = f"stopped at step {state.global_step}: {warning}"
        if self.stopped and self.trainer.between_rounds:
            control.should_training_stop = control.should_save = True
