r"""A reward of your own in one file.

lad-reasoner train grpo configs/micro/grpo.yaml --rewards "[structure, accuracy, mine:short]" \
    --reward_weights "[0.5, 0.5, 0.1]"
"""


def short(completions, **columns):
    """1 for responses of at most 400 characters, falling to 0 at 800."""
    texts = [completion if isinstance(completion, str) else completion[-1]["content"] for completion in completions]
    return [min(1.0, max(0.0, 2 - len(text) / 400)) for text in texts]
