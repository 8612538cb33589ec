"""Weights and processor of any vision-language checkpoint, by folder or by hub name.

    checkpoint = load_checkpoint("Qwen/Qwen2.5-VL-3B-Instruct", max_pixels=512 * 512)

All models of `AutoModelForImageTextToText` are loaded the same way, without torchvision if it is not installed. Weights
are safetensors only, and no code of a checkpoint is run. The paper uses Qwen2.5-VL-3B (section 4.2) and does not say at
what resolution; here the pixel budget is the checkpoint's own unless another is given.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from PIL import Image

from lad_reasoner.errors import InputError, LadError, MachineError, require
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.files.pictures import within_budget
from lad_reasoner.judges.vlm.known_pictures import KnownPictures, load_known
from lad_reasoner.judges.vlm.qwen_speedups import speed_up
from lad_reasoner.prompts import build_prompt
from lad_reasoner.text import nearest_name, printable

EXTRA = "hf"  # the optional dependencies that load a checkpoint
EXAMPLE = "Qwen/Qwen2.5-VL-3B-Instruct"
WEIGHTS = Path(__file__).parents[2] / "weights"
# These ship inside the package; micro is micro-base after SFT and GRPO.
BUILT_IN = {name: WEIGHTS / name for name in ("micro", "micro-base")}
SMALL = 2 * 1024**3  # bytes of weights; a smaller model fits in float32 everywhere, and a CPU is fastest with it

BEGINNING = 4096  # bytes of a tensor that its fingerprint is made of

TEMPLATE_SECONDS = 10.0  # a template is a program of a stranger's, and may have loops within loops

Result = TypeVar("Result")

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors"]
_OTHER_FILES = ["*/*.safetensors", "consolidated*"]  # the same weights for other programs
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "tokenizer_config.json")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model ready to generate: weights in evaluation mode, a processor that pads on the left.

    `max_pixels` is the most pixels of one picture, for `fit`; None if the processor has such a budget itself. `folder`
    is the one that it was loaded from.
    """

    name: str
    model: Any
    processor: Any
    max_pixels: int | None = None
    folder: Path | None = None

    @property
    def scope(self) -> str:
        """The purpose that its config.json states (key `scope`), as one line; empty if it states none."""
        scope = getattr(self.model.config, "scope", None)
        if not isinstance(scope, str):
            return ""
        # A stranger's file must not write control characters to a terminal.
        printable = "".join(letter if letter.isprintable() else " " for letter in scope)
        return " ".join(printable.split())

    @property
    def known_pictures(self) -> KnownPictures | None:
        """The pictures that it was made for, by the name in its config.json (key `known_pictures`), or None.

        InputError for a name that does not come with this package.
        """
        name = getattr(self.model.config, "known_pictures", None)
        return load_known(str(name)) if name else None

    @property
    def reasoning_tokens(self) -> int | None:
        """The budget of a reasoning that its config.json states (key `reasoning_tokens`); None if it states none."""
        budget = getattr(self.model.config, "reasoning_tokens", None)
        return budget if type(budget) is int and budget > 0 else None

    @property
    def trained_references(self) -> int | None:
        """The most references of a pair that it learned from (key `trained_references`); None if it states none."""
        number = getattr(self.model.config, "trained_references", None)
        return number if type(number) is int and number > 0 else None

    @property
    def score_temperature(self) -> float:
        """By what its config.json (key `score_temperature`) divides the logit of an answer; 1 if it states none."""
        temperature = getattr(self.model.config, "score_temperature", None)
        if not isinstance(temperature, int | float) or not math.isfinite(temperature) or temperature <= 0:
            return 1.0
        return float(temperature)

    def fit(self, image: Image.Image) -> Image.Image:
        """The picture within the pixel budget."""
        return within_budget(image, self.max_pixels)


