"""The trainer on a tiny random model: what it samples, what it is rewarded for, what it logs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import tiny
from helpers.tutored import build
from lad_reasoner.answers import parse_response
from lad_reasoner.cli.train import show_samples
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.judges.vlm.qwen_speedups import share_pictures
from lad_reasoner.train.dataset import load_set
from lad_reasoner.train.rewards import accuracy_reward, structure_reward
from lad_reasoner.train.rollouts import Rollouts

trl = pytest.importorskip("trl")
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
# Their own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

G, TEMPERATURE = 4, 0.8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grpo")
    tiny.save_qwen(folder / "model")
    build(folder / "data", task="pair", records=6)
    return folder


def make_trainer(
    folder: Path,
    *,
    kl: str = "reward",
    beta: float = 0.05,
    structured: bool = True,
    spread_of: str | None = None,
    resample: int = 0,
    **settings: Any,
) -> Any:
    from lad_reasoner.train.trainer import StructuredGRPOTrainer

    fields = {
        "per_device_train_batch_size": 2 * G,
        "num_generations": G,
        "max_completion_length": 48,
        "temperature": TEMPERATURE,
        "beta": beta,
        "reward_weights": [0.5, 0.5],
        "loss_type": "grpo",
        **settings,
    }
    arguments = trl.GRPOConfig(output_dir=str(folder / "out"), use_cpu=True, bf16=False, report_to=[], **fields)
    checkpoint = load_checkpoint(folder / "model")
    trainer = StructuredGRPOTrainer(
        checkpoint,
        kl=kl,
        rollouts=Rollouts(
            checkpoint,
            tokens=arguments.max_completion_length,
            at_once=3,
            structured=structured,
            device=arguments.device,
        ),
        spread_of=spread_of,
        resample=resample,
        args=arguments,
        reward_funcs=[structure_reward, accuracy_reward],
        train_dataset=load_set(folder / "data", kind="pair"),
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def sample(trainer: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows = [dict(trainer.train_dataset[at]) for at in (0, 1) for _ in range(G)]
    torch.manual_seed(3)
    return rows, trainer._generate_and_score_completions(rows)


def shake(model: Any, size: float = 0.03) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            weight += size * torch.randn(weight.shape, generator=generator)


def token_logps(folder: Path, model: Any, rows: list[dict[str, Any]], output: dict[str, Any]) -> torch.Tensor:
    """log softmax of the logits over the temperature, one response at a time and by nothing of TRL's."""
    processor = load_checkpoint(folder / "model").processor
    logps = torch.zeros(output["completion_ids"].shape)
    for at, row in enumerate(rows):
        text = processor.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
        inputs = dict(processor(text=[text], images=[row["images"]], return_tensors="pt"))
        ids = output["completion_ids"][at][output["completion_mask"][at].bool()]
        start = inputs["input_ids"].shape[1]
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            if name in inputs:
                more = ids if name == "input_ids" else torch.full_like(ids, int(name == "attention_mask"))
                inputs[name] = torch.cat([inputs[name], more[None]], 1)
        with torch.no_grad():
            logits = model(**inputs).logits[0, start - 1 : -1].double() / TEMPERATURE
        logps[at, : len(ids)] = logits.log_softmax(-1).gather(1, ids[:, None])[:, 0].float()
    return logps


def test_free_rollouts_are_all_chosen_and_earn_what_their_form_deserves(folder: Path) -> None:
    trainer = make_trainer(folder, structured=False)
    _, output = sample(trainer)
    assert all(set(row) == {1} for row in output["tool_mask"].tolist())
    structure = [one["rewards"]["structure_reward"] for one in trainer.samples]
    assert structure == [parse_response(one["response"]).structured for one in trainer.samples]
    assert 0 in structure  # a random model does not write the tags by itself
    assert all(one["tokens"] <= 48 for one in trainer.samples)
    _, output = sample(make_trainer(folder))
    assert any(0 in row for row in output["tool_mask"].tolist())


