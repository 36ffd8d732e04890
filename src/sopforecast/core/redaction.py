"""Secrets out of texts: settings and messages before anybody else may read them."""

from __future__ import annotations

import json
import os
import re
import tomllib
from contextlib import suppress
from typing import Any

_HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(r"store_?url|passw|secret|token|credential|api_?key", re.IGNORECASE)
_URL_USER = re.compile(r"(?<=://)[^\s@\"'<>]+@")


def redacted(settings_text: str) -> tuple[dict[str, Any], frozenset[str]]:
    """Settings with the secrets hidden, and all secret texts this process knows.

    Text that is neither JSON nor TOML gives no settings: nobody can say where its secrets are.
    """
    settings: Any = {}
    for read in (json.loads, tomllib.loads):
        with suppress(ValueError):
            settings = read(settings_text)
            break
    ours = {name: text for name, text in os.environ.items() if name.startswith("SOPFORECAST_")}
    found: set[str] = set()
    hidden = _hide({"file": settings, "environment": ours}, name="", found=found)["file"]
    passwords = {match[1] for text in found if (match := re.search(r"://[^:/@]*:(.+)@", text))}
    return hidden, frozenset(text for text in found | passwords if len(text) > 3)


def scrub(text: str, secrets: frozenset[str]) -> str:
    """The text without these secrets, and without the user of any URL in it."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return _URL_USER.sub(f"{_HIDDEN}@", text)


def _hide(value: Any, *, name: str, found: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _hide(part, name=f"{name}.{key}", found=found) for key, part in value.items()}
    if isinstance(value, list):
        return [_hide(part, name=name, found=found) for part in value]
    if value in (None, "") or not _SECRET_NAME.search(name):
        return value
    found.add(str(value))
    return _HIDDEN
