"""What the judge computed of references, kept in a file: a station then starts without studying them again.

    studied = load_studied(path, references, backbone)         # None if the file is missing or not of these references
    save_studied(path, studied, references, backbone)

The file is in the format of safetensors: arrays, pictures among them, all else as JSON in its header. Nothing is
unpickled: only the record classes of this room are made again, from their fields. The file is for exactly these pixels,
this backbone (two numbers of what it sees in the first reference show its weights) and this version of the code. A hash
of all that it holds shows damage; whoever can write into the folder can change both.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.files.pictures import Picture
from lad_reasoner.files.whole import write_whole
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.threads import in_parallel

ROOM = __name__.rpartition(".")[0]
PROBE_SIDE = 96  # pixels of the picture that shows a backbone's weights
SAME = 1e-3  # of the probe's numbers: what another processor may change

log = logging.getLogger(__name__)


def load_studied(path: Path, references: Sequence[Picture], backbone: Backbone) -> Any:
    """What is in the file, a record of this room, if it is that of these references, this backbone and this code."""
    from safetensors import safe_open

    try:
        with safe_open(path, "np") as file:
            header = file.metadata() or {}
            if header.get("key") != _key(references, backbone):
                return None
            probe = json.loads(header["probe"])
            if not np.allclose(probe, _probe(references[0], backbone), atol=SAME):
                return None
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header["hash"] != _hash(header["content"], arrays):
            raise ValueError("it is damaged")
        return _decode(json.loads(header["content"]), arrays.__getitem__, backbone)
    except Exception as error:  # whatever a file of a stranger makes a reader raise: it is only a copy
        if path.exists():
            log.info("%s: not used (%s); the references are studied again", path, error)
        return None


def save_studied(path: Path, studied: Any, references: Sequence[Picture], backbone: Backbone) -> None:
    """Write the file, all or nothing. A folder that cannot be written only costs time at the next start."""
    from safetensors.numpy import save

    arrays: dict[str, NDArray[Any]] = {}
    try:
        content = json.dumps(_encode(studied, arrays, backbone))
        header = {
            "key": _key(references, backbone),
            "probe": json.dumps(_probe(references[0], backbone)),
            "content": content,
            "hash": _hash(content, arrays),
        }
        write_whole(path, save(arrays, header))
    except (OSError, TypeError) as error:
        log.warning("%s: not written (%s); the references will be studied again at the next start", path, error)


def _key(references: Sequence[Picture], backbone: Backbone) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{_code()} {backbone.name} {backbone.multiple} {len(references)}".encode())
    for each in in_parallel(_hash_picture, references):
        digest.update(each)
    return digest.hexdigest()


def _hash_picture(picture: Picture) -> bytes:
    digest = hashlib.blake2b(f"{picture.width} {picture.height} {picture.image.size}".encode(), digest_size=16)
    digest.update(picture.image.tobytes())
    return digest.digest()


def _hash(content: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.blake2b(content.encode(), digest_size=16)
    for each in in_parallel(_hash_array, sorted(arrays.items())):
        digest.update(each)
    return digest.hexdigest()


def _hash_array(named: tuple[str, NDArray[Any]]) -> bytes:
    name, array = named
    digest = hashlib.blake2b(f"{name} {array.dtype} {array.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


@cache
def _code() -> str:
    """Of the room's modules: fields and meaning of what is kept change with them."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _probe(picture: Picture, backbone: Backbone) -> list[float]:
    side = max(1, PROBE_SIDE // backbone.multiple) * backbone.multiple
    features = backbone.features(picture.image, (side, side))  # (rows, columns, channels)
    projected = features @ np.cos(np.arange(1, features.shape[-1] + 1, dtype=np.float32))
    return [float(projected.mean()), float(projected.flat[0])]


def _encode(value: Any, arrays: dict[str, NDArray[Any]], backbone: Backbone) -> Any:
    """The value as JSON, its arrays in `arrays`."""
    if value is backbone:
        return {"backbone": None}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    if isinstance(value, np.ndarray):
        return {"array": _keep(value, arrays)}
    if isinstance(value, Image.Image):
        return {"image": _keep(np.asarray(value), arrays)}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_encode(each, arrays, backbone) for each in value]}
    kind = type(value)
    if kind.__module__.startswith(f"{ROOM}."):
        fields = {name: _encode(each, arrays, backbone) for name, each in vars(value).items()}
        return {"record": f"{kind.__module__}:{kind.__name__}", "fields": fields}
    raise TypeError(f"{kind.__name__} cannot be kept")


def _keep(array: NDArray[Any], arrays: dict[str, NDArray[Any]]) -> str:
    name = f"a{len(arrays)}"
    arrays[name] = np.ascontiguousarray(array)
    return name


def _decode(node: Any, array_named: Any, backbone: Backbone) -> Any:
    """The reverse of `_encode`."""
    if "backbone" in node:
        return backbone
    if "value" in node:
        return node["value"]
    if "array" in node:
        return array_named(node["array"])
    if "image" in node:
        return Image.fromarray(array_named(node["image"]))
    for kind in (list, tuple):
        if kind.__name__ in node:
            return kind(_decode(each, array_named, backbone) for each in node[kind.__name__])
    module, _, name = node["record"].partition(":")
    if not module.startswith(f"{ROOM}."):
        raise ValueError(f"{module} is not of this room")
    kind_of_record = getattr(import_module(module), name)
    if not isinstance(kind_of_record, type) or kind_of_record.__module__ != module:
        raise ValueError(f"{name} is not a class of {module}")
    made: Any = object.__new__(kind_of_record)
    for field, each in node["fields"].items():
        object.__setattr__(made, field, _decode(each, array_named, backbone))
    return made
