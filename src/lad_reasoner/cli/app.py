"""The command line: verb -> function. Heavy imports stay inside the verbs, so that `--help` answers at once.

Results go to stdout, all else to stderr. Exit codes: 0 done, 1 the input or the machine is at fault (one line, no
traceback), 2 wrong usage, 3 all done and an anomaly was found (only with --fail-on-anomaly), 4 the same with none
anomalous and some unsure (only of a station), 130 and 143 stopped by Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperArgument, TyperGroup
from typer.exceptions import TyperException

from lad_reasoner.cli.completion import PROGRAM, completion_verb, prepare_completion
from lad_reasoner.cli.data import data
from lad_reasoner.cli.demo import demo_verb
from lad_reasoner.cli.environment import env_verb
from lad_reasoner.cli.evaluate import compare_verb, eval_verb, report_verb
from lad_reasoner.cli.export import export_verb
from lad_reasoner.cli.inspect import inspect_verb
from lad_reasoner.cli.judges import judges_verb
from lad_reasoner.cli.options import EXIT_INPUT
from lad_reasoner.cli.serve import key_verb, serve_verb
from lad_reasoner.cli.server import server
from lad_reasoner.cli.station import station
from lad_reasoner.cli.train import train
from lad_reasoner.cli.unquoted import describe_extra_words
from lad_reasoner.cli.watch import watch_verb
from lad_reasoner.errors import LadError
from lad_reasoner.text import ShownFormatter
from lad_reasoner.text import print_shown as print

# In the order of `lad-reasoner --help`: the main job first.
ORDER = (
    *("inspect", "demo", "station", "serve", "watch", "eval", "report", "compare", "data", "train"),
    *("judges", "server", "export", "key", "env", "completion"),
)


class _Argument(TyperArgument):
    """An argument whose help reads as it is typed: `QUERY...`, where Typer adds `{}` and the types of Python."""

    def display_type_rich(self, ctx: Any) -> None:
        return None

    def _usage_display_name(self) -> str:
        name = str(self.metavar).removesuffix("...") + ("..." if self.nargs != 1 else "")
        return name if self.required else f"[{name}]"


def _make_plain(command: Any) -> None:
    for parameter in command.params:
        if isinstance(parameter, TyperArgument):
            parameter.__class__ = _Argument  # Typer takes no class of ours
    for verb in getattr(command, "commands", {}).values():
        _make_plain(verb)


class _VerbsInOrder(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        _make_plain(self)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; a wrong use that the shell has a part in says so."""
        try:
            return super().invoke(ctx)
        except TyperException as error:
            if hasattr(error, "message"):
                error.message = error.message.removeprefix("Value error, ")
            if "unexpected extra argument" in str(getattr(error, "message", "")):
                error.message = describe_extra_words(sys.argv[1:]) or error.message
            raise

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=ORDER.index)


app = typer.Typer(
    cls=_VerbsInOrder,
    help="Logical anomaly detection that reasons in plain words.",
    epilog="Start: lad-reasoner inspect --reference good.png query.png",
    context_settings={"help_option_names": ["-h", "--help"]},  # of all verbs
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# Verb -> its function, and the example at the end of its --help.
VERBS: dict[str, tuple[Callable[..., None], str]] = {
    "inspect": (inspect_verb, "lad-reasoner inspect --reference good.png --out report/ query1.png query2.png folder/"),
    "demo": (demo_verb, "lad-reasoner demo --out runs/demo"),
    "eval": (eval_verb, "lad-reasoner eval --benchmark miniloco --model random --limit 20 --out runs/r"),
    "report": (report_verb, "lad-reasoner report runs/r"),
    "compare": (compare_verb, "lad-reasoner compare runs/random runs/pixels --out runs/comparison"),
    "watch": (watch_verb, "lad-reasoner watch --station lamp/ --to sorted/ --to results.jsonl incoming/"),
    "export": (export_verb, "lad-reasoner export --edge bottle-edge/ --station bottle/"),
    "judges": (judges_verb, "lad-reasoner judges"),
    "env": (env_verb, "lad-reasoner env"),
    "completion": (completion_verb, "lad-reasoner completion bash"),
    "serve": (serve_verb, "lad-reasoner serve bottle/ cap/ --port 8000"),
    "key": (key_verb, "lad-reasoner key 'line 3' --role operator --key-file keys.toml"),
}
for name, (verb, example) in VERBS.items():
    app.command(name, epilog=f"Example: {example}")(verb)
app.add_typer(data, name="data")
app.add_typer(train, name="train")
app.add_typer(server, name="server")
app.add_typer(station, name="station")


def main() -> None:
    """Entry point of `lad-reasoner`: every expected error becomes one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals that cannot show a █
            if sys.platform == "win32" and not stream.isatty():
                stream.reconfigure(encoding="utf-8")  # of JSON and CSV in a file, whatever the code page
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(ShownFormatter())
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    for number, handler in usual.items():
        if signal.getsignal(number) is handler:  # not ignored, as behind `nohup`
            signal.signal(number, _interrupt)
    _collect_less()
    prepare_completion()
    try:
        app(prog_name=PROGRAM)  # also under `python -m lad_reasoner`
    except OSError as error:
        from lad_reasoner.files.whole import describe_write_error, is_full

        where = f"{error.filename}: " if error.filename else ""
        problem = describe_write_error(error, "a file") if is_full(error) else f"{where}{error.strerror or error}"
        print(f"lad-reasoner: {problem}", file=sys.stderr)
        sys.exit(EXIT_INPUT)
    except LadError as error:
        print(f"lad-reasoner: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(EXIT_INPUT)


def _collect_less() -> None:
    """Search for garbage less often, and not at all when the process ends.

    Importing torch and transformers makes millions of objects that all stay. Python's default visits them again and
    again, which takes a quarter of the time to the first verdict of `micro`.
    """
    gc.set_threshold(10_000)  # new objects between two searches; Python's default is 700
    atexit.register(gc.freeze)  # hides all objects from the last search


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """The first Ctrl-C or SIGTERM ends the verb in order; the second ends the process at once, without a traceback."""
    signal.signal(number, lambda *_: os._exit(128 + number))
    if number == signal.SIGTERM:
        sys.exit(128 + number)
    raise KeyboardInterrupt


def _show_version(wanted: bool) -> None:
    if wanted:
        from lad_reasoner.version import __version__

        print(f"lad-reasoner {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
