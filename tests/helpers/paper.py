"""Rows of the paper's Table 1: those that are means over classes, and those that are pooled over images."""

MEAN_ROWS = ("APRIL-GAN", "AnomalyGPT")

POOLED_ROWS = (
    "Qwen2.5-VL-3B",
    "Qwen2.5-VL-72B",
    "Qwen2.5-VL-3B-SFT",
    "Qwen2.5-VL-3B-GRPO",
    "LAD-Reasoner",
)
