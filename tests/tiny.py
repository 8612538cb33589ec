"""Tiny random checkpoints and tokenizers for tests: built in memory, nothing is downloaded."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

CORPUS = [
    "The reference shows two red screws and one nut. The query shows one red screw. One screw is missing.",
    "Nothing is missing, yes or no? Yes. No. All items match the reference; every colour is the same.",
    "The user asks whether the query image shows an anomaly. <b>user</b> assistant system picture 0123456789",
    'Can you find any anomaly in the query image compared to the reference? x < y > z / w = "quoted" (text) [1, 2].',
]
RESPONSES = [
    f"<think>{text}</think><answer>{word}</answer>" for text in CORPUS for word in ("yes", "no")
] * 4  # often enough that neighbours of the tags merge with them
QWEN_SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'].upper() }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)


def byte_level_tokenizer(size: int = 420, *, split: str | None = None) -> Any:
    """GPT-2's kind. With `split` (a regular expression) words are cut there; `[\\s\\S]+` lets everything merge."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    tokenizer.pre_tokenizer = (
        level if split is None else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), level])
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=QWEN_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(RESPONSES + CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=QWEN_SPECIAL[1:],
        clean_up_tokenization_spaces=False,
    )


def glued_tokenizer() -> Any:
    """Byte-level, with one token more: the last byte of the Kelvin sign together with `>`."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = byte_level_tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["vocab"]["ª>"] = len(tokenizer)
    state["model"]["merges"].append(["ª", ">"])
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        eos_token="<|im_end|>",
        clean_up_tokenization_spaces=False,
    )


def tag_token_tokenizer() -> Any:
    """Byte-level, with each tag one added token, as reasoning models have them."""
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(
        [AddedToken(tag, normalized=False) for tag in ("<think>", "</think>", "<answer>", "</answer>")]
    )
    return tokenizer


def sentencepiece_tokenizer(kind: str = "bpe", size: int = 420, *, bytes_for_tags: bool = False) -> Any:
    """SentencePiece's kind: `▁` for spaces, bytes for what is unknown. `bytes_for_tags` leaves `<`, `>` and `/` out."""
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>", "<image>", "<pad>"]
    pieces = [f"<0x{number:02X}>" for number in range(256)]
    corpus = RESPONSES + CORPUS
    if bytes_for_tags:
        corpus = [text.translate({ord(letter): " " for letter in "<>/"}) for text in corpus]
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        trainer: Any = trainers.BpeTrainer(vocab_size=size + 256, special_tokens=special + pieces, show_progress=False)
    else:
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(
            vocab_size=size,
            special_tokens=special,
            unk_token="<unk>",
            show_progress=False,
            initial_alphabet=list("<>/"),
        )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    tokenizer.train_from_iterator(corpus, trainer)
    if kind == "bpe":
        # The trainer makes the byte pieces special tokens; in a real vocabulary they are ordinary ones.
        state = json.loads(tokenizer.to_str())
        state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in special]
        tokenizer = Tokenizer.from_str(json.dumps(state))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<image>"],
        clean_up_tokenization_spaces=False,
    )
