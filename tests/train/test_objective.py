"""Our formulas and TRL's loss against twenty lines of NumPy, on random tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from helpers import tiny
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.train.objective import group_advantages, penalised_rewards, sequence_kl, zero_spread

trl = pytest.importorskip("trl")
# Their own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

Array = NDArray[np.float64]
B, T, G, EPSILON = 8, 12, 4, 0.2


def numpy_grpo(
    policy: Array, old: Array, reference: Array, chosen: Array, parts: Array, kl: str, beta: float, level: str
) -> tuple[Array, float]:
    """Advantages (B,) and loss of GRPO: equations 1 and 4 to 8, the KL in the reward, in the loss, or nowhere."""
    rewards = parts @ np.array([0.5, 0.5])
    if kl == "reward":
        rewards = rewards - beta * ((old - reference) * chosen).sum(1)
    advantages = np.zeros(len(rewards))
    for first in range(0, len(rewards), G):
        group = rewards[first : first + G]
        advantages[first : first + G] = (group - group.mean()) / (group.std(ddof=1) + 1e-4)
    loss = 0.0
    for row in range(len(rewards)):
        at = chosen[row] == 1
        log_ratio = (policy - old)[row][at]
        ratio = np.exp(log_ratio if level == "token" else np.full(at.sum(), log_ratio.mean()))
        gain = np.minimum(ratio * advantages[row], np.clip(ratio, 1 - EPSILON, 1 + EPSILON) * advantages[row])
        if kl == "loss":
            away = (reference - policy)[row][at]
            gain = gain - beta * (np.exp(away) - away - 1) * ratio  # unbiased: weighted by the ratio
        loss -= gain.mean() / len(rewards)
    return advantages, loss


def random_batch(seed: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    old = -3 * torch.rand(B, T, generator=generator)
    chosen = (torch.rand(B, T, generator=generator) < 0.7).long()
    chosen[:, 1] = 1  # each response has a choice somewhere
    return {
        "old": old,
        "policy": old + 0.3 * torch.randn(B, T, generator=generator),
        "reference": old + 0.5 * torch.randn(B, T, generator=generator),
        "chosen": chosen,
        "parts": torch.randint(0, 2, (B, 2), generator=generator).float(),
    }


def in_numpy(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value.detach().double().numpy() for name, value in batch.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_qwen(tmp_path_factory.mktemp("policy") / "model")


def make_trainer(folder: Path, **settings: Any) -> Any:
    import datasets

    checkpoint = load_checkpoint(folder)
    arguments = trl.GRPOConfig(
        output_dir=str(folder.parent / "out"),
        per_device_train_batch_size=G,
        num_generations=G,
        use_cpu=True,
        bf16=False,
        report_to=[],
        **{"loss_type": "grpo", "epsilon": EPSILON, **settings},
    )
    data = datasets.Dataset.from_list([{"prompt": [{"role": "user", "content": "?"}]}] * 4)
    trainer = trl.GRPOTrainer(
        model=checkpoint.model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments,
        train_dataset=data,
        processing_class=checkpoint.processor,
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def loss_inputs(batch: dict[str, torch.Tensor], advantages: torch.Tensor) -> dict[str, torch.Tensor]:
    """What TRL hands to its loss; the reference's log-probabilities are not among it."""
    return {
        "prompt_ids": torch.zeros(B, 2, dtype=torch.long),
        "prompt_mask": torch.ones(B, 2, dtype=torch.long),
        "completion_ids": torch.zeros(B, T, dtype=torch.long),
        "completion_mask": torch.ones(B, T, dtype=torch.long),
        "tool_mask": batch["chosen"],
        "advantages": advantages,
        "old_per_token_logps": batch["old"],
        "num_items_in_batch": batch["chosen"].sum(),
    }


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize(("kl", "beta"), [("reward", 0.3), ("loss", 0.3), ("none", 0.0)])
def test_loss_and_advantage_are_those_of_the_equations(folder: Path, kl: str, beta: float, level: str) -> None:
    trainer = make_trainer(folder, beta=beta if kl == "loss" else 0.0, importance_sampling_level=level)
    for seed in range(3):
        batch = random_batch(seed)
        away = sequence_kl(batch["old"], batch["reference"], batch["chosen"]) if kl == "reward" else torch.zeros(B)
        rewards = penalised_rewards(batch["parts"], torch.tensor([0.5, 0.5]), away, beta)
        advantages = group_advantages(rewards, G, "group")
        expected_advantages, expected = numpy_grpo(**in_numpy(batch), kl=kl, beta=beta, level=level)
        np.testing.assert_allclose(advantages.numpy(), expected_advantages, atol=1e-5)

        policy = batch["policy"].clone().requires_grad_()
        given: Any = lambda *_, **__: (policy, torch.zeros(B, T), None)  # noqa: B023, E731
        trainer._get_per_token_logps_and_entropies = given
        inputs = {**loss_inputs(batch, advantages), "ref_per_token_logps": batch["reference"]}
        loss = trainer._compute_loss(trainer.model, inputs)
        assert loss.item() == pytest.approx(expected, abs=1e-5)
        loss.backward()
        assert policy.grad is not None
        assert torch.all(policy.grad[batch["chosen"] == 0] == 0)  # a forced token carries no gradient
        assert policy.grad[batch["chosen"] == 1].abs().max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "divide"),
    [
        ({"loss_type": "dapo", "epsilon_high": 0.28}, "chosen"),
        ({"loss_type": "bnpo"}, "chosen"),
        ({"loss_type": "dr_grpo", "max_completion_length": 50}, "longest"),
    ],
)
def test_losses_of_others_with_forced_tokens(folder: Path, settings: dict[str, Any], divide: str) -> None:
    """Sums over chosen tokens alone, divided by their number (DAPO) or by a constant (Dr. GRPO)."""
    trainer = make_trainer(folder, beta=0.0, **settings)
    batch = random_batch(1)
    advantages = group_advantages(batch["parts"].sum(1), G, "none")
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (batch["policy"], torch.zeros(B, T), None)
    inputs = loss_inputs(batch, advantages)
    loss = trainer._compute_loss(trainer.model, inputs).item()
    numbers = in_numpy(batch)
    ratio, weight = np.exp(numbers["policy"] - numbers["old"]), advantages.double().numpy()[:, None]
    clipped = np.clip(ratio, 1 - EPSILON, 1 + settings.get("epsilon_high", EPSILON))
    total = (np.minimum(ratio * weight, clipped * weight) * numbers["chosen"]).sum()
    assert loss == pytest.approx(-total / {"chosen": numbers["chosen"].sum(), "longest": B * 50}[divide], abs=1e-5)


