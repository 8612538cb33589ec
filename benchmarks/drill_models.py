"""The drills `models` and `resume`: model folders of a stranger, and checkpoints that were damaged or poisoned.

Each is loaded by the verb that a user would start, with at most `MEMORY` of memory. Lost is code that ran, a file
outside the folder that was taken for the model's, a traceback, several lines or one that names nothing, another result,
or no end within `SECONDS` of the processor.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drill_common import Tally
from drill_verbs import files_of, start_verb

SECONDS = 60.0  # of the processor
MEMORY = 8 * 2**30  # bytes of addresses: a bomb ends with MemoryError instead of taking the machine down
RAN = "ran"  # a file that appears in the current folder if code of the stranger runs

Change = Callable[[Path, Path], None]  # (folder, folder beside it with a whole copy) -> the folder is changed


class Payload:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {RAN}",)


def _fields(file: str, **fields: Any) -> Change:
    def change(folder: Path, whole: Path) -> None:
        values = json.loads((folder / file).read_text(encoding="utf-8"))
        (folder / file).write_text(json.dumps({**values, **fields}), encoding="utf-8")

    return change


def _text(file: str, content: str | bytes) -> Change:
    def change(folder: Path, whole: Path) -> None:
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def _named_elsewhere(file: str, config: str, field: str) -> Change:
    """The file is not in the folder; a field of the config names that of the whole copy."""

    def change(folder: Path, whole: Path) -> None:
        (folder / file).unlink()
        (folder / "other.safetensors").write_bytes(b"")
        _fields(config, **{field: str(whole / file)})(folder, whole)

    return change


def _index(target: str) -> Change:
    def change(folder: Path, whole: Path) -> None:
        from safetensors.torch import load_file

        names = list(load_file(folder / "model.safetensors"))
        (folder / "model.safetensors").rename(folder / "other.safetensors")
        index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, target.format(whole=whole))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")

    return change


def _pickle(file: str, *, instead: str = "") -> Change:
    def change(folder: Path, whole: Path) -> None:
        (folder / file).write_bytes(pickle.dumps(Payload()))
        if instead:
            (folder / instead).unlink()

    return change


def _own_code(file: str) -> Change:
    own = {"AutoConfig": "own.C", "AutoModelForImageTextToText": "own.M", "AutoProcessor": "own.P"}
    own |= {"AutoImageProcessor": "own.I", "AutoTokenizer": ["own.T", "own.T"]}  # type: ignore[dict-item]

    def change(folder: Path, whole: Path) -> None:
        (folder / "own.py").write_text(f"open({RAN!r}, 'w')")
        _fields(file, auto_map=own)(folder, whole)

    return change


def _adapter(folder: Path, whole: Path) -> None:
    adapter = {"peft_type": "LORA", "base_model_name_or_path": str(whole), "r": 1, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Payload()))


def _slow_tokenizer(folder: Path, whole: Path) -> None:
    """A regular expression that tries every way to cut a word."""
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    slow = {"type": "Split", "pattern": {"Regex": "(([a-zA-Z ]+)+)+$"}, "behavior": "Isolated", "invert": False}
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [slow, state["pre_tokenizer"]]}
    (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")


FOR = "{% for a in range(99999) %}"
HOSTILE_MODELS: dict[str, Change] = {
    "pickle called safetensors": _pickle("model.safetensors"),
    "pickle beside no safetensors": _pickle("pytorch_model.bin", instead="model.safetensors"),
    "pickle beside safetensors": _pickle("pytorch_model.bin"),
    "index to a file beside the folder": _index("../whole/model.safetensors"),
    "index to an absolute path": _index("{whole}/model.safetensors"),
    "index to a pickle": _index("weights.bin"),
    "index to nothing": _index("gone.safetensors"),
    "weights elsewhere": _named_elsewhere("model.safetensors", "config.json", "transformers_weights"),
    "tokenizer elsewhere": _named_elsewhere("tokenizer.json", "tokenizer_config.json", "tokenizer_file"),
    "adapter of another base": _adapter,
    "header of 2^60 bytes": _text("model.safetensors", struct.pack("<Q", 2**60) + b"{}"),
    "header of brackets": _text("model.safetensors", struct.pack("<Q", 10**6) + b"[" * 10**6),
    "weights of nothing": _text("model.safetensors", b""),
    "own code in config.json": _own_code("config.json"),
    "own code in preprocessor_config.json": _own_code("preprocessor_config.json"),
    "own code in tokenizer_config.json": _own_code("tokenizer_config.json"),
    "own kind of model": _fields("config.json", model_type="own", auto_map={"AutoConfig": "own.C"}),
    "kernel of the hub": _fields("config.json", attn_implementation="someone/kernel"),
    "generation by own code": _text("generation_config.json", '{"custom_generate": "someone/code"}'),
    "quantised by another package": _fields("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
    "config.json cut off": _text("config.json", '{"model_type": '),
    "config.json of brackets": _text("config.json", "[" * 100_000),
    "config.json a list": _text("config.json", "[]"),
    "dtype os.system": _fields("config.json", dtype="os.system"),
    "another size": _fields("config.json", hidden_size=10**9),
    "heads of zero": _fields("config.json", num_attention_heads=0),
    "a thousand million layers": _fields("config.json", num_hidden_layers=10**9),
    "a thousand million labels": _fields("config.json", num_labels=10**9),
    "processor of another class": _fields("preprocessor_config.json", image_processor_type="subprocess.Popen"),
    "patches of zero pixels": _fields("preprocessor_config.json", patch_size=0),
    "pictures of 10^18 pixels": _fields(
        "preprocessor_config.json", size={"shortest_edge": 10**18, "longest_edge": 10**18}
    ),
    "tokenizer.json of brackets": _text("tokenizer.json", "[" * 100_000),
    "tokenizer that tries for ever": _slow_tokenizer,
    "template of loops": _text("chat_template.jinja", FOR * 3 + "{% endfor %}" * 3),
    "template that includes": _text("chat_template.jinja", "{% include '/etc/passwd' %}"),
    "template that escapes": _text("chat_template.jinja", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    "template that calls": _text("chat_template.jinja", "{{ cycler.__init__.__globals__.os.system('touch ran') }}"),
    "template that raises": _text("chat_template.jinja", "{{ raise_exception('a\nb') }}"),
    "template of 10^11 letters": _text("chat_template.jinja", "{{ 'a' * 100000000000 }}"),
    "template of many words": _text("chat_template.jinja", FOR + "{{ 'word ' * 99999 }}{% endfor %}"),
    "template that calls itself": _text("chat_template.jinja", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
}
# Those whose answer would be right if something outside the folder, or another form of weights, was taken
NEVER = {
    *("pickle called safetensors", "pickle beside no safetensors", "index to a file beside the folder"),
    *("index to an absolute path", "index to a pickle", "weights elsewhere", "tokenizer elsewhere"),
    *("adapter of another base", "kernel of the hub"),
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code (None: it did not), what it wrote to stderr, whether code ran."""

    code: int | None
    said: str
    ran: bool

    def problem(self, names: Sequence[Path]) -> str:
        """What is wrong with it; empty if it ended well, or with one line that names one of the files."""
        if self.ran:
            return "code ran"
        if self.code is None:
            return f"no end within {SECONDS:g} s of the processor"
        lines = [line for line in self.said.splitlines() if line.startswith("lad-reasoner: ")]
        if "Traceback" in self.said or self.code not in (0, 1):
            return f"rc {self.code}: {self.said.strip()[-300:]}"
        if self.code == 1 and (len(lines) != 1 or not any(str(name) in lines[0] for name in names)):
            return f"rc 1: {self.said.strip()[-300:]}"
        return ""


