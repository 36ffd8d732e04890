"""One way through the house: imports run downwards only; read from the source with ast."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sopforecast"
ROOMS = ("intake", "baseline", "judgement", "clinical", "learning", "planning_store")
GROUND = ("errors", "settings", "settings_sections", "core")

# What each part may import from this package; parts not named here stand on top and may import all.
ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "settings": ("errors", "settings_sections", "settings_template"),
    "settings_sections": (),
    "settings_template": (),
    "core": ("errors", "core"),
    **{room: (*GROUND, room) for room in ROOMS},
    "tracking": ("errors", "core"),
    "portfolio": (*GROUND, "baseline", "clinical"),
    "results": (*GROUND, *ROOMS),
    "cycle": (*GROUND, *ROOMS, "portfolio", "results"),
    "review": (*GROUND, "review"),
    "progress": ("errors",),
    "workspace": (*GROUND, "intake", "planning_store"),
    "workflow": (
        *GROUND,
        *ROOMS,
        "portfolio",
        "cycle",
        "replay",
        "review",
        "tracking",
        "workspace",
        "workflow",
    ),
    "terminal": (*GROUND, "review", "terminal_clinical", "terminal_evidence", "terminal_learning"),
    "terminal_clinical": (),
    "terminal_evidence": (*GROUND, "review", "terminal_kpi", "terminal_learning"),
    "terminal_kpi": (*GROUND, "review"),
    "terminal_learning": (*GROUND, "review"),
    "replay": GROUND,
    "demo": (*GROUND, "judgement", "clinical", "planning_store", "workspace", "workflow", "demo"),
}
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


def _files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def _part(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def _imported_modules(tree: ast.AST) -> list[str]:
    """Full names; ``from sopforecast import core`` counts as sopforecast.core."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide their floor"
            module = node.module or ""
            names += [f"{module}.{alias.name}" for alias in node.names]
    return names


def _parts_imported(path: Path) -> set[str]:
    modules = _imported_modules(ast.parse(path.read_text(encoding="utf-8")))
    own = [name.split(".") for name in modules if name.split(".")[0] == "sopforecast"]
    return {name[1] for name in own if len(name) > 1 and not name[1].startswith("__")}


def test_the_reader_of_imports_sees_both_forms() -> None:
    tree = ast.parse("import a.b\nfrom sopforecast import core\ndef f():\n    from x.y import z")
    assert _imported_modules(tree) == ["a.b", "sopforecast.core", "x.y.z"]


@pytest.mark.parametrize("path", _files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    part = _part(path)
    upward = _parts_imported(path) - set(ALLOWED.get(part, _parts_imported(path)))
    assert not upward, f"{path.name} ({part}) imports {sorted(upward)}"


@pytest.mark.parametrize("path", _files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_executable_is_stored_or_run(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {name.split(".")[0] for name in _imported_modules(tree)}
    assert not modules & FORBIDDEN_MODULES
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & FORBIDDEN_CALLS


def test_only_tracking_imports_mlflow() -> None:
    importers = [
        path.name
        for path in _files()
        for name in _imported_modules(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] == "mlflow"
    ]
    assert set(importers) <= {"tracking.py"}


@pytest.mark.parametrize("path", _files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_module_says_what_it_is_and_stays_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), f"{path} has no module docstring"
    assert text.count("\n") <= 300, f"{path} is over 300 lines"
    assert path.stem != "utils"
