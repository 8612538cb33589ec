"""Builds wheel and sdist, and tries both as a new user would: `make release`.

    python .ci/release.py                     # needs the package `build`

The wheel is installed into a fresh environment, without an extra; `lad-reasoner demo` runs there in an empty folder,
with no file of this repository in reach. The sdist must give the same wheel.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
MOST_MEGABYTES = 40  # far more than the README states: something was packed that does not belong there


def run(*words: object, folder: Path = ROOT) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([str(word) for word in words], cwd=folder, env=environment, check=True)


def contents(wheel: Path) -> dict[str, str]:
    """The files of a wheel with the hashes of their contents."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def main() -> None:
    for old in DIST.glob("lad_reasoner-*"):
        old.unlink()
    run(sys.executable, "-m", "build", "--sdist", "--wheel", "--outdir", DIST)  # both from the tree
    (wheel,) = DIST.glob("*.whl")
    (sdist,) = DIST.glob("*.tar.gz")
    megabytes = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {megabytes:.1f} MB, {sdist.name}: {sdist.stat().st_size / 1e6:.1f} MB", flush=True)
    if megabytes > MOST_MEGABYTES:
        sys.exit(f"{wheel.name}: {megabytes:.1f} MB, more than {MOST_MEGABYTES} MB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "again", sdist)
        (again,) = (folder / "again").glob("*.whl")
        if contents(again) != contents(wheel):
            sys.exit("the sdist gives another wheel than the repository")
        venv.create(folder / "fresh", with_pip=True)
        scripts = folder / "fresh" / ("Scripts" if sys.platform == "win32" else "bin")
        start = time.monotonic()
        run(scripts / "python", "-m", "pip", "install", "--quiet", wheel)
        installed = sum(path.stat().st_size for path in (folder / "fresh").rglob("*") if path.is_file())
        print(f"installed after {time.monotonic() - start:.0f} s: {installed / 1e6:.0f} MB", flush=True)
        told = re.search(r"all that is installed comes to (\d+) MB", " ".join((ROOT / "README.md").read_text().split()))
        if not told or abs(installed / 1e6 - int(told[1])) > 0.1 * int(told[1]):
            sys.exit("README.md says otherwise of what is installed")
        run(scripts / "lad-reasoner", "--version", folder=folder)
        run(scripts / "lad-reasoner", "demo", folder=folder)
        if not (folder / "runs/demo/report.html").is_file():
            sys.exit("the demo wrote no report")
        print(f"first verdicts after {time.monotonic() - start:.0f} s", flush=True)


main()