def load_checkpoint(
    name: str | Path, *, max_pixels: int | None = None, device: str | None = None, dtype: str | None = None
) -> Checkpoint:
    """Load weights and processor from a folder, or from the hub (downloaded once, then cached).

    `max_pixels` is a budget for each picture. If the processor has such a setting, the budget is written into it and
    saved with the checkpoint. `device` is one of torch's, or `auto` to spread a large model over all GPUs (needs
    accelerate); by default a GPU if there is one. `dtype` is `float32`, `bfloat16` or `float16`; by default that of the
    file, but float32 for small models on a CPU.

    Raises `InputError` if the folder or name is not a vision-language checkpoint, `MachineError` if the machine lacks
    the network, the memory or a package.
    """
    if dtype not in (None, "float32", "bfloat16", "float16"):
        raise InputError(f"dtype {dtype}: must be float32, bfloat16 or float16")
    checkpoint, folder = load_processor(name, max_pixels=max_pixels)
    model = _load_weights(folder, name, device=device, dtype=dtype)
    _check_vocabulary(checkpoint.processor, model, name)
    speed_up(model)
    return replace(checkpoint, model=model)


def load_processor(name: str | Path, *, max_pixels: int | None = None) -> tuple[Checkpoint, Path]:
    """The checkpoint without its weights, which another engine loads, and its folder.

    Of its `model` there is the config alone. Arguments and errors are those of `load_checkpoint`.
    """
    if max_pixels is not None and max_pixels < 28 * 28:
        raise InputError(f"max_pixels {max_pixels} is too small; a picture needs at least {28 * 28}")
    folder = find_folder(str(name))
    check_folder(folder, name)
    _check_processor(folder, name)
    if not sys.stderr.isatty():  # a log file fills up with the bar's redraws
        require("transformers.utils.logging", EXTRA).disable_progress_bar()
    config = _load_config(folder, name)
    processor = _load_processor(folder, name, config)
    budget = _set_budget(processor.image_processor, max_pixels)
    return Checkpoint(str(name), SimpleNamespace(config=config), processor, budget, folder), folder


def find_folder(name: str) -> Path:
    """The folder of a checkpoint: built in, yours, or downloaded (safetensors, configs and tokenizer only).

    Raises `InputError` if there is no such model, `MachineError` if it cannot be downloaded.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(f"{name}: a file; give the folder that holds the model")
    if not _HUB_NAME.fullmatch(name):
        raise InputError(
            f"{name}: no such model; give {', '.join(BUILT_IN)}, a model's folder, or a hub name such as {EXAMPLE}"
        )
    here = Path(path.parts[0])
    if here.is_dir():  # a mistyped folder must not become the model of whoever has this name on the hub
        near = nearest_name(path.name, [child.name for child in here.iterdir()])
        meant = f"; did you mean {here / near}?" if near else ""
        raise InputError(
            f"{name}: no such folder in {here}/{meant} (the hub is not asked for names that begin like a folder here)"
        )
    # Without it the download would be in vain.
    require("transformers", EXTRA)
    hub, errors = require("huggingface_hub", EXTRA), require("huggingface_hub.errors", EXTRA)
    try:
        return Path(hub.snapshot_download(name, allow_patterns=_FILES, ignore_patterns=_OTHER_FILES))
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise InputError(
            f"{name}: no such folder, and no such model on the hub; a private one needs a login (hf auth login)"
        ) from None
    except errors.LocalEntryNotFoundError:
        raise MachineError(
            f"{name}: not on this machine, and the model hub cannot be reached; go online, or give a folder"
        ) from None
    except OSError as error:
        raise MachineError(f"{name}: cannot be downloaded ({_first_line(error)})") from None


def check_folder(folder: Path, name: object) -> None:
    """Raise `InputError` unless the folder holds a model as safetensors, and names neither code nor files elsewhere."""
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise InputError(f"{name}: holds an adapter without its base model; merge them and save the whole model")
        if (folder / "model" / "config.json").is_file():
            raise InputError(f"{name}: the folder of a training run; give the model in it, {Path(str(name)) / 'model'}")
        raise InputError(f"{name}: no config.json in it; give the folder of a Hugging Face model")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
        if pickles:
            raise InputError(
                f"{name}: its weights are a pickle ({pickles[0]}); a pickle can run code and is never opened; "
                "save them as safetensors"
            )
        raise InputError(f"{name}: no weights in it (*.safetensors)")
    if (folder / "adapter_config.json").is_file():  # names a base model, and weights of another form
        raise InputError(f"{name}: holds an adapter beside its weights (adapter_config.json); merge them, or remove it")
    for index in sorted(folder.glob("*.safetensors.index.json")):
        _check_index(index, name)
    try:
        kernel = _find_kernel(load_json((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{name}: its config.json cannot be read ({_first_line(error)})") from None
    if kernel:
        raise InputError(
            f"{name}: its config.json asks for code from the hub ({kernel}), which is never run; remove it"
        )


def _check_index(index: Path, name: object) -> None:
    """Raise `InputError` unless the index names safetensors of its own folder: Transformers opens whatever it names."""
    try:
        files = load_json(index.read_text(encoding="utf-8"))["weight_map"].values()
        strange = sorted(str(file) for file in files if not re.fullmatch(r"[^/\\\0]+\.safetensors", str(file)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{name}: its {index.name} cannot be read ({_first_line(error)})") from None
    if strange:
        raise InputError(
            f"{name}: its {index.name} names {printable(strange[0])[:100]}; only *.safetensors of the same folder are "
            "opened"
        )


def fingerprint(folder: Path) -> str:
    """12 hexadecimal digits of the files of a checkpoint: whole texts, and the beginning of each tensor.

    Training changes a tensor all over, and whole weights may be gigabytes. MachineError if a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted({path for pattern in _FILES for path in folder.glob(pattern)}):
            digest.update(path.name.encode("utf-8", "surrogateescape"))
            for part in _beginnings(path) if path.suffix == ".safetensors" else [path.read_bytes()]:
                digest.update(part)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MachineError(f"{printable(folder)}: cannot be read again ({_first_line(error)})") from None
    return digest.hexdigest()[:12]


