"""``--help`` and ``--version`` answer without any heavy library (names, not seconds)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "scipy",
    "sklearn",
    "pandas",
    "statsforecast",
    "pymc",
    "mlflow",
    "sqlalchemy",
    "polars",
    "matplotlib",
)

PROBE = """
import json, sys
from sopforecast.cli import main
code = main(sys.argv[1:])
print("MODULES " + json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
sys.exit(code)
"""


def _modules_after(*arguments: str) -> tuple[str, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True
    )
    said, modules = done.stdout.split("MODULES ")
    return said, set(json.loads(modules))


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("run", "--help"), ()])
def test_no_heavy_import(arguments: tuple[str, ...]) -> None:
    said, modules = _modules_after(*arguments)
    assert said.strip()
    assert "cyclopts" in modules
    assert modules.isdisjoint(HEAVY), modules & set(HEAVY)


def test_import_of_the_package_is_light() -> None:
    code = "import sopforecast, sys; print(sopforecast.__version__, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.split(".")[0] for name in done.stdout.split()}.isdisjoint(HEAVY)
