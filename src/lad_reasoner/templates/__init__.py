"""HTML pages (Jinja templates that extend `base.html`) and cards in Markdown, rendered.

    render_page("gallery.html", title="a <b>", picture_uris=[picture_uri(image, "JPEG", quality=82)], …)

A page is one file, nothing is loaded from elsewhere, and all values are escaped: what a model wrote stays text. The
review page of data/review and the reports of report/ extend one base, so the templates stand below both rooms.
"""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader

_PACKAGE = PackageLoader("lad_reasoner")
_ENVIRONMENT = Environment(loader=_PACKAGE, autoescape=True)
_MARKDOWN = Environment(loader=_PACKAGE, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)


def render_page(template: str, **values: Any) -> str:
    """The page as a string; `picture_uris` are the pictures that it shows as backgrounds, "" for a missing one."""
    return _ENVIRONMENT.get_template(template).render(values)


def render_markdown(template: str, **values: Any) -> str:
    """A card as a string; nothing is escaped, and lines of Jinja's statements leave no trace."""
    return _MARKDOWN.get_template(template).render(values)
