"""Loading checkpoints, and one clear line for every folder or name that is none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from helpers import tiny
from lad_reasoner.errors import InputError, LadError, MachineError, MissingExtraError
from lad_reasoner.judges import load_judge
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, find_folder, fingerprint, load_checkpoint
from lad_reasoner.prompts import PROMPT_VERSION


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture
def folder(qwen: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(qwen, tmp_path / "model")


def test_qwen_loads_without_torchvision(qwen: Path) -> None:
    checkpoint = load_checkpoint(qwen)
    assert type(checkpoint.model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert not checkpoint.model.training
    assert checkpoint.processor.tokenizer.padding_side == "left"
    assert next(checkpoint.model.parameters()).dtype == torch.float32


def test_dtype_is_what_was_asked_for(qwen: Path) -> None:
    assert load_checkpoint(qwen, dtype="bfloat16").model.dtype == torch.bfloat16


def test_under_zero_3_a_model_is_loaded_in_one_piece(qwen: Path) -> None:
    from transformers.integrations import deepspeed

    class Config:
        def is_zero3(self) -> bool:
            return True

    config = Config()  # Transformers keeps a weak reference
    deepspeed.set_hf_deepspeed_config(config)
    try:
        weights = load_checkpoint(qwen, device="cpu").model.state_dict()
        assert deepspeed.is_deepspeed_zero3_enabled()  # the run goes on with it
    finally:
        deepspeed.unset_hf_deepspeed_config()
    assert all(weight.numel() for weight in weights.values())


def test_missing_padding_token_is_the_end_of_text(llava: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llava, tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["pad_token"] = None
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load_checkpoint(folder).processor.tokenizer
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("it knows rendered scenes only", "it knows rendered scenes only"),
        ("two\nlines \x1b[31m\ud800 ", "two lines [31m"),
        (7, ""),
        (None, ""),
    ],
)
def test_scope_is_read_as_one_plain_line(written: object, read: str, folder: Path) -> None:
    assert load_checkpoint(tiny.set_scope(folder, written)).scope == read


def test_scope_is_saved_with_the_checkpoint(folder: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(tiny.set_scope(folder, "it knows discs only"))
    checkpoint.model.save_pretrained(tmp_path / "saved")
    checkpoint.processor.save_pretrained(tmp_path / "saved")
    assert load_checkpoint(tmp_path / "saved").scope == "it knows discs only"


def show(checkpoint: Checkpoint, image: Image.Image) -> Any:
    processor = checkpoint.processor
    return processor(text=[processor.image_token], images=[[checkpoint.fit(image)]], return_tensors="pt")


def picture_tokens(checkpoint: Checkpoint, image: Image.Image) -> int:
    return int((show(checkpoint, image)["input_ids"] == checkpoint.processor.image_token_id).sum())


def test_pixel_budget_is_kept_and_saved_with_the_checkpoint(qwen: Path, tmp_path: Path) -> None:
    image = tiny.picture(0, 280, 280)
    assert picture_tokens(load_checkpoint(qwen), image) == 16  # 112 x 112 pixels, as the folder says
    small = load_checkpoint(qwen, max_pixels=56 * 56)
    assert picture_tokens(small, image) == 4
    large = load_checkpoint(qwen, max_pixels=224 * 224)
    assert picture_tokens(large, image) == 64

    small.model.save_pretrained(tmp_path)
    small.processor.save_pretrained(tmp_path)
    assert torch.equal(show(load_checkpoint(tmp_path), image)["pixel_values"], show(small, image)["pixel_values"])
    # Others must find the processor under the name that they know.
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["processor_class"] == "Qwen2_5_VLProcessor"


def test_pixel_budget_of_a_processor_that_knows_none(llava: Path) -> None:
    image = tiny.picture(0, 300, 200)
    fitted = load_checkpoint(llava, max_pixels=6000).fit(image)
    assert fitted.width * fitted.height <= 6000
    assert fitted.width / fitted.height == pytest.approx(1.5, rel=0.03)
    assert load_checkpoint(llava).fit(image) is image


def test_with_torchvision_the_library_chooses_the_processor(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    processor, asked = load_checkpoint(qwen).processor, []
    monkeypatch.setattr("transformers.utils.import_utils.is_torchvision_available", lambda: True)

    def from_pretrained(folder: Path, **options: Any) -> Any:
        asked.append((folder, options))
        return processor

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", from_pretrained)
    assert load_checkpoint(qwen).processor is processor
    assert asked == [(qwen, {"trust_remote_code": False, "local_files_only": True})]


def check_refused(name: str | Path, *words: str, error: type[LadError] = InputError, **options: Any) -> str:
    with pytest.raises(error) as caught:
        load_checkpoint(name, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    return message


def test_names_that_are_no_model(tmp_path: Path) -> None:
    check_refused("evidense", "evidense: no such model", "Qwen/")
    check_refused(tmp_path / "missing", "no such model")
    file = tmp_path / "weights.safetensors"
    file.touch()
    check_refused(file, "a file; give the folder")
    check_refused(tmp_path, "no config.json")


def test_a_training_run_is_not_its_model(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    folder.rename(run / "model")
    check_refused(run, "the folder of a training run; give the model in it", str(run / "model"))


def test_missing_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    check_refused(folder, "no picture processor", "copy preprocessor_config.json")


def test_missing_tokenizer(folder: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    check_refused(folder, "no tokenizer")


def test_damaged_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("{")
    check_refused(folder, "its processor cannot be loaded")


def test_missing_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    check_refused(folder, "no chat template")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% if %}", "its chat template cannot be used"),
        ("{{ nothing.at.all }}", "its chat template cannot be used ('nothing' is undefined)"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "its chat template has no place for pictures"),
    ],
)
def test_a_chat_template_that_cannot_be_used(folder: Path, template: str, words: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    check_refused(folder, words)


def test_text_only_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    check_refused(folder, "llama", "cannot look at pictures")


def test_adapter_without_its_base(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")
    check_refused(folder, "an adapter", "merge")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickles_are_never_opened(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"\x80\x04cos\nsystem\n")
    check_refused(folder, "pickle", name, "safetensors")


@pytest.mark.parametrize("code", [b"\x80\x04cos\nsystem\n", b"cposix\nsystem\n(S'touch ran'\ntR."])
def test_a_pickle_that_is_called_safetensors_is_not_opened_as_one(
    folder: Path, code: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "model.safetensors").write_bytes(code)
    check_refused(folder, "its weights cannot be loaded")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    "where", ["../victim/model.safetensors", "/{victim}/model.safetensors", "weights.bin", "..", ""]
)
def test_an_index_opens_only_safetensors_beside_it(folder: Path, tmp_path: Path, where: str) -> None:
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    (tmp_path / "victim").mkdir()
    (folder / "model.safetensors").rename(tmp_path / "victim/model.safetensors")
    torch.save(tensors, folder / "weights.bin")
    (folder / "other.safetensors").write_bytes(b"")
    where = where.format(victim=tmp_path / "victim")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, where)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    check_refused(folder, f"model.safetensors.index.json names {where}; only *.safetensors of the same folder")


def test_an_index_of_files_in_its_folder_is_read(folder: Path) -> None:
    from safetensors.torch import load_file

    names = list(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / "model-1-of-1.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, "model-1-of-1.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load_checkpoint(folder).name == str(folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 7}', '{"weight_map": {}, ', "{}", "[" * 90_000])
def test_an_index_that_is_damaged(folder: Path, content: str) -> None:
    (folder / "model.safetensors.index.json").write_text(content)
    check_refused(folder, "its model.safetensors.index.json cannot be read")


def test_an_adapter_beside_the_weights_is_not_put_on(folder: Path, qwen: Path) -> None:
    adapter = {"peft_type": "LORA", "base_model_name_or_path": str(qwen), "r": 1, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    check_refused(folder, "an adapter beside its weights (adapter_config.json); merge them")


def test_files_that_a_config_names_elsewhere_are_not_opened(folder: Path, tmp_path: Path) -> None:
    """Weights and tokenizer lie where the folder points to, whole: opened, they would make a model."""
    (tmp_path / "victim").mkdir()
    for file, config, key in (
        ("model.safetensors", "config.json", "transformers_weights"),
        ("tokenizer.json", "tokenizer_config.json", "tokenizer_file"),
    ):
        copy = shutil.copytree(folder, tmp_path / key)
        (copy / file).rename(tmp_path / "victim" / file)
        (copy / "other.safetensors").write_bytes(b"")
        fields = json.loads((copy / config).read_text())
        (copy / config).write_text(json.dumps(fields | {key: f"../victim/{file}"}))
        check_refused(copy, "cannot be loaded")


def test_code_that_a_known_model_brings_along_is_not_run(folder: Path) -> None:
    """The classes that the config names exist in Transformers, too: those are taken."""
    own = {"AutoConfig": "own.C", "AutoModelForImageTextToText": "own.M", "AutoProcessor": "own.P"}
    for file in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        fields = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(fields | {"auto_map": {**own, "AutoTokenizer": ["own.T", "own.T"]}}))
    (folder / "own.py").write_text("raise SystemExit('run')")
    assert type(load_checkpoint(folder).model).__module__.startswith("transformers.")


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    check_refused(folder, "no weights")


@pytest.mark.parametrize("tensor", ["first", "last"])
def test_a_folder_that_is_trained_into_again_is_another_model(folder: Path, tensor: str) -> None:
    from safetensors.torch import load_file, save_file

    before, (weights,) = fingerprint(folder), folder.glob("*.safetensors")
    assert fingerprint(folder) == before
    tensors = load_file(weights)
    changed = (sorted if tensor == "first" else lambda names: sorted(names, reverse=True))(tensors)[0]
    tensors[changed] = tensors[changed] * 1.001
    save_file(tensors, weights, metadata={"format": "pt"})
    assert fingerprint(folder) != before


def test_the_version_of_a_judge_names_weights_and_options(folder: Path) -> None:
    plain = load_judge(str(folder))
    assert plain.prompt_version == f"{PROMPT_VERSION}, weights {fingerprint(folder)}"
    options = {"max_pixels": 10_000, "reasoning_tokens": 7, "batch_size": 2}
    assert load_judge(str(folder), **options).prompt_version == (
        f"{plain.prompt_version}, max_pixels 10000, reasoning_tokens 7"
    )
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**fields, "score_temperature": 2.0}), encoding="utf-8")
    assert load_judge(str(folder)).prompt_version != plain.prompt_version


def test_a_tokenizer_of_another_model(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([*(f"word{number}" for number in range(9)), "Respond"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(InputError, match=r"its tokenizer writes token \d+, and its weights know \d+ tokens"):
        load_checkpoint(folder)


def test_truncated_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    check_refused(folder, "its weights cannot be loaded")


def test_weights_that_lack_a_tensor(folder: Path) -> None:
    """Transformers would only warn, and go on with random numbers in its place."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    lost = next(name for name in tensors if "q_proj.weight" in name)
    del tensors[lost]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    check_refused(folder, "lack 1 tensors", "q_proj.weight")


