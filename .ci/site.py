"""The documentation site beyond MkDocs: `make docs`, checked strictly by `make check`.

It adds pages that are generated from the code (every verb, key and record) and pages that lie outside docs/, turns
links to files of the repository into plain names, shows a page's title where a link shows its file's name, and draws
equations as SVG: no page loads anything from elsewhere.
"""

from __future__ import annotations

import base64
import html
import io
import logging
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OUTSIDE = {
    "changelog.md": ROOT / "CHANGELOG.md",
    "contributing.md": ROOT / "CONTRIBUTING.md",
    "licences.md": ROOT / "LICENCES.md",
    "security.md": ROOT / "SECURITY.md",
    "model-card.md": ROOT / "src/lad_reasoner/weights/README.md",
}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(`[^`\n]+`)")
INLINE_CODE = re.compile(r"(?<=<code>)[^<]*(?=</code>)")
WORD = re.compile(r"\S*[-/?]\S*")  # in which browsers break lines
SHORT = 30  # characters of a word that fits on the narrowest screen

logging.getLogger("matplotlib").setLevel(logging.ERROR)


def on_config(config: Any) -> Any:
    """Leave out of the navigation the pages of OUTSIDE that are not there."""
    config.nav = [entry for entry in map(_existing, config.nav) if entry]
    return config


def _existing(entry: Any) -> Any:
    if isinstance(entry, dict):
        ((title, content),) = entry.items()
        if isinstance(content, str):
            return entry if _existing(content) else None
        return {title: [each for each in map(_existing, content) if each]}
    path = OUTSIDE.get(entry)
    return entry if path is None or path.is_file() else None


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages and those from outside docs/."""
    for name, path in OUTSIDE.items():
        if path.is_file():
            files.append(File.generated(config, name, content=path.read_text(encoding="utf-8")))
    for name, write in GENERATED.items():
        files.append(File.generated(config, name, content=write()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links and equations of one page; code is left alone."""
    home = OUTSIDE.get(page.file.src_uri, DOCS / page.file.src_uri)
    titles = _titles(config.nav)
    parts = []
    for block in FENCE.split(markdown):
        if block.startswith("```"):
            parts.append(block)
            continue
        linked = LINK.sub(lambda match: _link(match, home, page.file.src_uri, titles), block)
        parts += [part if part.startswith("`") else _equations(part) for part in CODE.split(linked)]
    return "".join(parts)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Words in code stay whole, such as `--normal`; long paths may still be broken."""
    return INLINE_CODE.sub(lambda code: WORD.sub(_keep_whole, code[0]), html)


def _keep_whole(word: re.Match[str]) -> str:
    return f'<span class="word">{word[0]}</span>' if len(word[0]) <= SHORT else word[0]


def on_post_template(output: str, template_name: str, config: Any) -> str:
    """The page 404, whose script may not load."""
    return _name_search(output)


def on_post_page(output: str, page: Any, config: Any) -> str:
    return _name_search(output)


def _name_search(output: str) -> str:
    """Names of the search for who does not see it: where the page is served, its script shows it before it names it."""
    dialog, toggle = 'data-md-component="search" role="dialog"', 'type="checkbox" id="__search"'
    for part in (dialog, toggle):
        output = output.replace(part, f'{part} aria-label="Search"')
    return output


def _titles(entries: list[Any]) -> dict[str, str]:
    """Page -> its title in the navigation."""
    titles = {}
    for entry in entries:
        for title, content in entry.items():
            titles |= {content: title} if isinstance(content, str) else _titles(content)
    return titles


def _link(match: re.Match[str], home: Path, page: str, titles: dict[str, str]) -> str:
    """A link between pages of the site, which has the page's title in place of a file's name.

    A link to another file of the repository becomes the text alone.
    """
    text, target, anchor = match[1], match[2], match[3] or ""
    path = (home.parent / target).resolve()
    names = {outside: name for name, outside in OUTSIDE.items()}
    if path in names:
        name = names[path]
    elif path == ROOT / "README.md":
        name, anchor = "index.md", ""
    elif path.is_relative_to(DOCS):
        name = path.relative_to(DOCS).as_posix()
    elif target in GENERATED or not path.exists():
        return match[0]
    else:
        return text
    if text.endswith(".md"):  # in the repository, where it helps
        text = titles.get(name, text)
    return f"[{text}]({'../' * page.count('/')}{name}{anchor})"


def _equations(text: str) -> str:
    text = re.sub(
        r"^\$\$(.+?)\$\$$", lambda match: f'<p class="equation">{_draw(match[1])}</p>', text, flags=re.MULTILINE
    )
    return re.sub(r"\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\d)", lambda match: _draw(match[1]), text)


@cache
def _draw(equation: str) -> str:
    """An equation as a picture, drawn by matplotlib's mathtext; its TeX is the text for who does not see it."""
    from matplotlib import mathtext, rc_context

    # What mathtext spells in another way.
    shown = re.sub(r"\\frac1(?=[{G])", r"\\frac{1}", equation).replace("{1}G", "{1}{G}").replace("…", r"\ldots ")
    picture = io.BytesIO()
    style = {"svg.fonttype": "path", "svg.hashsalt": "site", "mathtext.fontset": "stix", "font.size": 12}
    with rc_context({**style, "savefig.transparent": True}):  # in the dark its black ink is turned to white
        depth = mathtext.math_to_image(f"${shown}$", picture, format="svg", dpi=72)
    data = base64.b64encode(picture.getvalue()).decode()
    label, down = html.escape(equation, quote=True), f"vertical-align: -{depth * 4 / 3:.1f}px"
    return f'<img class="tex" style="{down}" alt="{label}" src="data:image/svg+xml;base64,{data}">'