def run_limited(words: Sequence[object], folder: Path) -> Outcome:
    """Run a verb in the folder with limits on memory and time; Linux."""
    said = folder / "said"
    before = Path.cwd()
    os.chdir(folder)
    try:
        process = start_verb(words, said)
    finally:
        os.chdir(before)
    resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.prlimit(process.pid, resource.RLIMIT_CPU, (int(SECONDS), int(SECONDS) + 5))
    end = time.monotonic() + 20 * SECONDS
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    hung = process.poll() is None
    process.kill()
    code = process.wait()
    over = hung or code in (-24, -9)  # SIGXCPU, SIGKILL
    return Outcome(None if over else code, said.read_text(errors="replace"), (folder / RAN).exists())


def try_models(number: int, place: Path) -> tuple[int, int, list[str]]:
    """Judge with the first `number` hostile models: (judged, refused, a line for each that was lost)."""
    from helpers import tiny

    whole = tiny.save_qwen(place / "whole")
    for nth, shade in ((0, "reference"), (1, "query")):
        tiny.picture(nth, 84, 56).save(place / f"{shade}.png")
    judged = refused = 0
    lost: list[str] = []
    for name, change in list(HOSTILE_MODELS.items())[:number]:
        model = place / "model"
        shutil.copytree(whole, model)
        change(model, whole)
        words = ["inspect", "-r", place / "reference.png", place / "query.png", "--json", "--model", model]
        outcome = run_limited(words, place)
        problem = outcome.problem([model])
        judged += outcome.code == 0
        refused += outcome.code == 1
        if not problem and outcome.code == 0 and name in NEVER:
            problem = "it was taken"
        if problem:
            lost.append(f"{name}: {problem}")
        shutil.rmtree(model)
        (place / RAN).unlink(missing_ok=True)
    return judged, refused, lost


def drill_models(number: int, seed: int = 0) -> Tally:
    """`inspect` with `number` model folders of a stranger. Linux."""
    number = min(number, len(HOSTILE_MODELS))
    with tempfile.TemporaryDirectory() as temporary:
        judged, refused, lost = try_models(number, Path(temporary).resolve())
    return Tally(number, lost, f" ({judged} judged, {refused} refused)")


LAST = "checkpoint-3"