def test_code_of_a_checkpoint_is_never_run(folder: Path) -> None:
    config = {"model_type": "own_kind", "auto_map": {"AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('run')")
    check_refused(folder, "own_kind", "its own code, which is never run")
    (folder / "config.json").write_text(json.dumps({"model_type": "own_kind"}))
    check_refused(folder, "own_kind", "unknown")


def test_damaged_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    check_refused(folder, "its config.json cannot be read")


def test_unusable_options(qwen: Path) -> None:
    check_refused(qwen, "dtype int8", dtype="int8")
    check_refused(qwen, "max_pixels 100", max_pixels=100)


def test_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    check_refused("someone/some-model", "model hub cannot be reached", error=MachineError)


def test_hub_errors_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    def fail(error: Exception) -> None:
        def snapshot_download(*_: Any, **__: Any) -> str:
            raise error

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)

    fail(HFValidationError("bad name"))
    check_refused("someone/no--model", "no such model on the hub")
    fail(OSError("No space left on device"))
    check_refused("someone/some-model", "cannot be downloaded (No space left on device)", error=MachineError)


def test_only_safetensors_and_text_files_are_downloaded(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    names = ["config.json", "model-1.safetensors", "pytorch_model.bin", "run.py", "fp16/model.safetensors"]
    wanted: list[str] = []

    def snapshot_download(name: str, *, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        assert name == "someone/some-model"
        wanted.extend(filter_repo_objects(names, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns))
        return str(qwen)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert find_folder("someone/some-model") == qwen
    assert wanted == ["config.json", "model-1.safetensors"]
    assert load_checkpoint("someone/some-model").name == "someone/some-model"


def test_transformers_is_optional(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # which is how Python marks a module that is not there
    check_refused(qwen, "[hf]", error=MissingExtraError)
    check_refused("someone/some-model", "transformers is not installed", error=MissingExtraError)


def test_a_mistyped_folder_is_not_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/micro-sft").mkdir(parents=True)

    def ask(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", ask)
    with pytest.raises(InputError, match=r"runs/micro-stf: no such folder in runs/; did you mean runs/micro-sft\?"):
        find_folder("runs/micro-stf")
    with pytest.raises(AssertionError, match="the hub was asked"):
        find_folder("someone/micro-stf")


@pytest.mark.parametrize("place", ["", "text_config", "list"])
def test_a_kernel_of_the_hub_is_never_loaded(tmp_path: Path, place: str) -> None:
    folder = tiny.save_qwen(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    kernel = {"attn_implementation": "someone/kernel:layer"}
    if place == "list":
        config["parts"] = [kernel]
    else:
        (config[place] if place else config).update(kernel)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"asks for code from the hub \(attn_implementation: someone/kernel:layer\)"):
        load_checkpoint(folder)


def test_a_processor_that_cannot_prepare_a_picture(folder: Path, tmp_path: Path) -> None:
    """Loaded, it would fail at the first query; a tokenizer's panic is not even an Exception."""
    copy = shutil.copytree(folder, tmp_path / "zero")
    fields = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(fields | {"patch_size": 0}))
    check_refused(copy, "its processor cannot prepare a picture (division by zero)")
    state = json.loads((folder / "tokenizer.json").read_text())
    slow = {"type": "Split", "pattern": {"Regex": "(([a-zA-Z ]+)+)+$"}, "behavior": "Isolated", "invert": False}
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [slow, state["pre_tokenizer"]]}
    (folder / "tokenizer.json").write_text(json.dumps(state))
    check_refused(folder, "its processor cannot prepare a picture (", "retry-limit")


@pytest.mark.parametrize("raised", [SystemExit(), KeyboardInterrupt(), SystemExit("leave")])
def test_a_stranger_s_processor_does_not_end_the_verb(
    folder: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    def leave(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("transformers.Qwen2_5_VLProcessor.__call__", leave)
    check_refused(folder, f"its processor cannot prepare a picture ({str(raised) or type(raised).__name__})")


@pytest.mark.posix
@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt])
def test_a_signal_while_a_processor_is_tried_ends_the_verb(
    folder: Path, monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]
) -> None:
    def interrupt(*_: object) -> None:
        raise raised

    def wait(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(5)

    monkeypatch.setattr("transformers.Qwen2_5_VLProcessor.__call__", wait)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(raised):
            load_checkpoint(folder)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_chat_template_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lad_reasoner.judges.vlm.checkpoint.TEMPLATE_SECONDS", 0.5)
    folder = tiny.save_qwen(tmp_path / "model")
    endless = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
    (folder / "chat_template.jinja").write_text(endless)
    with pytest.raises(InputError, match=r"its chat template does not end within 0\.5 seconds"):
        load_checkpoint(folder)
    deadline = time.monotonic() + 20
    while any(thread.name.startswith("template") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the loop goes on"
        time.sleep(0.05)
