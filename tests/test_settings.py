"""Settings: the file, the environment over it, and what is refused."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from sopforecast.errors import RequestError
from sopforecast.settings import (
    SETTINGS_FILE,
    Settings,
    default_settings_text,
    load_settings,
    make_settings,
)


def _write(folder: Path, text: str) -> Path:
    (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")
    return folder


def test_the_written_file_says_the_defaults(tmp_path: Path) -> None:
    written = load_settings(_write(tmp_path, default_settings_text()))
    assert written.model_dump(exclude={"columns"}) == Settings().model_dump(exclude={"columns"})


def test_fifteen_visible_lines_and_every_advanced_key_is_shown() -> None:
    visible, advanced = default_settings_text(today=date(2026, 11, 1)).split("[advanced]\n")
    assert len(visible.strip().splitlines()) == 15
    shown = {line[2:].split(" ")[0] for line in advanced.splitlines() if line.startswith("# ")}
    assert shown >= set(type(Settings().advanced).model_fields)


def test_every_key_of_the_clinic_is_shown_with_its_default() -> None:
    shown = default_settings_text().split("[clinical]\n")[1]
    lines = [line.removeprefix("# ") for line in shown.splitlines() if " = " in line]
    values = tomllib.loads("\n".join(lines))
    assert values == Settings().clinical.model_dump()


def test_every_key_of_the_kpis_is_shown_with_its_default() -> None:
    shown = default_settings_text().split("[kpi]\n")[1].split("[clinical]")[0]
    lines = [line.removeprefix("# ") for line in shown.splitlines() if " = " in line]
    values = tomllib.loads("\n".join(lines))
    assert values == Settings().kpi.model_dump(mode="json")


def test_one_threshold_may_be_set_and_the_other_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOPFORECAST_KPI__BIAS__OWNER", "supply")
    kpi = make_settings({"kpi": {"accuracy": {"green": 85}, "lag": 2}}).kpi
    assert (kpi.accuracy.green, kpi.accuracy.yellow, kpi.accuracy.owner) == (85, 70, "finance")
    assert (kpi.bias.green, kpi.bias.owner, kpi.lag, kpi.window) == (5, "supply", 2, 12)


def test_green_and_yellow_may_be_the_same() -> None:
    settings = make_settings({"clinical": {"green": 0.2, "yellow": 0.2}})
    assert (settings.clinical.green, settings.clinical.yellow) == (0.2, 0.2)
    with pytest.raises(ValidationError, match="frozen"):
        settings.clinical.green = 0.9  # type: ignore[misc]


def test_the_environment_reaches_the_clinic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOPFORECAST_CLINICAL__PATHS", "300")
    settings = load_settings(_write(tmp_path, "[clinical]\npaths = 900\ngreen = 0.6\n"))
    assert (settings.clinical.paths, settings.clinical.green) == (300, 0.6)


def test_commented_lines_are_valid_when_uncommented() -> None:
    lines = default_settings_text().split("\n")[1:]
    values = [line.removeprefix("# ") if " = " in line else line for line in lines]
    settings = make_settings(tomllib.loads("\n".join(values)))
    assert settings.columns == {"history": {"unique_id": ("Product", "Site")}}


def test_names_with_quotes_survive_the_file() -> None:
    text = default_settings_text(name='Acme "north" \\ süd', levels=("family", "family/region"))
    settings = make_settings(tomllib.loads(text))
    assert settings.name == 'Acme "north" \\ süd'
    assert settings.levels == ("family", "family/region")


def test_environment_wins_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOPFORECAST_SEED", "7")
    monkeypatch.setenv("SOPFORECAST_ADVANCED__DRAWS", "100")
    settings = load_settings(_write(tmp_path, "seed = 1\n[advanced]\nworkers = 2\n"))
    assert (settings.seed, settings.advanced.draws, settings.advanced.workers) == (7, 100, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("horizn = 12", "unknown setting horizn; did you mean horizon?"),
        ("[advanced]\ndrwas = 3", "unknown setting advanced.drwas; did you mean draws?"),
        ("[history]\nwhatever = 3", "known: missing, negative, unit_slip"),
        ('sources = ["*"]', "sources.0: String should match pattern"),
        ('sources = ["system:sap"]', "sources.0: String should match pattern"),
        ("horizon = 0", "horizon: Input should be greater than or equal to 1 (found 0)"),
        ('[history]\nmissing = "maybe"', "'unknown' or 'zero'"),
        ("seed = ", "cannot be read"),
        ("[clinical]\npath = 500", "unknown setting clinical.path; did you mean paths?"),
        ("[clinical]\nwhatever = 3", "known: paths, green, yellow, service_level, sampler"),
        ("[clinical]\npaths = 199", "clinical.paths: Input should be greater than or equal to 200"),
        (
            "[clinical]\npaths = 20001",
            "clinical.paths: Input should be less than or equal to 20000",
        ),
        ("[clinical]\ngreen = 1.0", "clinical.green: Input should be less than 1 (found 1.0)"),
        ("[clinical]\nyellow = 0.0", "clinical.yellow: Input should be greater than 0 (found 0.0)"),
        ("[clinical]\nservice_level = 0.5", "clinical.service_level: Input should be greater than"),
        ("[clinical]\nservice_level = 95", "clinical.service_level: Input should be less than 1"),
        ('[clinical]\nsampler = "closed_form"', "'laplace' or 'nuts'"),
        (
            '[kpi]\nshow = ["bias", "days_of_supply"]',
            "there is no KPI days_of_supply; available: accuracy, bias, value_added, coverage, "
            "enrolment, site_activation",
        ),
        (
            '[kpi]\nshow = ["accuracy", "bias", "value_added", "coverage", "enrolment", '
            '"site_activation"]',
            "6 KPIs are named (accuracy, bias, value_added, coverage, enrolment, site_activation); "
            "allowed: one to five",
        ),
        ("[kpi]\nshow = []", "0 KPIs are named"),
        ('[kpi]\nshow = ["bias", "bias"]', "a KPI is named twice in bias, bias; allowed: each"),
        ('[kpi]\nshow = "bias"', "kpi.show: Input should be a valid tuple"),
        ("[kpi]\nlgg = 1", "unknown setting kpi.lgg; did you mean lag?"),
        ("[kpi]\nlag = 12", "kpi.lag: Input should be less than or equal to 11 (found 12)"),
        ("[kpi]\nwindow = 6", "kpi.window: Input should be 1, 3 or 12 (found 6)"),
        ("[kpi.revenue]\ngreen = 1", "unknown setting kpi.revenue; known: show, lag, window"),
        ("[kpi.accuracy]\ngren = 1", "unknown setting kpi.accuracy.gren; did you mean green?"),
        ("[kpi.accuracy]\nx = 1", "known: green, yellow, owner"),
        ('[kpi.accuracy]\nowner = ""', "kpi.accuracy.owner: String should have at least 1"),
        ("[kpi.accuracy]\ngreen = nan", "kpi.accuracy.green: Input should be a finite number"),
        ("[kpi.accuracy]\ngreen = 60", "yellow (70) is on the better side of green (60)"),
        ("[kpi.bias]\nyellow = 3", "kpi.bias: Value error, yellow (3) is on the better side"),
        ("[kpi.coverage]\ngreen = -1", "kpi.coverage: Value error, green is -1; allowed: 0"),
        ("[kpi.value_added]\ngreen = -2", "allowed: at most green"),
        ("[kpi.enrolment]\nyellow = 99", "yellow (99) is on the better side of green (95)"),
        ("[kpi.site_activation]\nyellow = 7", "allowed: at least green"),
        ("[clinical]\nyellow = 0.6", "yellow is above green (0.5); allowed: at most green"),
    ],
)
def test_refused_with_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RequestError) as refused:
        load_settings(_write(tmp_path, text))
    assert said in str(refused.value)
    assert SETTINGS_FILE in str(refused.value)


def test_a_folder_without_settings_names_init(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="sopforecast init"):
        load_settings(tmp_path)


def test_a_password_in_the_file_is_refused_and_never_repeated(tmp_path: Path) -> None:
    text = '[advanced]\nstore_url = "postgresql+psycopg://me:hunter2@host/db"\n'
    with pytest.raises(RequestError) as refused:
        load_settings(_write(tmp_path, text))
    assert "SOPFORECAST_ADVANCED__STORE_URL" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_password_from_the_environment_stays_out_of_sight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOPFORECAST_ADVANCED__STORE_URL", "postgresql://me:hunter2@host/db")
    settings = load_settings(_write(tmp_path, ""))
    assert settings.advanced.store_url is not None
    assert settings.advanced.store_url.get_secret_value().endswith("hunter2@host/db")
    assert "hunter2" not in repr(settings) + settings.numbers_text()


@pytest.mark.parametrize(
    "values",
    [
        {"name": "other"},
        {"advanced": {"workers": 4, "chunk_size": 7, "mlflow": False}},
        {"advanced": {"sampler": "closed_form"}},
        {"advanced": {"gate": True}},
        {"sources": ["sales", "kam"]},
        {"clinical": {"green": 0.7, "yellow": 0.4, "service_level": 0.9}},
        {"columns": {"history": {"y": "Qty"}}},
        {"kpi": {"show": ["bias"], "lag": 3, "window": 3, "bias": {"green": 1, "owner": "x"}}},
    ],
)
def test_how_fast_and_where_does_not_change_the_hash(values: dict[str, object]) -> None:
    assert make_settings(values).numbers_hash() == Settings().numbers_hash()


@pytest.mark.parametrize(
    "values",
    [
        {"seed": 1},
        {"horizon": 12},
        {"levels": ["family"]},
        {"history": {"missing": "zero"}},
        {"advanced": {"draws": 400}},
        {"advanced": {"models": ["naive"]}},
        {"advanced": {"min_closed": 3}},
        {"advanced": {"gate": False}},
        {"clinical": {"paths": 500}},
        {"clinical": {"sampler": "nuts"}},
    ],
)
def test_what_changes_numbers_changes_the_hash(values: dict[str, object]) -> None:
    assert make_settings(values).numbers_hash() != Settings().numbers_hash()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SOPFORECAST_HORIZN", "12", "SOPFORECAST_HORIZN; did you mean SOPFORECAST_HORIZON?"),
        ("SOPFORECAST_ADVANCD__DRAWS", "100", "unknown environment variable SOPFORECAST_ADVANCD"),
        ("SOPFORECAST_HORIZON", "0", "environment variable SOPFORECAST_HORIZON"),
        ("SOPFORECAST_ADVANCED__DRWAS", "9", "environment variable SOPFORECAST_ADVANCED__DRWAS"),
        ("SOPFORECAST_LEVELS", "family", "levels"),
    ],
)
def test_a_wrong_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match="environment") as refused:
        load_settings(_write(tmp_path, "seed = 1"))
    assert said in str(refused.value)


def test_the_folder_of_real_data_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOPFORECAST_DATA", "/somewhere")
    assert make_settings({}).horizon == 18