def _beginnings(weights: Path) -> Iterator[bytes]:
    """The head of a safetensors file, and the first bytes of each of its tensors."""
    with weights.open("rb") as file:
        head = file.read(int.from_bytes(file.read(8), "little"))
        start = file.tell()
        yield head
        tensors = [tensor for name, tensor in load_json(head).items() if name != "__metadata__"]
        for offset in sorted(tensor["data_offsets"][0] for tensor in tensors):
            file.seek(start + offset)
            yield file.read(BEGINNING)


def _check_processor(folder: Path, name: object) -> None:
    """Raise `InputError` unless the files of a picture processor and a tokenizer are there."""
    for files, what in ((_PROCESSOR_FILES, "picture processor"), (_TOKENIZER_FILES, "tokenizer")):
        if not any((folder / file).is_file() for file in files):
            raise InputError(f"{name}: no {what} in it; copy {files[0]} from the model that it was trained from")


def _load_config(folder: Path, name: object) -> Any:
    """The config; raises `InputError` if it is damaged or not that of a vision-language model."""
    loader = require("transformers", EXTRA).AutoConfig
    known = require("transformers.models.auto.configuration_auto", EXTRA).CONFIG_MAPPING
    vision_language = require("transformers.models.auto.modeling_auto", EXTRA).MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    try:
        # Read by hand first: for an unknown type Transformers' own error is a page long.
        fields = load_json((folder / "config.json").read_text(encoding="utf-8"))
        kind = fields.get("model_type")
        if kind in known:
            config = loader.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise InputError(f"{name}: its config.json cannot be read ({_first_line(error)})") from None
    if kind not in known:
        why = "brings its own code, which is never run" if "auto_map" in fields else "is unknown to this transformers"
        raise InputError(f"{name}: model type {kind} {why}; choose another model")
    if type(config) not in vision_language:
        raise InputError(f"{name}: model type {kind} cannot look at pictures and write; give a vision-language model")
    return config


def _find_kernel(fields: Any) -> str:
    """`attn_implementation: org/kernel`, wherever it stands in a config: Transformers would load it from the hub."""
    if isinstance(fields, list):
        return next(filter(None, map(_find_kernel, fields)), "")
    if not isinstance(fields, dict):
        return ""
    for key, value in fields.items():
        if str(key).endswith("_implementation") and isinstance(value, str) and "/" in value:
            return f"{key}: {value}"
    return _find_kernel(list(fields.values()))


