"""The browser of the page tests, axe, which finds what some people cannot use, and a text that a page must not run."""

import json
import shutil
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from playwright.sync_api import Browser, Page, Playwright

AXE = files("axe_playwright_python") / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

EVIL = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"


def launch(playwright: Playwright, *flags: str) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *flags])


def watch(page: Page) -> list[str]:
    """The list that the page's errors go to, as they happen."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    return complaints


def axe_faults(page: Page, rules: Sequence[str] = ()) -> list[list[str]]:
    """[rule, impact, the first element] of each fault that axe finds on the page, by all rules or by these."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    # What passed is not described; no stylesheet is fetched again, which only rules that axe has off by default need.
    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if rules:
        options["runOnly"] = list(rules)
    run = f"axe.run({json.dumps(options)})"
    found = f"{run}.then(found => found.violations.map(each => [each.id, each.impact, each.nodes[0].html]))"
    faults: list[list[str]] = page.evaluate(found)
    return faults
