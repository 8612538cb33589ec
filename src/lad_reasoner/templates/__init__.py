"""HTML pages (Jinja templates that extend `base.html`) and cards in Markdown, rendered.

    render_page("gallery.html", title="a <b>", picture_uris=[picture_uri(image, "JPEG", quality=82)], …)

A page is one file, nothing is loaded from elsewhere, and all values are escaped: what a model wrote stays text. The
review page of data/review and the reports of report/ extend one base, so the templates stand below both rooms.
"""

from __future__ import annotations

import re
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from lad_reasoner.version import __version__

_PACKAGE = PackageLoader("lad_reasoner")
_ENVIRONMENT = Environment(loader=_PACKAGE, autoescape=True)
_MARKDOWN = Environment(loader=_PACKAGE, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)


def render_page(template: str, **values: Any) -> str:
    """The page as a string; `picture_uris` are the pictures that it shows as backgrounds, "" for a missing one."""
    return _ENVIRONMENT.get_template(template).render(values)


def made_with(limit: float | None = 0.5, unsure_from: float | None = None, command: str | None = None) -> str:
    """The last line of a page: version, date, the limits of the score, and the command (by default this process's)."""
    parts = [f"LAD-Reasoner {__version__}", date.today().isoformat()]
    if limit is not None:
        parts.append(f"limit of the score {limit:.4g}")
    if unsure_from is not None:
        parts.append(f"unsure above {unsure_from:.4g}")
    command = command_line() if command is None else command
    return " · ".join([*parts, *filter(None, [command])])


def command_line() -> str:
    """The command that runs, without a password in an address; empty in a program that is not ours."""
    program = Path(sys.argv[0])
    if program.stem != "lad-reasoner" and program.parts[-2:] != ("lad_reasoner", "__main__.py"):
        return ""
    return re.sub(r"//[^/@\s]+@", "//…@", shlex.join(["lad-reasoner", *sys.argv[1:]]))


def render_markdown(template: str, **values: Any) -> str:
    """A card as a string; nothing is escaped, and lines of Jinja's statements leave no trace."""
    return _MARKDOWN.get_template(template).render(values)
