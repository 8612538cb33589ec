"""Patterns that the shell has filled in: `-r good/*.png new/` gives the option one file and the verb all the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path


def describe_extra_words(words: Sequence[str]) -> str:
    """What to quote, where the words behind an option are more than the verb takes; empty if no pattern is the cause.

    `words` are those of the command line.
    """
    for at, option in enumerate(words):
        rest = takewhile(lambda word: not word.startswith("-"), words[at + 1 :])
        files = list(takewhile(lambda word: os.path.isfile(word), rest))  # noqa: PTH113 - as the user wrote it
        folders, suffixes = {os.path.dirname(file) for file in files}, {Path(file).suffix for file in files}  # noqa: PTH120
        if option.startswith("-") and len(files) > 1 and len(folders) == len(suffixes) == 1:
            pattern = Path(folders.pop()) / f"*{suffixes.pop()}"
            filled = f"{option} takes one name, and the shell has filled in {len(files)}"
            return f"{filled}: quote the pattern, {option} '{pattern}', or give the folder"
    return ""


def describe_taken_queries(queries: Sequence[str], references: Sequence[Path]) -> str:
    """The same where a verb takes any number of words, so that all references but one became queries; else empty.

    `queries` are the words that were taken as queries, `references` the files that were found.
    """
    if len(references) != 1:
        return ""
    folder = references[0].parent
    beside = [query for query in queries if Path(query).parent == folder and Path(query).is_file()]
    if len(beside) < 2 or len(beside) == len(queries) or queries[: len(beside)] != beside:
        return ""
    pattern = f"{folder}/*{references[0].suffix}"
    return f"{len(beside)} queries lie beside the only reference; for all of them quote it: --reference '{pattern}'"
