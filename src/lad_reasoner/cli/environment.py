"""The verb `env`: what a report of a fault should say about the machine."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from lad_reasoner.errors import MissingExtraError, require
from lad_reasoner.text import counted
from lad_reasoner.text import print_shown as print

PACKAGE = "lad-reasoner"
SHOWN = ("numpy", "scipy", "onnxruntime", "pillow", "pydantic", "typer", "torch", "torchvision", "transformers", "trl")
# `transformers>=5.0; extra == 'hf'` -> name, extras of that package in brackets, the extra that asks for it
REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[([\w, -]+)\])?[^;]*(?:;.*extra\s*==\s*['\"]([\w-]+)['\"])?")


def env_verb() -> None:
    """Show versions, cores, devices and extras. Paste it into a report of a fault."""
    for name, value in _facts():
        print(f"{name:<14} {value}")


def _facts() -> Iterator[tuple[str, str]]:
    from lad_reasoner.version import __version__

    yield PACKAGE, __version__
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield "cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    yield from (("device", device) for device in _devices())
    for name in SHOWN:
        yield name, _version(name) or "not installed"
    for extra, missing in sorted(_missing_packages().items()):
        yield f"extra {extra}", f"lacks {', '.join(missing)}" if missing else "complete"


def _devices() -> list[str]:
    try:
        torch: Any = require("torch", "hf")
    except MissingExtraError as error:
        return [f"cpu; for a GPU and for vision-language models: {error}"]
    except Exception as error:  # a broken installation is what this report is for
        return [f"torch cannot be imported: {type(error).__name__}: {error}"]
    devices = [f"cpu, {counted(torch.get_num_threads(), 'thread')}"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices.append(f"cuda:{index}, {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _missing_packages() -> dict[str, list[str]]:
    """Extra -> its packages that are not installed; empty for a source folder that is not installed either."""
    try:
        lines = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return {}
    packages: dict[str, list[str]] = defaultdict(list)
    parts: dict[str, list[str]] = defaultdict(list)  # extra -> other extras that it contains
    for line in lines:
        match = REQUIREMENT.match(line)
        if match is None or match[3] is None:
            continue
        name, extras, extra = match.groups()
        if name == PACKAGE:
            parts[extra] += [each.strip() for each in extras.split(",")]
        else:
            packages[extra].append(name)
    missing = {}
    for extra in packages.keys() | parts.keys():
        wanted = [name for part in (extra, *parts[extra]) for name in packages.get(part, [])]
        missing[extra] = sorted({name for name in wanted if _version(name) is None})
    return missing
