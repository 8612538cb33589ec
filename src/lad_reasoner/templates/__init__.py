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


def made_with(boundary: float | None = 0.5) -> str:
    """The last line of a report: version, date, the boundary of the score, and the command where there was one."""
    parts = [f"LAD-Reasoner {__version__}", date.today().isoformat()]
    if boundary is not None:
        parts.append(f"anomalous from a score of {boundary:g} on")
    program = Path(sys.argv[0])
    if program.stem == "lad-reasoner" or program.parts[-2:] == ("lad_reasoner", "__main__.py"):
        command = shlex.join(["lad-reasoner", *sys.argv[1:]])
        parts.append(re.sub(r"//[^/@\s]+@", "//…@", command))  # a name and a password in an address
    return " · ".join(parts)


def render_markdown(template: str, **values: Any) -> str:
    """A card as a string; nothing is escaped, and lines of Jinja's statements leave no trace."""
    return _MARKDOWN.get_template(template).render(values)
