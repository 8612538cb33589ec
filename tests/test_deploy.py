"""The files of deploy/: well-formed, unprivileged, and in step with the command line."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from helpers.command_line import COMMAND, run
from lad_reasoner.errors import require

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
SHORTEST_STOP = 10  # seconds: the watcher delivers for five, after the picture at hand


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = require("yaml", "train").safe_load((DEPLOY / "compose.yaml").read_text())[
        "services"
    ]
    return found


def unit(path: Path) -> dict[str, str]:
    """The settings of a unit; the last of each name."""
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("name", ["serve", "watch"])
def test_the_containers_may_do_little(name: str) -> None:
    service = services()[name]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["stop_grace_period"].removesuffix("s")) >= SHORTEST_STOP
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_the_image_runs_as_a_user_and_copies_what_is_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    stages = text.split("\nFROM ")
    assert re.search(r"^USER 10001:10001$", stages[-1], re.MULTILINE)
    assert "HEALTHCHECK" in stages[-1]
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {project["readme"], *project["license-files"]} <= set(copied)
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{Path(name)}" in kept, name


def test_the_servers_health_is_asked_alike_with_and_without_compose() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    asked = re.search(r"^HEALTHCHECK (.*) \\\n  CMD (.*)$", text, re.MULTILINE)
    assert asked is not None
    times = dict(word.removeprefix("--").split("=") for word in asked[1].split())
    health = {name.replace("_", "-"): str(value) for name, value in services()["serve"]["healthcheck"].items()}
    assert services()["serve"]["healthcheck"]["test"] == ["CMD", *json.loads(asked[2])]
    assert {name: health[name] for name in times} == times


@pytest.mark.parametrize(
    ("extras", "indexes"), [("serve,plant,hosted", []), ("hf", ["I"]), ("serve,hf", ["I"]), ("hf,serve", ["I"])]
)
def test_the_index_of_pytorch_is_asked_for_pytorch_alone(extras: str, indexes: list[str], tmp_path: Path) -> None:
    """Not everybody reaches it, and pip would ask it for each package."""
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\necho "$@" >> calls\n')
    pip.chmod(0o755)
    text = (DEPLOY / "Dockerfile").read_text()
    runs = [run for run in re.findall(r"^RUN ((?:.*\\\n)*.*)$", text, re.MULTILINE) if "pip" in run]
    assert runs
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "EXTRAS": extras, "TORCH_INDEX": "I"}
    for command in runs:
        subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, env=environment, check=True)
    *special, package = (tmp_path / "calls").read_text().splitlines()
    assert package.endswith(f" .[{extras}]") and "index" not in package
    assert [re.search(r"--index-url (\S+) --no-deps torch$", call)[1] for call in special] == indexes  # type: ignore[index]


@pytest.mark.posix
def test_the_image_compiles_what_no_container_may_write(tmp_path: Path) -> None:
    """The official image of Python comes without compiled modules; here its library is a folder with three."""
    for name in ("json.py", "email/mime.py", "test/bad.py"):
        (tmp_path / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib" / name).write_text("not Python" if "bad" in name else "x = 1")
    (tmp_path / "python").write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && echo "{tmp_path}/lib" && exit\nexec "{sys.executable}" "$@"\n'
    )
    (tmp_path / "python").chmod(0o755)
    last = (DEPLOY / "Dockerfile").read_text().split("\nFROM ")[-1]
    (compiles,) = [run for run in re.findall(r"^RUN ((?:.*\\\n)*.*)$", last, re.MULTILINE) if "compileall" in run]
    assert last.index(compiles) < last.index("\nUSER ")
    subprocess.run(["/bin/sh", "-c", compiles], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)
    compiled = {path.name.partition(".")[0] for path in (tmp_path / "lib").rglob("*.pyc")}
    assert compiled == {"json", "mime"}


def test_compose_takes_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    done = subprocess.run(
        [docker, "compose", "-f", DEPLOY / "compose.yaml", "config", "--quiet"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_watchers_health_is_the_age_of_its_file(tmp_path: Path) -> None:
    *_, code = services()["watch"]["healthcheck"]["test"]
    code = code.replace("/stations/lamp/watch", str(tmp_path))
    python = Path(COMMAND).with_name("python")
    assert subprocess.run([python, "-c", code]).returncode == 1, "nothing is there yet"
    alive = tmp_path / "incoming-1a2b3c4d.alive"
    alive.touch()
    assert subprocess.run([python, "-c", code]).returncode == 0

    os.utime(alive, (0, 0))
    assert subprocess.run([python, "-c", code]).returncode == 1


def test_commands_are_those_of_the_command_line() -> None:
    commands = [[str(word) for word in service["command"]] for service in services().values()]
    for path in UNITS:
        program, *words = shlex.split(unit(path)["ExecStart"])
        assert program.endswith("/bin/lad-reasoner")
        commands.append(words)
    sinks = re.search(r"^# SINKS=(.*)$", (DEPLOY / "lad-reasoner-watch@.service").read_text(), re.MULTILINE)
    assert sinks is not None
    commands.append(["watch", *sinks[1].split()])
    usages = {verb: run(verb, "--help").stdout for verb in {words[0] for words in commands}}
    for verb, *words in commands:
        for word in words:
            assert not word.startswith("--") or word in usages[verb], (verb, word)


def test_variables_of_the_compose_file_are_read() -> None:
    source = "".join(path.read_text() for path in (ROOT / "src/lad_reasoner").rglob("*.py"))
    page = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    for variable in {*services()["watch"]["environment"], *services()["serve"]["environment"]}:
        assert f'"{variable}"' in source
        assert f"`{variable}`" in page


@pytest.mark.parametrize("name", ["serve", "watch"])
def test_logs_of_containers_have_an_end_and_models_elsewhere_can_be_named(name: str) -> None:
    """Docker keeps a log for ever; and a station whose judge is a service could not be run in a container."""
    service = services()[name]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert {"LAD_TRUSTED", "LAD_SERVER_KEY"} <= service["environment"].keys()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: str(path.stem))
def test_the_units_are_valid_and_may_do_little(path: Path, tmp_path: Path) -> None:
    settings = unit(path)
    assert settings["User"] == "lad-reasoner"
    assert settings["CapabilityBoundingSet"] == ""
    assert settings["ProtectSystem"] == "strict"
    assert settings["SuccessExitStatus"] == "143"  # SIGTERM before the server or the watcher runs
    assert int(settings["TimeoutStopSec"]) >= SHORTEST_STOP
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    # The program of this environment, since none is installed where the unit expects it.
    copy = tmp_path / path.name.replace("@", "@lamp")
    copy.write_text(path.read_text().replace("/opt/lad-reasoner/bin/lad-reasoner", COMMAND))
    done = subprocess.run([analyze, "verify", "--man=no", copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert path.name.partition(".")[0].partition("@")[0] not in done.stderr, done.stderr