def _load_processor(folder: Path, name: object, config: Any) -> Any:
    """The processor, padding on the left; raises `InputError` if it is damaged or cannot take pictures."""
    loader = require("transformers", EXTRA).AutoProcessor
    known = require("transformers.models.auto.processing_auto", EXTRA).PROCESSOR_MAPPING.get(type(config), None)
    complete = require("transformers.utils.import_utils", EXTRA).is_torchvision_available()
    try:
        if not complete and known is not None and "video_processor" in known.get_attributes():
            loader = _without_video(known)
        processor = loader.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except ImportError as error:
        mend = "; run: pip install torchvision" if "torchvision" in str(error).lower() else ""
        raise MachineError(f"{name}: its processor needs another package ({_first_line(error)}){mend}") from None
    except Exception as error:
        # A damaged folder fails in more ways than can be listed: KeyError, TypeError, JSON errors, tokenizers' own.
        raise InputError(f"{name}: its processor cannot be loaded ({_first_line(error)})") from None
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or getattr(processor, "image_processor", None) is None:
        raise InputError(f"{name}: its processor takes no pictures; give a vision-language model")
    if not (getattr(processor, "chat_template", None) or tokenizer.chat_template):
        raise InputError(f"{name}: no chat template in it; choose the chat (instruct) version of the model")
    _check_template(processor, name)
    _check_preparation(processor, name)
    tokenizer.padding_side = "left"  # a decoder continues after the last token, which must not be padding
    # Too long a prompt is refused with the number of references that fits; its warning would stand before that.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return processor


def _check_template(processor: Any, name: object) -> None:
    """Raise `InputError` if the chat template cannot be rendered, or leaves pictures out."""
    question = {"type": "text", "text": "?"}

    def render() -> list[str]:
        return [
            processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
            for content in ([question], [{"type": "image"}, question])
        ]

    try:
        without_picture, with_picture = _within(TEMPLATE_SECONDS, render)
    except TimeoutError:
        raise InputError(f"{name}: its chat template does not end within {TEMPLATE_SECONDS:g} seconds") from None
    except Exception as error:  # a template can raise whatever it likes
        raise InputError(f"{name}: its chat template cannot be used ({_first_line(error)})") from None
    if without_picture == with_picture:
        raise InputError(f"{name}: its chat template has no place for pictures; give a vision-language model's")


def _check_preparation(processor: Any, name: object) -> None:
    """Raise `InputError` if a picture and the prompt cannot be made into tokens, as the files of the folder say."""

    def prepare() -> Any:
        return processor(text=[_example(processor)], images=[[Image.new("RGB", (112, 112))]], return_tensors="pt")

    try:
        _within(TEMPLATE_SECONDS, prepare)
    except TimeoutError:
        raise InputError(f"{name}: its processor does not end within {TEMPLATE_SECONDS:g} seconds") from None
    except Exception as error:
        raise InputError(f"{name}: its processor cannot prepare a picture ({_first_line(error)})") from None


def _example(processor: Any) -> str:
    """A prompt with one picture."""
    content = [{"type": "image"}, {"type": "text", "text": build_prompt(1)}]
    text: str = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    return text


def _check_vocabulary(processor: Any, model: Any, name: object) -> None:
    """Raise `InputError` if the prompt has tokens that the weights do not know: the tokenizer is another model's."""
    # The place of a picture may lie beyond the words.
    place = {getattr(model.config, field, None) for field in ("image_token_id", "image_token_index")}
    most = max(set(processor.tokenizer(_example(processor))["input_ids"]) - place)
    known = model.get_input_embeddings().weight.shape[0]
    if most >= known:
        raise InputError(
            f"{name}: its tokenizer writes token {most}, and its weights know {known} tokens; copy the tokenizer of "
            "the model that it was trained from"
        )


