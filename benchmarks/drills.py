"""Drills: how the product stands faults and attacks, counted: tried, survived, lost.

    python benchmarks/drills.py all                     the short form, about three minutes
    python benchmarks/drills.py all --long              about an hour
    python benchmarks/drills.py all --long --keep FILE  the same; started again, it goes on after the last whole drill
    python benchmarks/drills.py pictures --number 100000

By file, in which stands what is counted as lost:

- drill_pictures.py: `pictures`, damaged ones of every format; `odd`, files cut off, odd EXIF entries, bombs.
- drill_sweep.py: `sweep`, `inspect` and `eval` of good pictures among damaged, odd and hostile files.
- drill_files.py: `files`, predictions, built sets, facts, stations, answers of services … with other values in them.
- drill_texts.py: `parser`, random responses; `texts`, hostile names and reasonings in every page.
- drill_models.py: `models`, model folders of a stranger; `resume` (only with --long), damaged and poisoned checkpoints.
- drill_judges.py: `soak`, many pictures in one process; `same` (only with --long), queries judged again.
- drill_kills.py: `kills` of each verb that writes; `training kills` (only with --long), of what is slow; `disks` (only
  with --long), which are full.
- drill_network.py: `network` (only with --long), connections of the verbs that write.
- drill_service.py: `service`, a hosted judge whose service fails.
- drill_server.py: `server`, a station's server under attack.
- drill_watch.py: `watch`, kills of a line that watches a folder.

Ends with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drill_common import SHOWN
from drill_files import drill_files
from drill_judges import drill_same, drill_soak
from drill_kills import drill_disks, drill_kills
from drill_models import drill_models, drill_resume
from drill_network import drill_network
from drill_pictures import drill_odd, drill_pictures
from drill_server import drill_server
from drill_service import drill_service
from drill_sweep import drill_sweep
from drill_texts import HOSTILE, drill_parser, drill_texts
from drill_verbs import slow_verbs
from drill_watch import drill_watch

# Drill -> its function, and its number in the short and in the long form
DRILLS: dict[str, tuple[Callable[[int, int], Any], int, int]] = {
    "parser": (drill_parser, 100_000, 1_000_000),
    "pictures": (drill_pictures, 20_000, 1_000_000),
    "sweep": (drill_sweep, 500, 5000),
    "files": (drill_files, 36, 2000),
    "kills": (drill_kills, 1, 10),
    "disks": (drill_disks, 0, 3),
    "service": (drill_service, 20, 200),
    "texts": (drill_texts, 3, len(HOSTILE)),
    "soak": (drill_soak, 200, 3000),
    "watch": (drill_watch, 3, 20),
    "server": (drill_server, 400, 2000),
    "odd": (drill_odd, 300, 40_000),
    "same": (drill_same, 0, 8),
    "network": (drill_network, 0, 100),
    "models": (drill_models, 6, 1000),
    "resume": (drill_resume, 0, 1000),
    "training kills": (lambda number, seed: drill_kills(number, seed, slow_verbs), 0, 3),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("drill", choices=["all", *DRILLS])
    parser.add_argument("--number", type=int, help="of inputs, kills a verb or pairs; default: the short form's")
    parser.add_argument("--long", action="store_true", help="the numbers of the long form, about an hour in all")
    parser.add_argument(
        "--keep", type=Path, help="file of what each drill gave; one that stands in it is not run again"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: %(default)s)")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # servers and pictures of the tests
    os.environ["LAD_TRUSTED"] = "helpers.stations:Grey"
    lost, kept = 0, _read_kept(arguments.keep)
    for name in DRILLS if arguments.drill == "all" else [arguments.drill]:
        drill, short, long = DRILLS[name]
        number = arguments.number or (long if arguments.long else short)
        if not number:
            continue
        result = kept.get((name, number, arguments.seed))
        if result is None:
            start = time.monotonic()
            tally = drill(number, arguments.seed)
            result = {"drill": name, "number": number, "seed": arguments.seed, "result": str(tally), "lost": tally.lost}
            result["seconds"] = round(time.monotonic() - start)
            if arguments.keep:
                with arguments.keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
        print(f"{name}: {result['result']}, {result['seconds']} s", flush=True)
        for line in result["lost"][:SHOWN]:
            print(f"  {line}")
        lost += len(result["lost"])
    return 1 if lost else 0


def _read_kept(file: Path | None) -> dict[tuple[str, int, int], dict[str, Any]]:
    """(drill, number, seed) -> the line of a drill that was whole."""
    lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
    return {(line["drill"], line["number"], line["seed"]): line for line in map(json.loads, lines)}


if __name__ == "__main__":
    sys.exit(main())
