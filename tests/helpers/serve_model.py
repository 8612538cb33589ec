"""Serves a checkpoint with `transformers serve`, whose processor cannot be loaded where torchvision is missing.

python serve_model.py FOLDER PORT
"""

import sys
from typing import Any

from transformers.cli.serve import Serve
from transformers.cli.serving.model_manager import ModelManager

from lad_reasoner.judges.vlm.checkpoint import load_checkpoint


def main(folder: str, port: str) -> None:
    def load_processor(self: object, name: str, gguf_file: str | None = None) -> Any:
        return load_checkpoint(folder).processor

    # Their AutoProcessor wants a video processor, and that wants torchvision.
    ModelManager._load_processor = load_processor
    Serve(force_model=folder, device="cpu", host="127.0.0.1", port=int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
