"""Vision-language models as judges: checkpoints, structured decoding, engines."""