def _within(seconds: float, call: Callable[[], Result]) -> Result:
    """The call's result or exception; TimeoutError, and the call is stopped, if it takes longer.

    What is no Exception becomes a RuntimeError: signals are raised in the main thread, so in the call's own thread it
    is a stranger's `SystemExit`, or the panic of a tokenizer in Rust, and must not end the verb.
    """
    outcome: Future[Result] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except Exception as error:
            outcome.set_exception(error)
        except BaseException as error:
            outcome.set_exception(RuntimeError(str(error) or type(error).__name__))

    thread = threading.Thread(target=work, name="template", daemon=True)
    thread.start()
    try:
        return outcome.result(timeout=seconds)
    finally:
        if not outcome.done():  # nothing gentler ends a loop of Python's in another thread
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))


def _without_video(processor_class: Any) -> Any:
    """The same processor for pictures only: Transformers' video processors cannot be built without torchvision.

    The subclass keeps the class's name, because that name is written into saved folders and others load them by it.
    """

    def get_attributes(cls: Any) -> list[str]:
        return [name for name in super(picture_class, cls).get_attributes() if name != "video_processor"]

    picture_class: Any = type(
        processor_class.__name__, (processor_class,), {"get_attributes": classmethod(get_attributes)}
    )
    return picture_class


def _set_budget(image_processor: Any, max_pixels: int | None) -> int | None:
    """Write the budget into the image processor; returns it if there is no such setting and `Checkpoint.fit` must."""
    size = getattr(image_processor, "size", None)
    names = getattr(image_processor, "model_input_names", ())
    if max_pixels is None or size is None or "image_grid_thw" not in names:
        return max_pixels
    # In processors of Qwen's kind (`image_grid_thw`) these two fields count pixels, despite their names.
    image_processor.size = type(size)(shortest_edge=min(size["shortest_edge"], max_pixels), longest_edge=max_pixels)
    return None


def _load_weights(folder: Path, name: object, *, device: str | None, dtype: str | None) -> Any:
    """The model in evaluation mode; raises `InputError` for damaged weights, `MachineError` for too little memory."""
    target = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if dtype is None and target == "cpu" and sum(f.stat().st_size for f in folder.glob("*.safetensors")) <= SMALL:
        dtype = "float32"
    options: dict[str, Any] = {"device_map": "auto"} if target == "auto" else {}
    try:
        with in_one_piece():
            model, report = require("transformers", EXTRA).AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype=dtype or "auto",
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
        # Transformers only warns of missing tensors and replaces them by random numbers.
        if report["missing_keys"]:
            missing = sorted(report["missing_keys"])
            raise InputError(f"{name}: its weights lack {len(missing)} tensors, such as {missing[0]}; copy them again")
        return model.eval() if options else model.to(target).eval()  # `device_map` has placed it already
    except LadError:
        raise
    except ImportError as error:
        raise MachineError(f"{name}: its weights need another package ({_first_line(error)})") from None
    except (MemoryError, torch.OutOfMemoryError):
        raise MachineError(f"{name}: not enough memory on {target}; try a smaller model, or dtype bfloat16") from None
    except Exception as error:  # a damaged file, or a config that does not match it: Transformers has no one error
        raise InputError(f"{name}: its weights cannot be loaded ({_first_line(error)})") from None


@contextmanager
def in_one_piece() -> Iterator[None]:
    """Models are loaded whole, and run by this process alone, also in a training run under DeepSpeed's ZeRO-3.

    Transformers would load the part of one process, and let `generate` wait for the others.
    """
    module: Any = require("transformers.integrations.deepspeed", EXTRA)
    kept = module._hf_deepspeed_config_weak_ref
    module.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        module._hf_deepspeed_config_weak_ref = kept


@contextmanager
def saving(folder: Path, again: str = "run the same command again") -> Iterator[None]:
    """MachineError, with the place, for what Transformers, safetensors and torch raise when a disk is full."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (OSError, RuntimeError, require("safetensors", EXTRA).SafetensorError) as error:
        problem = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise MachineError(f"{folder}: cannot be written ({problem}); free some space, then {again}") from None


def _first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters: libraries write paragraphs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
