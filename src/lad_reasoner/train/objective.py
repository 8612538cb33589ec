"""The formulas of GRPO that TRL lacks: the KL penalty in the reward, and the advantage of rewards that hold it.

The paper's section 4.2, equations 4 to 8; docs/training.md has all of them. B responses in groups of G that answer the
same prompt, T tokens at most. TRL computes the clipped loss, token- and sequence-level importance, and the KL term of
the loss (`beta`); tests compare it with NumPy, too.

**Forced tokens.** At some places structured decoding leaves the policy no choice. A forced token has log-probability
zero under the masked policy, whatever the weights are: it counts in no sum below, in no importance weight and in no
loss, and carries no gradient. At chosen tokens the probabilities are those before masking, at the sampling temperature:
renormalising over what the grammar allows would only take away the push towards the grammar itself.

**Deviations.** Equation 8 is not legible in the text at hand; as in equation 1 the advantage is the reward less its
group's mean, divided by a standard deviation (TRL's `scale_rewards`).
"""

from __future__ import annotations

from typing import Literal

import torch

TINY = 1e-4  # added to the standard deviation, as TRL does


def sequence_kl(policy: torch.Tensor, reference: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """log π(o|q) - log π_ref(o|q) of each response (B,), from log-probabilities of its tokens (equations 4 to 6).

    All three are (B, T); `chosen` is 1 where the policy had a choice, 0 at forced tokens and padding.
    """
    # One sample's estimate of the KL: unbiased, but it can be below zero. (B, T) -> (B,)
    return ((policy - reference) * chosen).sum(-1)


def penalised_rewards(parts: torch.Tensor, weights: torch.Tensor, kl: torch.Tensor, coefficient: float) -> torch.Tensor:
    """R = Σ weight · part - coefficient · KL of each response (B,), equation 7; `parts` is (B, rewards).

    `weights` is (rewards,), `kl` (B,). A reward that does not apply to a response is NaN and left out; where none
    applies, the response's reward is NaN, too.
    """
    rewards = (parts * weights).nansum(1) - coefficient * kl
    # `nansum` gives 0 where no reward applies, which would look like the reward of a wrong response.
    return torch.where(parts.isnan().all(1), torch.nan, rewards)


def group_advantages(rewards: torch.Tensor, group: int, scale: Literal["group", "batch", "none"] | str) -> torch.Tensor:
    """The advantage of each response (B,), the same for all of its tokens (equation 8), as TRL scales it.

    `rewards` (B,) holds whole groups of `group` neighbours. A response without a reward (NaN) has advantage 0.
    """
    grouped = rewards.view(-1, group)  # (B / G, G)
    centred = grouped - grouped.nanmean(1, keepdim=True)
    if scale == "group":
        centred = centred / (_deviation(grouped) + TINY)
    elif scale == "batch":
        # All responses as one row: a group whose rewards hardly differ is not blown up.
        centred = centred / (_deviation(rewards.view(1, -1)) + TINY)
    return centred.nan_to_num(0.0).flatten()


def zero_spread(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """Share () of groups whose rewards are all the same: no advantage, so nothing is learned from them.

    `rewards` (B,) holds whole groups of `group` neighbours.
    """
    grouped = rewards.view(-1, group)  # (B / G, G)
    return (grouped.amax(1) - grouped.amin(1) < 1e-6).float().mean()


def _deviation(rows: torch.Tensor) -> torch.Tensor:
    """Standard deviation of each row's sample (rows, 1), NaN left out."""
    count = (~rows.isnan()).sum(1, keepdim=True)
    squares = (rows - rows.nanmean(1, keepdim=True)).square().nansum(1, keepdim=True)
    # Bessel's correction; a single reward deviates by 0, not by 0 / 0.
    return (squares / (count - 1).clamp(min=1)).sqrt()
