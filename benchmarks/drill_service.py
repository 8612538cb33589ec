"""The drill `service`: a hosted judge whose service fails three times in ten."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

from drill_common import Tally


def drill_service(number: int, seed: int = 0) -> Tally:
    """`number` pairs asked of a service of which three requests in ten fail; runs are started until all is judged."""
    from helpers.chat_server import Act, ChatServer, faulty
    from helpers.planted import lamps
    from lad_reasoner.errors import MachineError
    from lad_reasoner.evaluation.benchmark import open_benchmark
    from lad_reasoner.evaluation.run import Run, read_run
    from lad_reasoner.judges.hosted import HostedJudge

    def behave(body: dict[str, Any], before: int) -> Act:
        chance = random.Random(f"{seed}/{json.dumps(body)[-200:]}/{before}").random()
        if chance < 0.1:
            return Act("answer", "")
        return Act("drop" if chance < 0.15 else "half") if chance < 0.2 else Act("answer", ANSWER)

    with tempfile.TemporaryDirectory() as temporary, ChatServer(faulty(behave, share=0.2, silence=2)) as server:
        root = lamps(Path(temporary) / "lamps", good=(number + 1) // 2, bad=number // 2)
        starts, out = 0, Path(temporary) / "run"
        while starts < 10:
            starts += 1
            judge = HostedJudge(server.url, "m", cache=out / "answers.jsonl", timeout=1.0, patience=6.0, backoff=0.02)
            try:
                for _ in Run(out, judge, open_benchmark("folder", root)).predict():
                    pass
                break
            except MachineError:
                continue
        lines = read_run(out).predictions
        tally = Tally(
            number,
            [
                f"{line.pair.query}: {line.error or line.verdict.answer}"
                for line in lines
                if line.verdict.answer != "no"
            ],
        )
        tally.lost += [f"{number - len(lines)} pairs without a line"] * (number > len(lines))
        pairs = {json.dumps(body["messages"]) for body in server.bodies}
        requests, paid = server.came.total(), server.acts["answer"]
        tally.note = f" ({requests} requests for {len(pairs)} different pairs, {paid} answers, {starts} starts)"
    return tally


ANSWER = "<think>Nothing is missing.</think><answer>no</answer>"
