"""The rewards, under the name that reward functions in settings and other frameworks call them by."""

from lad_reasoner.train.rewards import (
    accuracy_reward,
    consistent_reward,
    faithful_reward,
    load_reward,
    places_reward,
    response_text,
    structure_reward,
)

__all__ = [
    "accuracy_reward",
    "consistent_reward",
    "faithful_reward",
    "load_reward",
    "places_reward",
    "response_text",
    "structure_reward",
]