def test_the_kl_is_subtracted_from_the_reward_of_the_sequence(folder: Path) -> None:
    trainer = make_trainer(folder)
    shake(trainer.model)
    rows, output = sample(trainer)
    assert "ref_per_token_logps" not in output
    assert trainer.beta == 0  # no term in the loss

    chosen = (output["completion_mask"] * output["tool_mask"]).double().numpy()
    policy = token_logps(folder, trainer.model, rows, output).double().numpy()
    reference = token_logps(folder, load_checkpoint(folder / "model").model, rows, output).double().numpy()
    kl = ((policy - reference) * chosen).sum(1)
    assert np.abs(kl).max() > 0.05
    texts = [row["response"] for row in trainer.samples]
    right = [float(parse_response(text).answer == row["label"]) for text, row in zip(texts, rows, strict=True)]
    rewards = (0.5 + 0.5 * np.array(right) - 0.05 * kl).reshape(-1, G)
    advantages = (rewards - rewards.mean(1, keepdims=True)) / (rewards.std(1, ddof=1, keepdims=True) + 1e-4)
    np.testing.assert_allclose(output["advantages"].numpy(), advantages.flatten(), atol=2e-3)
    logged = trainer._metrics["train"]
    assert logged["kl_sequence"] == [pytest.approx(kl.mean(), abs=1e-4)]
    assert logged["kl"] == [pytest.approx(kl.sum() / chosen.sum(), abs=1e-5)]
    assert logged["reward_penalised"] == [pytest.approx(rewards.mean(), abs=1e-5)]
    assert logged["reward"] == [pytest.approx(0.5 + 0.5 * np.mean(right))]


def test_groups_that_are_all_right_or_all_wrong_teach_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the accuracy alone: the KL and the other reward differ within each group."""
    trainer = make_trainer(folder, spread_of="accuracy_reward")
    shake(trainer.model)
    parts = torch.tensor(
        [[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
    )
    monkeypatch.setattr(trl.GRPOTrainer, "_calculate_rewards", lambda *_: parts)
    _, output = sample(trainer)
    flat, other = output["advantages"].view(2, G)
    assert torch.all(flat == 0)
    assert other.abs().min() > 0
    assert trainer._metrics["train"]["groups_skipped"] == [0.5]
    _, output = sample(make_trainer(folder))
    assert "groups_skipped" not in trainer._metrics["eval"]
    assert torch.any(output["advantages"].view(2, G)[0] != 0)


def answer_in_turn(monkeypatch: pytest.MonkeyPatch, turns: list[str]) -> list[int]:
    """Each call of the rollouts gives the answers of the next turn, `y` or `n` a row; returns the rows of each call."""
    calls: list[int] = []

    def respond(self: Rollouts, prompts: Any, trainer: Any) -> dict[str, Any]:
        letters = turns[len(calls)]
        calls.append(len(prompts))
        assert len(prompts) == len(letters)
        texts = [f"<think>Call {len(calls)}.</think><answer>{'yes' if x == 'y' else 'no'}</answer>" for x in letters]
        encode = self.grammar.tokenizer.encode
        ids = [[*encode(text, add_special_tokens=False), self.grammar.ends[0]] for text in texts]
        prompt_ids, _ = self._sample(prompts, trainer)
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": ids,
            "logprobs": None,
            "env_mask": [[1] * len(row) for row in ids],
            "forced": [False] * len(ids),
        }

    monkeypatch.setattr(Rollouts, "__call__", respond)
    return calls


def test_groups_without_spread_give_way_to_other_pairs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(folder, resample=3)
    # The first group answers yes four times, then no four times, then both; the second keeps its first responses.
    calls = answer_in_turn(monkeypatch, ["yyyynyny", "nnnn", "ynny"])
    rows, output = sample(trainer)
    assert calls == [2 * G, G, G]
    assert trainer._metrics["train"]["groups_resampled"] == [1.0]  # two replacements for two groups
    reasonings = [parse_response(row["response"]).reasoning for row in trainer.samples]
    assert reasonings == ["Call 3."] * G + ["Call 1."] * G
    ids = [row["id"] for row in trainer.samples]
    assert ids[G:] == [row["id"] for row in rows[G:]]
    assert len(set(ids[:G])) == 1
    assert set(output["advantages"].sign().tolist()) == {-1.0, 1.0}
    again = make_trainer(folder, resample=3)
    answer_in_turn(monkeypatch, ["yyyynyny", "nnnn", "ynny"])
    sample(again)
    assert [row["id"] for row in again.samples] == ids  # the same pairs, so that a run can be resumed


def test_each_round_of_a_step_draws_other_pairs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step takes several rounds of sampling, `_step` counts on and `global_step` does not."""
    trainer = make_trainer(folder, resample=1, gradient_accumulation_steps=8, steps_per_generation=1)
    answer_in_turn(monkeypatch, ["y" * 2 * G, "yn" * G] * 8)
    drawn = []
    for trainer._step in range(8):
        sample(trainer)
        drawn.append(tuple(row["id"] for row in trainer.samples[::G]))
    assert len(set(drawn)) > 4


def test_resampling_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(folder, resample=2, spread_of="accuracy_reward")
    calls = answer_in_turn(monkeypatch, ["y" * 2 * G] * 3)
    _, output = sample(trainer)
    assert calls == [2 * G] * 3
    assert trainer._metrics["train"]["groups_resampled"] == [2.0]
    assert not output["advantages"].any()  # what is still flat is left out
    plain = make_trainer(folder)
    assert answer_in_turn(monkeypatch, ["y" * 2 * G]) == []
    sample(plain)
    assert "groups_resampled" not in plain._metrics["train"]


