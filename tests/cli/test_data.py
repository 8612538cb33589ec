"""The data verbs as a shell sees them: built, checked, exported; killed and resumed against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.chat_server import Act, ChatServer
from helpers.command_line import COMMAND, call
from helpers.skeletons import draw, mvtec_ad
from lad_reasoner.miniloco import write_benchmark

ENVIRONMENT = {**os.environ, "COLUMNS": "160"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    list(write_benchmark(folder / "m", products=["bolt_plate"], per_class=3, size=64))
    list(write_benchmark(folder / "loco", products=["pushpins"], per_class=1, size=64))
    mvtec_ad(folder / "mvtec", part=0.05)
    return folder


def test_built_checked_and_exported(folder: Path) -> None:
    done = call("data", "sft", "m", "--teacher", "offline", "--out", "sft", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "MiniLOCO/bolt_plate" in done.stdout
    assert done.stdout.splitlines()[-1] == "7 records (6 anomalous, 1 good) in sft"
    assert "left out: 2 are good pictures beyond --good-share" in done.stderr
    done = call("data", "pairs", "m", "--out", "pairs", "--balanced", "--references", "2", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "6 records (3 anomalous, 3 good) in pairs"
    assert done.stdout.splitlines()[0].split() == ["class", "anomalous", "good"]  # no column without content
    for name in ("sft", "pairs"):
        done = call("data", "check", name, "--benchmark", "loco", cwd=folder)
        assert done.returncode == 0, done.stdout
        assert done.stdout.endswith("tokens: fit to train on\n")
        assert "licences: Apache-2.0" in done.stdout
    done = call("data", "check", "pairs", "--max-tokens", "10", cwd=folder)
    assert done.returncode == 1
    assert "error: 6: more than 10 tokens" in done.stdout
    assert done.stdout.endswith("NOT fit to train on\n")
    done = call("data", "export", "pairs", "--to", "easyr1", "--model", "runs/sft", "--out", "easy", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((folder / "easy/config.yaml").read_text())["data"]["answer_key"] == "answer"
    done = call("data", "export", "pairs", "--to", "llama-factory", "--out", "no", cwd=folder)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_classes_without_a_good_pair_are_told(folder: Path) -> None:
    choice = ("data", "pairs", "m", "--kinds", "logical,structural")
    done = call(*choice, "--out", "bad_only", cwd=folder)
    assert done.stdout.splitlines()[-1] == "6 records (6 anomalous, 0 good) in bad_only"
    assert "note: no good pair of MiniLOCO/bolt_plate: --good-good adds pairs" in done.stderr
    done = call(*choice, "--good-good", "--out", "filled", cwd=folder)
    assert done.stdout.splitlines()[-1] == "9 records (6 anomalous, 3 good) in filled"
    assert "note" not in done.stderr


def test_the_table_of_classes_is_printed_with_its_reasons(folder: Path) -> None:
    done = call("data", "pairs", "--mvtec-ad", "mvtec", "--out", "mvtec_pairs", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "existence and number: missing cable, missing wire; colour: cable swap" in done.stdout
    assert done.stdout.count("MVTec AD/") == 8
    assert done.stdout.splitlines()[0].split() == ["class", "anomalous", "good", "why"]
    assert "of a class that was not chosen" in done.stderr


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["pairs", "loco", "--out", "x"], "nothing is left to train on"),
        (["pairs", "nowhere", "--out", "x"], "nowhere: no such folder"),
        (["pairs", "m/bolt_plate/train", "--out", "x"], "no test pictures"),
        (["pairs", "m", "--out", "."], "--out .: holds"),
        (
            ["pairs", "m", "--out", "m/pairs"],
            "--out m/pairs: lies in m, so that its pictures would be taken for more of those; give a folder outside",
        ),
        (["check", "nowhere"], "nowhere: no such folder; give a folder that `lad-reasoner data` built"),
        (["pairs", "m", "--out", "x", "--classes", "lamp"], "lamp: not among"),
        (["pairs", "--mvtec-ad", "m", "--out", "x"], "--mvtec-ad m: holds MiniLOCO"),
        (["sft", "m", "--out", "x", "--teacher", "gemini"], "neither `offline` nor an address"),
        (
            ["sft", "m", "--out", "x", "--teacher", "http://127.0.0.1:9/v1", "--teacher-model", "t", "--prices", "1"],
            "1,",
        ),
        (["sft", "m", "--out", "x", "--teacher", "offline", "--mmad", "no.json"], "no.json"),
        (["check", "m"], "no metadata.jsonl"),
        (["miniloco", "x", "--products", "trainin"], "--products trainin: no such product; did you mean training?"),
        (
            ["miniloco", "x", "--products", "free,trainin"],
            "--products trainin: no such product; did you mean training?",
        ),
        (["miniloco", "x", "--products", ","], "no product is given; give some of evaluation, training, free, all"),
        (["export", "m", "--to", "easyr1", "--out", "x"], "no metadata.jsonl"),
    ],
)
def test_faults_in_one_line(folder: Path, args: list[str], word: str) -> None:
    done = call("data", *args, cwd=folder)
    assert done.returncode == 1
    assert word in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / "x").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["pairs", "--out", "x"], "no source is given; give a folder, --mvtec-ad or --visa"),
        (["miniloco", "x", "--draws", "3"], "--draws: is about free products; give --products free"),
        (["sft", "m", "--out", "x", "--teacher", "http://127.0.0.1:9/v1"], "--teacher-model is missing"),
        (
            ["sft", "m", "--out", "x", "--teacher", "http://127.0.0.1:9/v1", "--teacher-model", "t", "--budget", "1"],
            "--budget: needs --prices",
        ),
        (
            ["sft", "m", "--out", "x", "--teacher", "offline", "--teacher-tokens", "9"],
            "--teacher-tokens: has no effect with --teacher offline; leave it out",
        ),
    ],
)
def test_flags_that_do_not_go_together_are_wrong_usage(folder: Path, args: list[str], words: str) -> None:
    done = call("data", *args, cwd=folder)
    assert done.returncode == 2
    assert f"Error: {words}" in done.stderr
    assert not (folder / "x").exists()


def test_a_set_of_git_lfs_pointers_is_no_success(tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    for name in ("train/good/000", "test/good/000", "test/bent/000", "test/bent/001"):
        path = tmp_path / f"bolt/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pointer, encoding="utf-8")
    built = call("data", "pairs", "bolt", "--out", "pairs", cwd=tmp_path)
    assert built.returncode == 1
    assert "left out: " in built.stderr and "cannot be read" in built.stderr
    assert built.stderr.splitlines()[-1].endswith("pairs: holds no pair, since every picture was left out")
    judged = call("eval", "--benchmark", "folder", "--root", "bolt", "--out", "run", cwd=tmp_path)
    assert judged.returncode == 1
    assert "a Git LFS pointer" in judged.stderr and "nothing was judged" in judged.stderr.splitlines()[-1]
    assert "Traceback" not in built.stderr + judged.stderr


def test_the_offline_teacher_knows_nothing_of_photographs(folder: Path) -> None:
    done = call("data", "sft", "mvtec", "--teacher", "offline", "--out", "offline", cwd=folder)
    assert done.returncode == 1
    assert "left out: 71 the offline teacher writes about MiniLOCO's pictures only" in done.stderr
    assert done.stderr.endswith("offline: no question was answered; the reasons are printed above\n")


def test_help_ends_with_an_example() -> None:
    for verb in ("sft", "pairs", "check", "export"):
        done = call("data", verb, "--help")
        assert done.returncode == 0
        assert f"Example: lad-reasoner data {'miniloco m' if verb in ('sft', 'pairs') else verb}" in done.stdout


def test_a_group_of_products_may_stand_beside_others(tmp_path: Path) -> None:
    """`evaluation,training` was no product, and the error suggested `evaluation`."""
    sizes = ("--draws", "1", "--per-class", "1", "--size", "64")
    done = call("data", "miniloco", tmp_path / "m", "--products", "bolt_plate,free", *sizes)
    assert done.returncode == 0, done.stderr
    drawn = {path.name for path in (tmp_path / "m").iterdir() if path.is_dir()}
    assert drawn == {"bolt_plate", "jars-0", "loose_parts-0", "lunch_tray-0", "sorting_box-0", "wiring-0"}


def answer(body: dict[str, Any], before: int) -> Act:
    """As a service does, with an answer now and then that must be asked for again."""
    text = body["messages"][0]["content"][1]["text"]
    bad = "Artifact type: none" not in text
    if len(body["messages"]) == 1 and "in detail" in text:
        said = {"anomalous": bad, "answer": "According to the hint this is a thing."}
    else:
        said = {"anomalous": bad, "answer": f"{'Yes, it is scratched' if bad else 'No, it is as it should be'}."}
    return Act("answer", json.dumps(said))


@pytest.mark.posix
def test_a_service_as_teacher_killed_and_resumed(tmp_path: Path) -> None:
    for i in range(40):
        draw(tmp_path / f"lamp/bad/{i}.png", i)
        draw(tmp_path / f"lamp/good/{i}.png", 100 + i)
    with ChatServer(answer) as server:
        flags = ["--teacher", server.url, "--teacher-model", "t", "--prices", "1,2", "--good-share", "0.5"]
        command = ["data", "sft", "lamp", "--out", "sft", *flags, "--concurrency", "2"]
        dry = call(*command, "--dry-run", cwd=tmp_path)
        assert dry.returncode == 0, dry.stderr
        assert "80 questions about 80 pictures, 0 of them answered on disk; 80 to ask" in dry.stdout
        assert not (tmp_path / "sft").exists()
        assert not server.came
        server.stop_at = 30
        process = subprocess.Popen([COMMAND, *command], cwd=tmp_path, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
        assert server.reached.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        paid = sum(1 for _ in (tmp_path / "sft/teacher.jsonl").read_text().splitlines())
        assert paid >= 25
        assert json.loads((tmp_path / "sft/manifest.json").read_text())["complete"] is False
        done = call(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        again = sum(count - 1 for count in server.paid.values())
    manifest = json.loads((tmp_path / "sft/manifest.json").read_text())
    assert (manifest["complete"], manifest["records"]) == (True, 80)
    assert manifest["answers_refused"]["mentions the hint"] > 0
    assert again <= 2  # what was between the server and the disk when the process was killed
    teacher = manifest["teacher"]
    total = 80 + manifest["answers_refused"]["mentions the hint"]
    assert teacher["paid"]["answers"] + teacher["recalled"]["answers"] == total
    assert teacher["recalled"]["answers"] >= paid - 1
    assert teacher["paid"]["cost"] > 0
    assert teacher["models"] == {"t-001": 80}, "the name that was asked is not always who answers"
    assert f"t: paid: {teacher['paid']['answers']} answers (" in done.stderr
    assert f"already in sft/teacher.jsonl: {teacher['recalled']['answers']} answers (" in done.stderr
    assert "hint" not in (tmp_path / "sft/metadata.jsonl").read_text()


def test_a_teacher_none_of_whose_answers_fits_is_not_asked_to_the_end(tmp_path: Path) -> None:
    for i in range(60):
        draw(tmp_path / f"lamp/bad/{i}.png", i)

    def useless(body: dict[str, Any], before: int) -> Act:
        return Act("answer", "I cannot look at pictures.")

    flags = ["--teacher-model", "t", "--concurrency", "2"]
    with ChatServer(useless) as server:
        command = ["data", "sft", "lamp", "--out", "sft", "--teacher", server.url, *flags]
        done = call(*command, cwd=tmp_path)
        assert 40 <= sum(server.paid.values()) <= 44  # two attempts at each of 20, and what was under way
        assert done.returncode == 1
        line = done.stderr.splitlines()[-1]
        assert line == (
            "lad-reasoner: t: none of its answers to the first 20 questions can be used (40 of 40 answers: no answer "
            "in the wanted form); give another --teacher-model with another --out; all answers are kept"
        )
        assert len((tmp_path / "sft/teacher.jsonl").read_text().splitlines()) == sum(server.paid.values())
        assert json.loads((tmp_path / "sft/manifest.json").read_text())["complete"] is False
        server.behave = answer  # as after a restart with another template
        done = call(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert set(server.paid.values()) == {1}
    assert json.loads((tmp_path / "sft/manifest.json").read_text())["records"] == 60


def test_a_complete_set_pays_again_for_refused_questions_only_where_told_to(tmp_path: Path) -> None:
    for i in range(6):
        draw(tmp_path / f"lamp/bad/{i}.png", i)

    def stubborn(body: dict[str, Any], before: int) -> Act:
        refused = "in detail" in body["messages"][0]["content"][1]["text"]
        return Act("answer", "I cannot say.") if refused else answer(body, before)

    with ChatServer(stubborn) as server:
        command = ["data", "sft", "lamp", "--out", "sft", "--teacher", server.url, "--teacher-model", "t"]
        assert call(*command, cwd=tmp_path).returncode == 0
        paid = len(server.bodies)
        done = call(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "were not asked again; --teacher-attempts N asks them" in done.stderr
        assert "left out: 1 the teacher's answer: no answer in the wanted form" in done.stderr
        assert len(server.bodies) == paid
        assert call(*command, "--teacher-attempts", "3", cwd=tmp_path).returncode == 0
        assert len(server.bodies) == paid + 3
        server.behave = answer
        done = call(*command, "--teacher-attempts", "3", cwd=tmp_path)
        assert "not asked again" not in done.stderr
        done = call(*command, cwd=tmp_path)
        assert "not asked again" not in done.stderr, "nothing is left"
    assert json.loads((tmp_path / "sft/manifest.json").read_text())["complete"] is True


def test_a_set_that_a_budget_ended_pays_for_no_refused_question_twice(tmp_path: Path) -> None:
    """Each start paid for them again, until the set was complete."""
    for i in range(12):
        draw(tmp_path / f"lamp/bad/{i}.png", i)

    refused: set[str] = set()

    def stubborn(body: dict[str, Any], before: int) -> Act:
        question = json.dumps(body["messages"][0])
        if len(server.bodies) in (3, 5, 7):
            refused.add(question)
        text = json.dumps({"anomalous": True, "answer": "Yes, it is scratched."})
        return Act("answer", "I cannot say." if question in refused else text)

    with ChatServer(stubborn, usage={"prompt_tokens": 1_000_000, "completion_tokens": 0}) as server:
        command = ["data", "sft", "lamp", "--out", "sft", "--teacher", server.url, "--teacher-model", "t"]
        command += ["--concurrency", "1", "--prices", "1,1", "--budget"]
        for budget in ("9", "11", "13", "40"):
            done = call(*command, budget, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "whose answers an earlier run refused were not asked again; --teacher-attempts N asks" in done.stderr
        assert sum(server.paid.values()) == len(server.bodies) == 15, "three questions were asked twice, nine once"
        assert call(*command, "40", "--teacher-attempts", "1", cwd=tmp_path).returncode == 0
        assert len(server.bodies) == 18


def test_a_budget_that_is_spent_leaves_the_rest_for_later(tmp_path: Path) -> None:
    for i in range(30):
        draw(tmp_path / f"lamp/bad/{i}.png", i)
    with ChatServer(answer, usage={"prompt_tokens": 1_000_000, "completion_tokens": 0}) as server:
        command = ["data", "sft", "lamp", "--out", "sft", "--teacher", server.url, "--teacher-model", "t"]
        command += ["--teacher-attempts", "3", "--teacher-temperature", "0.3", "--teacher-tokens", "700"]
        command += ["--teacher-timeout", "60", "--teacher-patience", "90"]
        poor = call(*command, "--prices", "1,1", "--budget", "5", "--concurrency", "1", cwd=tmp_path)
        assert poor.returncode == 1
        assert (
            "26 questions are still to be asked; run the same command again, with a larger --budget" in poor.stderr
        )  # one was asked twice
        assert "the budget was spent" in poor.stderr
        assert sum(server.paid.values()) == 5
        assert {(body["temperature"], body["max_completion_tokens"]) for body in server.bodies} == {(0.3, 700)}
        rich = call(*command, "--prices", "1,1", "--budget", "100", "--concurrency", "1", cwd=tmp_path)
        assert rich.returncode == 0, rich.stderr
        assert max(server.paid.values()) == 1
    assert json.loads((tmp_path / "sft/manifest.json").read_text())["records"] == 30
