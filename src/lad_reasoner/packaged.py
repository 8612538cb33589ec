"""What lies in files of the package: tables and texts in TOML beside the modules that use them, networks in ONNX."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def read_packaged(module: str, name: str) -> dict[str, Any]:
    """The TOML file `name` beside a module, which gives its `__file__`."""
    return tomllib.loads(Path(module).with_name(name).read_text(encoding="utf-8"))


def open_network(graph: Path) -> Any:
    """An ONNX Runtime session of a network, on one core: pictures are looked at side by side, each by one thread."""
    import onnxruntime  # where it is needed: most verbs look at no picture

    onnxruntime.disable_telemetry_events()  # on Windows, where ORT_DISABLE_TELEMETRY is not read
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # what goes wrong is raised as well
    return onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