def test_a_reward_that_does_not_apply_is_none_in_the_samples(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(folder)
    parts = torch.tensor([[1.0, torch.nan]] * (2 * G))
    monkeypatch.setattr(trl.GRPOTrainer, "_calculate_rewards", lambda *_: parts)
    sample(trainer)
    assert trainer.samples[0]["rewards"] == {"structure_reward": 1.0, "accuracy_reward": None}
    show_samples(1, trainer.samples)


def test_a_policy_that_has_not_moved_has_no_kl(folder: Path) -> None:
    trainer = make_trainer(folder)
    _, output = sample(trainer)
    assert trainer._metrics["train"]["kl_sequence"] == [pytest.approx(0, abs=1e-4)]
    for row in trainer.samples:
        assert parse_response(row["response"]).structured
    assert trainer._compute_loss(trainer.model, output).item() == pytest.approx(0, abs=1e-3)


def test_kl_in_the_loss_or_nowhere_is_all_of_trl(folder: Path) -> None:
    in_loss = make_trainer(folder, kl="loss", scale_rewards="none")
    shake(in_loss.model)
    _, output = sample(in_loss)
    assert "ref_per_token_logps" in output
    assert in_loss.beta == 0.05
    with_kl = in_loss._compute_loss(in_loss.model, output).item()
    in_loss.beta = 0.0
    without = in_loss._compute_loss(in_loss.model, output).item()
    assert with_kl - without == pytest.approx(0.05 * in_loss._metrics["train"]["kl"][0], rel=0.2)
    assert with_kl > without + 1e-5

    nowhere = make_trainer(folder, kl="none", beta=0.0, scale_rewards="none")
    assert nowhere.ref_model is None
    _, output = sample(nowhere)
    right = nowhere.parts[:, 1].view(-1, G)
    expected = 0.5 * (right - right.mean(1, keepdim=True))
    torch.testing.assert_close(output["advantages"], expected.flatten())
    assert "kl" not in nowhere._metrics["train"]


def test_forced_tokens_carry_no_gradient(folder: Path) -> None:
    """What the model thinks of a forced token does not change the gradient of any weight."""
    trainer = make_trainer(folder, kl="none", beta=0.0)
    _, output = sample(trainer)
    output["advantages"] = torch.linspace(-1, 1, 2 * G)
    score = trainer._get_per_token_logps_and_entropies
    grammar = trainer.rollouts.grammar
    tags = grammar.decode(output["completion_ids"][0][(output["tool_mask"] == 0)[0]].tolist())
    assert tags.startswith("<think>")
    assert "</answer>" in tags

    def gradients(factor: float) -> list[torch.Tensor]:
        def scored(*positional: Any, **named: Any) -> Any:
            logps, *rest = score(*positional, **named)
            return torch.where(output["tool_mask"] == 0, factor * logps, logps), *rest

        trainer._get_per_token_logps_and_entropies = scored
        trainer.model.zero_grad()
        trainer._compute_loss(trainer.model, output).backward()
        return [weight.grad.clone() for weight in trainer.model.parameters() if weight.grad is not None]

    once, thrice = gradients(1.0), gradients(3.0)
    assert max(gradient.abs().max().item() for gradient in once) > 1e-4
    for one, three in zip(once, thrice, strict=True):
        torch.testing.assert_close(one, three, atol=1e-7, rtol=1e-5)


def test_what_is_logged(folder: Path) -> None:
    trainer = make_trainer(folder)
    rows, output = sample(trainer)
    logged = {name: values[0] for name, values in trainer._metrics["train"].items()}
    texts = [row["response"] for row in trainer.samples]
    answers = [parse_response(text).answer for text in texts]
    assert logged["yes_rate"] == pytest.approx(np.mean([answer == "yes" for answer in answers]))
    assert logged["yes_rate"] + logged["no_rate"] == 1
    assert logged["label_yes_rate"] == 0.5
    assert logged["response_length"] == pytest.approx(output["completion_mask"].sum(1).float().mean().item())
    assert 0 < logged["completions/mean_length"] < logged["response_length"]  # TRL counts what was chosen
    for word in ("yes", "no"):
        right = [answer == word for answer, row in zip(answers, rows, strict=True) if row["label"] == word]
        assert logged[f"rewards/accuracy_reward/{word}"] == pytest.approx(np.mean(right))
        assert logged[f"rewards/structure_reward/{word}"] == 1
    same = [len(set(answers[first : first + G])) == 1 for first in (0, G)]
    assert logged["zero_spread"] == np.mean(same)
    chosen = (output["completion_mask"] * output["tool_mask"]).sum(1)
    cut_off = chosen == trainer.rollouts.budget + 1  # all of the reasoning's tokens, and the answer
    assert logged["forced_ends"] == pytest.approx(cut_off.float().mean().item())
    assert [row["id"] for row in trainer.samples] == [row["id"] for row in rows]
    kept = [row["advantage"] for row in trainer.samples]
    assert kept == pytest.approx(output["advantages"].tolist(), abs=1e-3)


def test_pictures_are_looked_at_once(folder: Path) -> None:
    """With the same results and gradients, however often each occurs in a batch."""
    results = []
    for shared in (False, True):
        checkpoint = load_checkpoint(folder / "model")
        visual, looked = checkpoint.model.model.visual, []
        visual.patch_embed.register_forward_pre_hook(lambda _, given, looked=looked: looked.append(len(given[0])))
        if shared:
            assert share_pictures(checkpoint.model)
        images = [tiny.picture(seed, 84, 56) for seed in (1, 2, 1, 3)] + [tiny.picture(1, 56, 84)]
        inputs = checkpoint.processor.image_processor(images=images, return_tensors="pt")
        found = checkpoint.model.model.get_image_features(**inputs).pooler_output
        (
            torch.cat(found) * torch.arange(1, 6).repeat_interleave(torch.tensor([len(f) for f in found]))[:, None]
        ).sum().backward()
        results.append((found, [weight.grad for weight in visual.parameters()], looked))
    (plain, slow, all_rows), (once, fast, fewer_rows) = results
    assert fewer_rows[0] == all_rows[0] * 4 // 5
    for one, other in zip((*plain, *slow), (*once, *fast), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_pictures_are_kept_once_and_teach_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts of a step, shuffled by TRL: the same losses and gradients, from pixels that are there only once."""
    from lad_reasoner.train import trainer as room

    results = []
    for once in (False, True):
        trainer = make_trainer(folder, per_device_train_batch_size=G, gradient_accumulation_steps=2)
        rows = [dict(trainer.train_dataset[at]) for at in (0, 1) for _ in range(G)]
        if not once:
            monkeypatch.setattr(room, "keep_once", dict)
        torch.manual_seed(3)
        losses = []
        for step in range(2):
            trainer._step = step
            loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(rows))
            loss.backward()
            losses.append(loss.detach())
        monkeypatch.undo()
        grads = [weight.grad for weight in trainer.model.parameters() if weight.grad is not None]
        results.append((losses, grads, trainer._buffered_inputs))
    (losses, grads, plain), (same_losses, same_grads, once_each) = results
    assert grads
    assert any(grad.any() for grad in grads)
    for one, other in zip((*losses, *grads), (*same_losses, *same_grads), strict=True):
        assert torch.equal(one, other)
    assert len(plain[0]["pixel_values"]) == len(plain[1]["pixel_values"])
    pixels = [patches for part in once_each for row in part["pictures"] for patches, _ in row]
    storages = {patches.untyped_storage().data_ptr(): patches.untyped_storage().nbytes() for patches in pixels}
    everything = sum(part["pixel_values"].untyped_storage().nbytes() for part in plain)
    assert sum(storages.values()) == everything // G


def test_with_vllm_the_forced_tokens_are_read_from_the_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL generates by itself then; its answer is put here by hand."""
    trainer = make_trainer(folder, kl="none", beta=0.0)
    trainer.rollout_func = None
    grammar = trainer.rollouts.grammar
    texts = ["<think>One screw is missing.</think><answer>yes</answer>", "<think>cut off"]
    written = [
        [*grammar.tokenizer.encode(texts[at // G], add_special_tokens=False), *grammar.ends[:1]] for at in range(2 * G)
    ]
    asked: list[int] = []

    def generate(prompt_ids: Any, *_: Any, **__: Any) -> Any:
        asked.extend(len(ids) for ids in prompt_ids)
        return [list(ids) for ids in written], None

    monkeypatch.setattr(trainer, "_generate_single_turn", generate)
    _, output = sample(trainer)
    assert len(asked) == 2 * G
    assert [row["response"] for row in trainer.samples] == [texts[0]] * G + [texts[1]] * G
    assert trainer._metrics["train"]["rewards/structure_reward/mean"] == [0.5]
    assert "forced_ends" not in trainer._metrics["train"]  # vLLM does not tell
    for row in (0, G):
        kept = (output["tool_mask"] * output["completion_mask"])[row].bool()
        chosen = grammar.decode(output["completion_ids"][row][kept].tolist())
        assert chosen.startswith(texts[row // G].removeprefix("<think>")[:8])
        assert "<answer>" not in chosen
