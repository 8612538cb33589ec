"""The documentation site is built strictly, has every key, and loads nothing from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from lad_reasoner.cli.app import app
from lad_reasoner.train.grpo import GrpoSettings

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_site(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix(): path for path in (tmp_path / "site").rglob("*.html")}
    for name, path in pages.items():
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"?(https?:[^\" >]+)", text)
        loaded += re.findall(r"<link[^>]*rel=\"?(?:stylesheet|preconnect)\"?[^>]*href=\"?(https?:[^\" >]+)", text)
        assert not loaded, name
        assert "$\\" not in re.sub(r"<(code|pre).*?</\1>", "", text, flags=re.DOTALL), (
            f"{name}: an equation is not drawn"
        )
    keys = pages["reference/config.html"].read_text(encoding="utf-8")
    assert all(f"<code>{key}</code>" in keys for key in GrpoSettings.model_fields)
    verbs = pages["reference/cli.html"].read_text(encoding="utf-8")
    assert all(name in verbs for name in get_command(app).commands)
