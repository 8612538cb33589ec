"""Makes the pictures of the README and the docs anew, from the product as it is: `make pictures`.

    docs/report.png     the report of the demo
    docs/station.png    the page of a station, with an anomalous part
    docs/page.gif       the same page at work: parts come from the line, the history, the limit

Needs Chromium, which it drives without a window. It is run by hand after a change of a page; look at what it made.
"""

import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MOST_BYTES = 1_000_000  # of the animated picture
GOOD = "pictures/circuit_board/test/good"
PARTS = (f"{GOOD}/021.png", f"{GOOD}/022.png", "pictures/circuit_board/test/logical_anomalies/011.png")
CREATE = [
    *("station", "create", "--references", "pictures/circuit_board/train/good/00[0-3].png"),
    *("--normal", f"{GOOD}/0[01]?.png", "--max-false-alarms", "0.05", "-o", "board"),
]
BRIEF, LONG = 1400, 2600  # milliseconds


def command(folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "lad_reasoner", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def picture_report(browser: Browser, folder: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 760})
    page.goto((folder / "runs/demo/report.html").as_uri())
    page.fill("#search", "swapped")
    page.locator("#search").blur()
    page.wait_for_timeout(300)
    page.screenshot(path=DOCS / "report.png")
    page.close()


def wait_for_server(process: subprocess.Popen[str]) -> str:
    """The address that the server prints."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"serving at (http://\S+)", line):
            return found[1]
    raise SystemExit("the server of the station did not start")


def picture_station(browser: Browser, folder: Path) -> None:
    serve = [sys.executable, "-m", "lad_reasoner", "serve", "board", "--port", "0"]
    process = subprocess.Popen(serve, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        address = wait_for_server(process)
        page = browser.new_page(viewport={"width": 1000, "height": 700}, base_url=address)
        page.goto("/stations/board")
        frames = [(page.screenshot(), BRIEF)]
        for number, part in enumerate(PARTS, 4709):
            inspect(page, folder / part, str(number))
            frames.append((page.screenshot(), BRIEF if "good" in part else LONG))
        page.screenshot(path=DOCS / "station.png")
        for path in ("history", "zones", "limit"):
            page.goto(f"/stations/board/{path}")
            page.wait_for_timeout(300)
            frames.append((page.screenshot(), LONG))
        page.close()
    finally:
        process.terminate()
        process.wait()
    animate(frames, DOCS / "page.gif")


def inspect(page: Page, picture: Path, part: str) -> None:
    """Choose a picture, and wait until its verdict is drawn."""
    page.get_by_label("part number").fill(part)
    page.get_by_label("drop or choose a picture").set_input_files(picture)
    page.get_by_role("button", name="Inspect").click()
    page.locator("#verdict .part", has_text=part).wait_for()
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_load_state("networkidle")


def animate(frames: list[tuple[bytes, int]], path: Path) -> None:
    """A GIF of (PNG, milliseconds) that is played twice and then stands still."""
    pictures = []
    for content, _ in frames:
        with Image.open(io.BytesIO(content)) as shot:
            small = shot.convert("RGB").resize((800, 560), Image.Resampling.LANCZOS)
        pictures.append(small.quantize(128, dither=Image.Dither.NONE))
    durations = [milliseconds for _, milliseconds in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=1, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{path}: {path.stat().st_size} bytes, more than {MOST_BYTES}")


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Chromium is missing; install it with the system's package manager")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        command(folder, "demo")
        command(folder, "data", "miniloco", "pictures", "--products", "circuit_board", "--per-class", "24")
        command(folder, *CREATE)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        picture_report(browser, folder)
        picture_station(browser, folder)
        browser.close()
    for path in ("report.png", "station.png", "page.gif"):
        print(f"docs/{path}: {(DOCS / path).stat().st_size / 1000:.0f} kB")
    print(f"after {time.monotonic() - start:.0f} s")


main()
