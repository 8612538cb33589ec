"""One engine in a process of its own, whose turns another program gives: `bench.py --only engines`.

    python benchmarks/engine.py transformers 256      # or vllm; each line on stdin is a turn, each on stdout its result

With one reference a product, as an inspection has; the result is a line of JSON with the seconds and the answers. It
needs nothing that only this project's own environment has, since vLLM wants another torch.
"""

import json
import sys
import time

from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.miniloco import EVALUATION, draw_picture

SEED = 20261122  # as in speed.py


def draw_pairs(number: int) -> list[PicturePair]:
    """Good and anomalous queries in turn, the same number of each product."""
    pairs: list[PicturePair] = []
    for product in EVALUATION:
        reference = read_picture(draw_picture(product, "train", "good", 0, size=224, seed=SEED).image)
        for index in range(max(1, number // len(EVALUATION))):
            kind = "logical" if index % 2 else "good"
            query = draw_picture(product, "test", kind, index // 2, size=224, seed=SEED).image  # type: ignore[arg-type]
            pairs.append(PicturePair((reference,), read_picture(query)))
    return pairs


def main() -> None:
    engine, number = sys.argv[1], int(sys.argv[2])
    pairs = draw_pairs(number)
    judge = load_judge("micro", engine=engine, dtype="float32")
    judge.judge(pairs[: judge.batch_size])  # what a first call sets up is not timed
    for _ in sys.stdin:
        start = time.perf_counter()
        made = []
        for first in range(0, len(pairs), judge.batch_size):
            made += judge.judge(pairs[first : first + judge.batch_size])
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "answers": [each.response for each in made]}), flush=True)


if __name__ == "__main__":
    main()