def test_a_small_example_by_hand() -> None:
    """Two pairs of two responses: one is right, its neighbour not; in the other pair both are right."""
    policy = torch.tensor([[-1.0, -2.0, -9.0], [-1.0, -1.0, -9.0], [-0.5, -0.5, -0.5], [-0.5, -0.5, -0.5]])
    reference = torch.tensor([[-1.5, -2.0, 0.0], [-1.0, -2.0, 0.0], [-0.5, -0.5, -0.5], [-0.5, -0.5, -1.5]])
    chosen = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]])  # the third token of two was forced
    kl = sequence_kl(policy, reference, chosen)
    assert kl.tolist() == [0.5, 1.0, 0.0, 1.0]
    parts = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    rewards = penalised_rewards(parts, torch.tensor([0.5, 0.5]), kl, 0.1)
    torch.testing.assert_close(rewards, torch.tensor([0.95, 0.4, 1.0, 0.9]))
    torch.testing.assert_close(group_advantages(rewards, 2, "none"), torch.tensor([0.275, -0.275, 0.05, -0.05]))
    half = 2**-0.5  # half the distance of two numbers in standard deviations of a sample
    by_group = group_advantages(rewards, 2, "group")
    torch.testing.assert_close(by_group, torch.tensor([half, -half, half, -half]), atol=2e-3, rtol=0)


def test_a_reward_that_does_not_apply_is_left_out() -> None:
    nan = float("nan")
    parts = torch.tensor([[1.0, nan], [nan, nan], [0.0, 1.0], [1.0, 1.0]])
    rewards = penalised_rewards(parts, torch.tensor([0.5, 0.5]), torch.zeros(4), 0.1)
    assert rewards.isnan().tolist() == [False, True, False, False]
    torch.testing.assert_close(group_advantages(rewards, 4, "none"), torch.tensor([-1 / 6, 0, -1 / 6, 1 / 3]))


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=G, max_size=6 * G).filter(lambda r: len(r) % G == 0))
def test_advantages_are_about_differences_within_a_group(rewards: list[float]) -> None:
    plain = torch.tensor(rewards)
    for scale in ("group", "batch", "none"):
        advantages = group_advantages(plain, G, scale)
        assert advantages.view(-1, G).sum(1).abs().max() < 1e-4
        shifted = (plain.view(-1, G) + torch.arange(len(rewards) // G)[:, None]).flatten()
        if scale != "batch":  # the spread of a batch knows how its groups differ
            torch.testing.assert_close(group_advantages(shifted, G, scale), advantages, atol=1e-3, rtol=0)
        same = plain.view(-1, G).std(1) == 0
        assert torch.all(advantages.view(-1, G)[same].abs() < 1e-3)


def test_zero_spread_counts_the_groups_that_teach_nothing() -> None:
    same, differing, close = [0.5] * G, [0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0 - 1e-7]
    assert zero_spread(torch.tensor(same + differing), G).item() == 0.5
    assert zero_spread(torch.tensor(same + close), G).item() == 1
    # A response without a reward (NaN) makes its group count as one that differs.
    assert zero_spread(torch.tensor([torch.nan, *same[1:]]), G).item() == 0
