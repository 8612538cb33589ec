"""The drill `files`: each JSON and TOML file that may come from a stranger, with one value replaced by another.

Lost is what raises anything but the package's own errors, takes longer than `SLOW` seconds of the processor, or has a
message of several lines or one that acts in a terminal.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import tempfile
import time
import tomllib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drill_common import Tally
from drill_victims import Victim, victims

from lad_reasoner.errors import LadError
from lad_reasoner.text import shown

SLOW = 20.0  # seconds of the processor for one file
ESCAPE = "\x1b]0;x\x07\x9b2J\u202e"
DEEP = 5000  # brackets

# What may stand in the place of any value
NASTY: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**70),
    10**400,
    0.5,
    1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    "",
    " ",
    "yes",
    "good",
    "a\nb",
    "a\0b",
    ESCAPE,
    "\ud800",
    "x" * 5000,
    "../../etc/passwd",
    "/etc/passwd",
    "[/bold][red]",
    "=1+1",
    "<script>",
    [],
    [[]],
    [None],
    ["a"],
    {},
    {"a": 1},
    {"": []},
)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value inside a value, and of the value itself."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield from places_in(inside, (*path, key))


def replaced(value: Any, chance: random.Random) -> Any:
    """The value with one to three changes: another value, a key less, a key twice, an entry repeated."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = list(places_in(value))
        path = chance.choice(places)
        if not path:
            if len(places) > 1:
                continue
            return chance.choice(NASTY)
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        kind = chance.randrange(8)
        if kind == 0:
            del holder[path[-1]]
        elif kind == 1 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[path[-1]]))
        elif kind == 2 and isinstance(holder, dict):
            other = chance.choice([ESCAPE, "", "a\nb", "__class__", "x" * 300])
            holder[other] = holder.pop(path[-1])
        else:
            holder[path[-1]] = copy.deepcopy(chance.choice(NASTY))
    return value


def damaged_text(text: str, is_lines: bool, chance: random.Random) -> str:
    """JSON, or a file of JSON lines of which one is changed; now and then brackets without an end."""
    if chance.random() < 0.02:
        return chance.choice(('{"a":', "[")) * DEEP
    if chance.random() < 0.02:
        return text[: chance.randrange(len(text))] + chance.choice(("", "\n", "\ufeff\n", "\0\n"))
    if not is_lines:
        return json.dumps(replaced(json.loads(text), chance))
    lines = text.splitlines()
    at = chance.randrange(len(lines))
    lines[at] = json.dumps(replaced(json.loads(lines[at]), chance))
    return "\n".join(lines) + "\n"


def damaged_toml(text: str, chance: random.Random) -> str:
    import tomli_w

    for _ in range(100):
        values = replaced(tomllib.loads(text), chance)
        try:
            return tomli_w.dumps(values)
        except (TypeError, ValueError, AttributeError):  # TOML has no null, no such key, no such number
            continue
    return text


def try_files(victims: list[Victim], number: int, seed: int) -> tuple[int, int, list[str]]:
    """Read `number` damaged files: (read, refused, a line for each that was lost)."""
    taken = refused = 0
    lost: list[str] = []
    for index in range(number):
        chance = random.Random(f"{seed}/{index}")
        victim = victims[index % len(victims)]
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "set"
            shutil.copytree(victim.folder, folder)
            path = folder / victim.name
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".toml":
                damaged = damaged_toml(text, chance)
            else:
                damaged = damaged_text(text, path.suffix == ".jsonl", chance)
            path.write_bytes(damaged.encode("utf-8", "surrogatepass"))
            before, problem = time.process_time(), ""
            try:
                victim.read(folder)
                taken += 1
            except LadError as error:
                refused += 1
                message = " ".join(str(error).split())  # as the command line prints it
                problem = "" if len(message) < 2000 else f"a message of {len(message)} letters"
            except Exception as error:  # what the drill looks for
                problem = f"{type(error).__name__}: {str(error)[:200]} ({_place(error)})"
            seconds = time.process_time() - before
            if not problem and seconds > SLOW:
                problem = f"{seconds:.1f} s"
            if problem:
                lost.append(f"{victim.name} ({victim.read.__name__}), seed {seed}, number {index}: {shown(problem)}")
                keep = os.environ.get("LAD_DRILL_KEEP")  # a folder for the files that were lost
                if keep:
                    shutil.copy(path, Path(keep) / f"{index}-{path.name}")
    return taken, refused, lost


def _place(error: BaseException) -> str:
    """The last line of the package that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "lad_reasoner" in frame.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def drill_files(number: int, seed: int = 0) -> Tally:
    """`number` JSON and TOML files of strangers with other values in them."""
    with tempfile.TemporaryDirectory() as temporary:
        kinds = victims(Path(temporary) / "stock")
        taken, refused, lost = try_files(kinds, number, seed)
    return Tally(number, lost, f" ({len(kinds)} kinds, {taken} read, {refused} refused)")
