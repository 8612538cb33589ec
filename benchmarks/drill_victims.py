"""The whole files that the drill `files` changes, one or more of each kind that is read, and what reads each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lad_reasoner.errors import LadError


@dataclass(frozen=True)
class Victim:
    """A file, and what reads it; `folder` is copied for each try, `name` is the file in it."""

    name: str
    folder: Path
    read: Callable[[Path], object]


def victims(stock: Path) -> list[Victim]:
    """Whole files of each kind, written below `stock`."""
    from helpers.planted import lamps
    from helpers.stations import grey_station
    from helpers.tutored import build
    from lad_reasoner.evaluation.benchmark import open_benchmark
    from lad_reasoner.evaluation.run import Run
    from lad_reasoner.miniloco.writer import write_benchmark
    from lad_reasoner.service.setup import make_rules

    stock.mkdir(parents=True, exist_ok=True)
    root = lamps(stock / "lamps")
    for name in ("run", "other"):
        for _ in Run(stock / name, Teller(), open_benchmark("folder", root)).predict():
            pass
    build(stock / "sft")
    build(stock / "pairs", task="pair")
    decision = {"id": "r00", "decision": "edit", "answer": "Two screws.", "time": "2026-01-01T00:00:00Z"}
    (stock / "sft/decisions.jsonl").write_text(json.dumps(decision) + "\n")
    loco = stock / "loco"
    for _ in write_benchmark(loco, products=["bolt_plate"], per_class=2, size=64):
        pass
    station, _ = grey_station(stock / "grey")
    make_rules(station)
    files = stock / "files"
    files.mkdir()
    lamps(files / "lamps")
    names = sorted(path.relative_to(files).as_posix() for path in (files / "lamps").rglob("*.png"))
    pair = {"references": names[:2], "label": "good", "category": "lamp", "kind": "good", "defect": ""}
    (files / "pairs.jsonl").write_text("".join(json.dumps({"query": name, **pair}) + "\n" for name in names[2:5]))
    scores = [{"image": name, "score": 0.5, "answer": "yes", "text": "Yes, a part is missing."} for name in names]
    (files / "scores.json").write_text(json.dumps(scores))
    (files / "body.json").write_text(json.dumps(BODY))
    line = {"key": "a", "text": "yes", "finish": "stop", "model": "m", "input_tokens": 1, "output_tokens": 1}
    (files / "answers.jsonl").write_text(json.dumps(line | {"score": 0.5}) + "\n")
    asked = {"Question": "What?", "Answer": "A", "Options": {"A": "a hole", "B": "none"}, "type": "Defect"}
    key = "DS-MVTec/bottle/image/broken_large/000.png"
    (files / "mmad.json").write_text(json.dumps({key: {"conversation": [asked], "mask_path": "", "image_path": key}}))
    (files / "keys.toml").write_text(f'[[keys]]\nname = "a"\nrole = "operator"\nsha256 = "{"0" * 64}"\n')
    (files / "hashes.json").write_text(json.dumps({"model.safetensors": "0", "optimizer.pt": "1"}))
    (files / "trainer_state.json").write_text(json.dumps({"global_step": 3, "log_history": [{"loss": 1.0}]}))
    for name in ("model.safetensors", "optimizer.pt", "rng_state.pth"):
        (files / name).write_bytes(b"")
    return [
        Victim("predictions.jsonl", stock / "run", read_a_run),
        Victim("settings.json", stock / "run", read_a_run),
        Victim("predictions.jsonl", stock / "run", lambda folder: compare(folder, stock / "other")),
        Victim("metadata.jsonl", stock / "sft", read_a_set),
        Victim("metadata.jsonl", stock / "pairs", read_a_set),
        Victim("manifest.json", stock / "pairs", read_a_set),
        Victim("decisions.jsonl", stock / "sft", read_a_set),
        Victim("bolt_plate/facts.jsonl", loco, read_facts),
        Victim("bolt_plate/defects_config.json", loco, read_facts),
        Victim("station.toml", station, open_station),
        Victim("pairs.jsonl", files, read_pairs),
        Victim("scores.json", files, read_scores),
        Victim("body.json", files, read_completion),
        Victim("answers.jsonl", files, read_answers),
        Victim("mmad.json", files, read_hints),
        Victim("keys.toml", files, read_keys),
        Victim("hashes.json", files, read_checkpoint),
        Victim("trainer_state.json", files, read_checkpoint),
    ]


BODY = {
    "id": "1",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "<think>One screw.</think><answer>yes</answer>",
                "reasoning_content": "One",
                "tool_calls": [],
                "refusal": None,
            },
            "finish_reason": "stop",
            "logprobs": {
                "content": [
                    {"token": "yes", "logprob": -0.1, "top_logprobs": [{"token": "no", "logprob": -2.0, "bytes": []}]}
                ]
            },
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 1},
    },
    "error": {"message": "overloaded", "code": 500, "type": "server"},
}
CLAIMS = "The reference shows two red screws and one nut. In the query one red screw is missing at the upper left."


class Teller:
    """A judge that claims something of each picture, with a box."""

    name, prompt_version, batch_size, notes = "teller", "1", 4, ("a note",)
    parameters: int | None = 7

    def judge(self, pairs: Any) -> list[Any]:
        from lad_reasoner.judge import Judgement
        from lad_reasoner.records import Box

        box = Box(x=1, y=2, width=5, height=5, strength=1.5)
        said = f"<think>{CLAIMS}</think><answer>yes</answer>"
        return [Judgement("yes", 0.9, said, CLAIMS, headline=CLAIMS, boxes=(box,)) for _ in pairs]


def read_a_run(folder: Path) -> None:
    from lad_reasoner.report.evaluation import write_evaluation
    from lad_reasoner.report.terminal import show_metrics

    recorded, metrics, _ = write_evaluation(folder)
    with quiet():
        show_metrics(recorded, metrics)


def compare(folder: Path, other: Path) -> None:
    from lad_reasoner.evaluation.comparison import compare_runs, to_markdown, to_narrow, write_comparison
    from lad_reasoner.report.gallery import write_gallery_page
    from lad_reasoner.report.plots import draw_plots

    comparison = compare_runs([folder, other], resamples=50)
    write_comparison(folder, comparison)
    write_gallery_page(folder, comparison)
    to_markdown(comparison), to_narrow(comparison), draw_plots(folder, comparison)


def read_a_set(folder: Path) -> None:
    import http.client
    import threading

    from lad_reasoner.data.review.page import ReviewServer
    from lad_reasoner.data.review.session import Review
    from lad_reasoner.data.sets.built_set import read_manifest
    from lad_reasoner.data.sets.check import check_set
    from lad_reasoner.data.sets.export import export_set
    from lad_reasoner.train.dataset import load_set

    kind = "pair" if (folder / "metadata.jsonl").read_bytes().count(b'"prompt"') else "sft"
    steps: list[Callable[[], object]] = [lambda: read_manifest(folder), lambda: check_set(folder)]
    for to in ("llama-factory", "ms-swift") if kind == "sft" else ("easyr1", "ms-swift", "lmms-eval", "mmad"):
        out = folder.parent / f"out {to}"
        steps.append(lambda out=out, to=to: export_set(folder, out, to=to, model="m"))
    steps.append(lambda: [load_set(folder, kind=kind)[at] for at in range(2)])
    errors = []
    for step in steps:
        try:
            step()
        except LadError as error:
            errors.append(error)
    review = Review(folder, sample=20)
    with ReviewServer(review) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for number in range(1, len(review.entries) + 1):
            for page in (f"record/{number}", f"picture/{number}/1"):
                connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
                headers = {"Cookie": f"{server.cookie}={server.token}"}
                connection.request("GET", f"/{page}", headers=headers)
                answer = connection.getresponse()
                answer.read()
                connection.close()
        server.shutdown()
    if errors:
        raise errors[0]


def read_facts(folder: Path) -> None:
    from lad_reasoner.data.mmad import read_mmad
    from lad_reasoner.data.sets.pairs import build_pairs, plan_pairs
    from lad_reasoner.data.sets.pool import gather
    from lad_reasoner.data.sets.sft import build_sft, plan_sft
    from lad_reasoner.data.sources import find_samples
    from lad_reasoner.data.teachers.offline import OfflineTeacher
    from lad_reasoner.evaluation.benchmark import open_benchmark
    from lad_reasoner.evaluation.run import Run, measure_run, read_run
    from lad_reasoner.train.rewards import faithful_reward

    errors = []
    try:
        out = folder.parent / "run"
        for _ in Run(out, Teller(), open_benchmark("miniloco", folder)).predict():
            pass
        measure_run(read_run(out).predictions, resamples=20)
    except LadError as error:
        errors.append(error)
    try:
        pool = gather([find_samples(str(folder))])
        list(build_pairs(folder.parent / "pairs", plan_pairs(pool, allowed=True)))
        for line in (folder.parent / "pairs/metadata.jsonl").read_text().splitlines():
            record = json.loads(line)
            said = [{"role": "assistant", "content": f"<think>{CLAIMS}</think><answer>yes</answer>"}]
            faithful_reward([said], facts=[record.get("facts", [])], query=[record["query"]])
    except LadError as error:
        errors.append(error)
    try:
        pool = gather([find_samples(str(folder))])
        list(build_sft(folder.parent / "sft", plan_sft(pool, read_mmad()), OfflineTeacher()))
    except LadError as error:
        errors.append(error)
    if errors:
        raise errors[0]


def open_station(folder: Path) -> None:
    from lad_reasoner.service.inspection import OpenStation
    from lad_reasoner.service.station import Station
    from lad_reasoner.service.summary import describe_rules, describe_station, describe_zones

    station = Station.load(folder)
    describe_station(station), describe_zones(station), describe_rules(station, folder)
    opened = OpenStation(folder)
    list(opened.inspect([folder / "references/0001.png"]))


def read_pairs(folder: Path) -> None:
    from lad_reasoner.evaluation.benchmark import open_benchmark
    from lad_reasoner.evaluation.run import Run

    for _ in Run(folder.parent / "run", Teller(), open_benchmark("manifest", folder / "pairs.jsonl")).predict():
        pass


def read_scores(folder: Path) -> None:
    from lad_reasoner.evaluation.benchmark import open_benchmark
    from lad_reasoner.evaluation.run import Run, measure_run, read_run
    from lad_reasoner.judges import load_judge

    benchmark = open_benchmark("folder", folder / "lamps")
    judge = load_judge(f"file:{folder / 'scores.json'}", defaults={"benchmark": benchmark})
    for _ in Run(folder.parent / "run", judge, benchmark).predict():
        pass
    measure_run(read_run(folder.parent / "run").predictions, resamples=20)


def read_completion(folder: Path) -> None:
    from lad_reasoner.judges.hosted import _read_completion
    from lad_reasoner.remote.client import ChatService, _TemporaryError

    with ChatService("http://127.0.0.1:9", key_variable="NONE", timeout=1, patience=1, backoff=1) as service:
        content = (folder / "body.json").read_bytes()
        for status in (200, 400, 429, 500):
            try:
                service._check_status(status, content, "m", 0.0)
                _read_completion("k", service._read(content, "m"))
            except _TemporaryError as error:
                str(error)
            except LadError:
                pass


def read_answers(folder: Path) -> None:
    from lad_reasoner.remote.ledger import Ledger
    from lad_reasoner.remote.prices import Prices

    ledger = Ledger(folder / "answers.jsonl", prices=Prices(1.0, 2.0), budget=3.0)
    with ledger.hold():
        ledger.recall("a")


def read_hints(folder: Path) -> None:
    from lad_reasoner.data.mmad import read_mmad
    from lad_reasoner.records import Sample

    read = read_mmad(folder / "mmad.json")
    picture = str(folder / "x/bottle/test/broken_large/000.png")
    sample = Sample(image=picture, dataset="MVTec AD", category="bottle", split=None, kind=None, licence="")
    str(read.hint(sample).text)


def read_keys(folder: Path) -> None:
    from lad_reasoner.service.keys import Keys

    Keys.read(folder / "keys.toml").find("a")


def read_checkpoint(folder: Path) -> None:
    from lad_reasoner.train.checkpoints import find_fault

    find_fault(folder, 3)


def quiet() -> Any:
    import contextlib
    import io

    stack = contextlib.ExitStack()
    stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
    stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
    return stack