def _gone(file: str) -> Change:
    return lambda run, _: (run / LAST / file).unlink()


def _unsealed(change: Change) -> Change:
    """A stranger who changes a file can remove the hashes, too."""

    def both(run: Path, whole: Path) -> None:
        change(run, whole)
        (run / LAST / "hashes.json").unlink()

    return both


def _flipped(file: str) -> Change:
    def change(run: Path, whole: Path) -> None:
        content = bytearray((run / LAST / file).read_bytes())
        content[-20] ^= 4
        (run / LAST / file).write_bytes(content)

    return change


def _half(file: str) -> Change:
    def change(run: Path, whole: Path) -> None:
        content = (run / LAST / file).read_bytes()
        (run / LAST / file).write_bytes(content[: len(content) // 2])

    return change


def _step(step: Any) -> Change:
    return lambda run, whole: _fields("trainer_state.json", global_step=step)(run / LAST, whole)


def _poisoned(file: str) -> Change:
    def change(run: Path, whole: Path) -> None:
        import torch

        torch.save(Payload(), run / LAST / file)

    return _unsealed(change)


def _raw_pickle(file: str) -> Change:
    return _unsealed(lambda run, whole: _pickle(file)(run / LAST, whole))


def _linked(run: Path, whole: Path) -> None:
    shutil.rmtree(run / LAST)
    (run / LAST).symlink_to(whole / "checkpoint-1")


POISONED_RUNS: dict[str, Change] = {
    "pickle for the optimizer": _poisoned("optimizer.pt"),
    "pickle for the random state": _poisoned("rng_state.pth"),
    "pickle for the schedule": _poisoned("scheduler.pt"),
    "pickle for the arguments": _poisoned("training_args.bin"),
    "bare pickle for the optimizer": _raw_pickle("optimizer.pt"),
    "bare pickle for the weights": _raw_pickle("model.safetensors"),
    "no optimizer": _unsealed(_gone("optimizer.pt")),
    "no random state": _unsealed(_gone("rng_state.pth")),
    "no weights": _unsealed(_gone("model.safetensors")),
    "no state": _unsealed(_gone("trainer_state.json")),
    "no schedule": _gone("scheduler.pt"),
    "no seal": _unsealed(lambda run, whole: None),
    "another byte in the weights": _flipped("model.safetensors"),
    "another byte in the optimizer": _flipped("optimizer.pt"),
    "half the weights": _unsealed(_half("model.safetensors")),
    "half the optimizer": _unsealed(_half("optimizer.pt")),
    "half the state": _unsealed(_half("trainer_state.json")),
    "half the seal": _half("hashes.json"),
    "step 1,000,000,000": _unsealed(_step(10**9)),
    "step -1": _unsealed(_step(-1)),
    "step of text": _unsealed(_step("3")),
    "a link to an earlier checkpoint": _linked,
    "run.json cut off": lambda run, _: (run / "run.json").write_text('{"data": '),
}


def try_resumes(number: int, place: Path) -> tuple[int, int, list[str]]:
    """Resume the first `number` damaged runs: (same result, refused, a line for each that was lost)."""
    from helpers import tiny
    from helpers.tutored import build, write_recipe

    tiny.save_qwen(place / "model")
    build(place / "data", records=6)
    settings = {"per_device_train_batch_size": 4, "max_steps": 4, "save_steps": 1, "save_total_limit": 4}
    recipe = write_recipe(place, use_cpu="true", **settings)
    words = ["train", "sft", recipe, "--output_dir", place / "run", "--resume"]
    outcome = run_limited(words, place)
    if outcome.code:
        return 0, 0, [f"undisturbed: rc {outcome.code}: {outcome.said.strip()[-300:]}"]
    whole = (place / "run").rename(place / "whole")
    expected = files_of(whole, place / "run")
    same = refused = 0
    lost: list[str] = []
    for name, change in list(POISONED_RUNS.items())[:number]:
        run = shutil.copytree(whole, place / "run", ignore=shutil.ignore_patterns("model", "checkpoint-4"))
        change(run, whole)
        outcome = run_limited(words, place)
        problem = outcome.problem([run, recipe])
        if not problem and outcome.code == 0:
            same += 1
            left = files_of(run, run)
            if left != expected:
                other = {file for file, value in left.items() if expected.get(file) != value}
                problem = f"another result, in {sorted(other | expected.keys() ^ left.keys())[:3]}"
        refused += outcome.code == 1
        if problem:
            lost.append(f"{name}: {problem}")
        shutil.rmtree(run)
        (place / RAN).unlink(missing_ok=True)
    return same, refused, lost


def drill_resume(number: int, seed: int = 0) -> Tally:
    """`train sft --resume` in `number` runs with a damaged or poisoned checkpoint. Linux."""
    number = min(number, len(POISONED_RUNS))
    with tempfile.TemporaryDirectory() as temporary:
        same, refused, lost = try_resumes(number, Path(temporary).resolve())
    return Tally(number, lost, f" ({same} ended as if nothing had been, {refused} refused)")
