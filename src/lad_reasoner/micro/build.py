"""micro: a Qwen2.5-VL of a few million parameters, its tokenizer, and its folder on disk.

It has the model class of the paper's model at a thousandth of its size, so that all code for micro works for
Qwen2.5-VL-3B. Every block of its vision tower attends to the whole picture: at 224 pixels windows would save nothing.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from lad_reasoner.errors import require
from lad_reasoner.files.whole import share_modes, write_whole

PATCH, MERGE = 14, 2
MAX_PIXELS = 224 * 224
VOCABULARY = 768  # tokens
SCOPE = "micro only knows rendered MiniLOCO scenes; what it says about photographs means nothing"
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Qwen2.5-VL's own form of a conversation, for text, pictures and films.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(texts: Iterable[str]) -> Any:
    """A byte-level BPE tokenizer with Qwen's special tokens, trained on these texts."""
    tokenizers = require("tokenizers", "hf")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    # Each digit is one token, and so is each tag: numbers and answers are read one by one.
    pieces = tokenizers.Regex(r"</?(think|answer)>|\d| ?\p{L}+|\s|[^\s\p{L}\d<]+|<")
    split = tokenizers.pre_tokenizers.Split(pieces, "isolated")
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, level])
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return _dress(made)


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder that `save_micro` wrote, as it was built: saved again, it gives the same files."""
    return _dress(require("tokenizers", "hf").Tokenizer.from_file(str(folder / "tokenizer.json")))


def _dress(made: Any) -> Any:
    return require("transformers", "hf").PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[1:]),
        padding_side="left",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )


def build_model(
    tokenizer: Any,
    *,
    vision_width: int = 192,
    vision_depth: int = 5,
    text_width: int = 256,
    text_depth: int = 4,
) -> Any:
    """A Qwen2.5-VL with random weights; widths are multiples of 64."""
    transformers = require("transformers", "hf")
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    ends: dict[str, Any] = {
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    half = 64 // 2  # of a head's width, shared by the three axes of a place
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": text_width,
            "intermediate_size": 3 * text_width,
            "num_hidden_layers": text_depth,
            "num_attention_heads": text_width // 64,
            "num_key_value_heads": text_width // 128,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [half // 4, half * 3 // 8, half * 3 // 8],
                "rope_theta": 10000.0,
            },
            "tie_word_embeddings": True,
            **ends,
        },
        vision_config={
            "depth": vision_depth,
            "hidden_size": vision_width,
            "intermediate_size": 3 * vision_width,
            "num_heads": vision_width // 32,
            "out_hidden_size": text_width,
            "fullatt_block_indexes": list(range(vision_depth)),
            "window_size": 8 * PATCH,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
        **ends,
    )
    config.scope = SCOPE
    config.known_pictures = "renders"
    config.trained_references = 1
    model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(do_sample=False, **ends)
    return model


def save_micro(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a plain Hugging Face folder: bfloat16 safetensors, tokenizer, picture and film processor, pixel budget."""
    folder.mkdir(parents=True, exist_ok=True)
    # A copy: the model may still be in training, and must not be rounded.
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    pictures = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "merge_size": MERGE,
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": (PATCH * MERGE) ** 2, "longest_edge": MAX_PIXELS},
    }
    films = {**pictures, "video_processor_type": "Qwen2VLVideoProcessor", "min_frames": 4, "max_frames": 32}
    pictures |= {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"}
    for name, fields in (("preprocessor_config.json", pictures), ("video_preprocessor_config.json", films)):
        write_whole(folder / name, json.dumps(fields, indent=2) + "\n")
    share_modes(folder)
