"""From a template to a file: the same escaping, words and writing for every page."""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from sopforecast.review import wording


def environment() -> Environment:
    """Where the templates of this room lie, with the words of every page as filters."""
    made = Environment(
        loader=PackageLoader("sopforecast", "review"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for word in ("number", "percent", "change", "moved", "short_month", "long_month"):
        made.filters[word] = getattr(wording, word)
    return made


def replace_file(path: Path, text: str) -> None:
    """Write beside the file and rename: a reader sees the old page or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