def write_cli() -> str:
    """Every verb with its --help, and every judge with its options."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from lad_reasoner.cli.app import app
    from lad_reasoner.judges import JUDGES, LOADERS, import_loader, loader_options

    lines = [
        "# Command line",
        "",
        "Generated from `--help`. Exit codes: 0 done, 1 the input or the machine is at fault,",
    ]
    lines += [
        "2 wrong usage, 3 an anomaly was found, 4 none and some parts are unsure (only with `--fail-on-anomaly`).",
        "",
    ]
    runner = CliRunner(env={"COLUMNS": "100", "TERM": "dumb"})
    for words in _verbs(get_command(app)):
        result = runner.invoke(app, [*words, "--help"], prog_name="lad-reasoner")
        lines += [f"## {' '.join(words)}", "", "```text", result.output.rstrip(), "```", ""]
    lines += ["## Judges and their options", "", "`lad-reasoner judges` prints this list.", ""]
    lines += ["| `--model` | `-M key=value` |", "|---|---|"]
    for name in (*JUDGES, *LOADERS):
        keys = [key for key in loader_options(import_loader(name)) if key != "benchmark"]
        lines.append(f"| `{name}` | {', '.join(f'`{key}`' for key in keys)} |")
    return "\n".join(lines) + "\n"


def _verbs(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in group.list_commands(None):  # as `--help` has them
        command = group.commands[name]
        if hasattr(command, "commands"):
            yield from _verbs(command, (*path, name))
        else:
            yield (*path, name)


def write_keys() -> str:
    """Every key of a training config."""
    from lad_reasoner.train.fields import describe_keys
    from lad_reasoner.train.grpo import GrpoSettings
    from lad_reasoner.train.settings import TRL, TrainSettings

    lines = [
        "# Keys of a training config",
        "",
        "Generated from the code. Beside these keys a config holds any field of TRL's",
    ]
    lines += ["`SFTConfig` or `GRPOConfig` under its own name; each key may follow CONFIG as `--key value`.", ""]
    common = {key for key, _, _ in describe_keys(TrainSettings)}
    for title, model, left_out in (("Both stages", TrainSettings, set()), ("GRPO", GrpoSettings, common)):
        lines += [f"## {title}", "", "| key | default | |", "|---|---|---|"]
        for key, default, text in describe_keys(model):
            if key not in left_out:
                lines.append(f"| `{key}` | {f'`{default}`' if default else 'required'} | {text} |")
        lines.append("")
    lines += ["## Refused, since they would have no effect", "", "| key | instead |", "|---|---|"]
    for stage in TRL["without_effect"].values():
        lines += [f"| `{key}` | {text} |" for key, text in stage.items()]
    return "\n".join(lines) + "\n"


def write_records() -> str:
    """Every record that is written as JSON."""
    from lad_reasoner import records
    from lad_reasoner.evaluation.run import RunMetrics, Settings

    written = {
        "a line of `inspect --json`, of verdicts.jsonl, and of `inspect --ray`": records.ResultLine,
        "a line of predictions.jsonl": records.Prediction,
        "settings.json of a run": Settings,
        "metrics.json of a run": RunMetrics,
    }
    lines = ["# JSON", "", "Generated from the records of the code. Fields may be added; none is renamed.", ""]
    lines += ["| where | record |", "|---|---|"]
    schemas: dict[str, Any] = {}
    for place, model in written.items():
        schema = model.model_json_schema(mode="serialization")
        schemas |= {model.__name__: schema, **schema.get("$defs", {})}
        lines.append(f"| {place} | {_schema_name(schema)} |")
    return "\n".join(lines + _describe_schemas(schemas)) + "\n"


def write_rest() -> str:
    """Every route of the server of stations, and what it takes and answers."""
    from types import SimpleNamespace
    from typing import cast

    from lad_reasoner.service.api import create_app, require_engineer
    from lad_reasoner.service.runtime import Runtime

    # Routes are described without a station and without a judge.
    app = create_app(cast(Runtime, SimpleNamespace(stations={}, listeners=[], queue=())))
    described = app.openapi()
    schemas: dict[str, Any] = described["components"]["schemas"]
    engineers = {
        (method, route.path)
        for route in app.routes
        if hasattr(route, "dependant")
        for method in route.methods
        if require_engineer in (each.call for each in route.dependant.dependencies)
    }
    lines = [
        "# REST",
        "",
        "Generated from the code of `lad-reasoner serve`, which answers the same as JSON at `/openapi.json`.",
    ]
    lines += ["[Serve stations](../serve.md) has examples, keys and the meaning of each status.", ""]
    lines += ["| route, and what it does | role | takes | answers |", "|---|---|---|---|"]
    bodies: dict[str, Any] = {}
    for path, routes in described["paths"].items():
        for method, route in routes.items():
            body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            if "title" in body:
                bodies |= {body["title"]: body, **body.get("$defs", {})}
            done = next(content for status, content in route["responses"].items() if status.startswith("2"))
            ((kind, content),) = done.get("content", {"": {}}).items()
            is_json = kind == "application/json"
            answer = _schema_name(content.get("schema", {})) if is_json else f"`{kind}`" if kind else ""
            role = "engineer" if (method.upper(), path) in engineers else ""
            queries = [f"`?{each['name']}=`" for each in route.get("parameters", ()) if each["in"] == "query"]
            takes = " ".join([*filter(None, [_schema_name(body)]), *queries])
            described_route = " ".join(route["description"].split())
            call = f"`{method.upper()}` `{path}`"
            lines.append(f"| {call}<br>{described_route} | {role} | {takes} | {answer} |")
    return "\n".join(lines + _describe_schemas(dict(sorted((bodies | schemas).items())))) + "\n"


def _describe_schemas(schemas: dict[str, Any]) -> list[str]:
    """A section for each JSON schema: what it is, and its fields."""
    lines = []
    for name, schema in schemas.items():
        lines += ["", f"## {name}", "", schema.get("description", "").replace("None", "null"), ""]
        if "properties" not in schema:
            lines.append(_schema_name(schema))
            continue
        texts = {field: content.get("description", "") for field, content in schema["properties"].items()}
        if name.endswith("Form"):  # what a client sends
            texts |= {field: f"required. {texts[field]}".strip() for field in schema.get("required", ())}
        has_texts = any(texts.values())
        lines += ["| field | type | meaning |", "|---|---|---|"] if has_texts else ["| field | type |", "|---|---|"]
        for field, text in texts.items():
            kind = _schema_name(schema["properties"][field])
            lines.append(f"| `{field}` | {kind} |" + (f" {text} |" if has_texts else ""))
    return lines


def _schema_name(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words, with a link to the record that it names."""
    if "$ref" in schema or "properties" in schema:
        name = schema.get("$ref", schema.get("title", "")).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]) if value != "")
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(filter(None, map(_schema_name, schema[key])))
    if schema.get("type") == "array":
        kinds = dict.fromkeys(each["type"] for each in schema.get("prefixItems", ()))  # of a list of fixed length
        return f"list of {_schema_name(schema.get('items') or {'type': ' or '.join(kinds)})}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_schema_name(schema['additionalProperties'])}"
    return str(schema.get("type", ""))


GENERATED: dict[str, Callable[[], str]] = {
    "reference/cli.md": write_cli,
    "reference/config.md": write_keys,
    "reference/json.md": write_records,
    "reference/rest.md": write_rest,
}
