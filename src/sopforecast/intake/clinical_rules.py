"""What must hold of one row of a clinical table by itself, in words for the person who wrote it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import polars as pl

from sopforecast.core.clinical_tables import ALL, ANY
from sopforecast.core.months import month_name
from sopforecast.intake.parse import KNOWN_AT
from sopforecast.intake.row_rules import Rule, number_in, one_ended

E_MAIL = r"[^\s@]+@[^\s@]+\.[A-Za-z]{2,}"
BIRTH_DATE = r"\b(19\d\d|200\d)[-/.]?(0[1-9]|1[0-2])[-/.]?(0[1-9]|[12]\d|3[01])\b"


def _share(column: str) -> Rule:
    return Rule(
        (pl.col(column) < 0) | (pl.col(column) > 1),
        column,
        number_in(column),
        "a share from 0 to 1",
        "write 0.35, or 35%, for 35 in a hundred",
    )


def _reserved(column: str, words: tuple[str, ...]) -> Rule:
    return Rule(
        pl.col(column).str.to_lowercase().is_in(list(words)),
        column,
        lambda row: repr(row[column]),
        f"a name of its own: {' and '.join(map(repr, words))} stand for all of them",
        "name it, or leave the row out",
    )


def _order(first: str, last: str, what: str) -> Rule:
    return Rule(
        pl.col(last) < pl.col(first),
        last,
        lambda row: f"{row[last].isoformat()}, before {first} {row[first].isoformat()}",
        f"a {last} {what}",
        "correct one of the two dates",
    )


def _without(column: str, when: pl.Expr, *, because: str, allowed: str, todo: str) -> Rule:
    return Rule(
        when & pl.col(column).is_null(), column, lambda _: f"an empty cell {because}", allowed, todo
    )


def _on_account(column: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: f"{column} {row[column]!r} on a line of an account"


_ACCOUNT, _STUDY = pl.col("account"), pl.col("study")
_SCHEDULE = pl.col("acts_on") == "schedule"
_CONVERTED = pl.col("outcome") == "converted"
_EVENT_RANGE = "a multiplier of 0 or more at either end: 0.8 for a fifth less, 1.2 for a fifth more"

RULES: Mapping[str, tuple[Rule, ...]] = {
    "studies": (
        _reserved("study", (ANY,)),
        _order("first_patient_date", "last_patient_date", "not before the first patient"),
    ),
    "cohorts": (
        _reserved("cohort", (ANY, ALL)),
        _share("share_low"),
        _share("share_high"),
        *one_ended("share_low", "share_high"),
    ),
    "sites": (
        _reserved("site", (ANY, ALL)),
        Rule(
            pl.col("activated_date") > pl.col("closed_date"),
            "activated_date",
            lambda row: (
                f"{row['activated_date'].isoformat()}, after closed_date "
                f"{row['closed_date'].isoformat()}"
            ),
            "an activation not after the closure",
            "correct one of the two dates; leave closed_date empty while the site is open",
        ),
        *one_ended("slip_days_low", "slip_days_high"),
        _share("activation_probability"),
    ),
    "enrolment": (),
    "enrolment_plan": (),
    "schedule": (),
    "study_events": (
        _share("probability"),
        _without(
            "low",
            ~_SCHEDULE & pl.col("high").is_null(),
            because="(and no high)",
            allowed=_EVENT_RANGE,
            todo="fill in low and high: the event changes nothing without them",
        ),
        *one_ended("low", "high"),
        _without(
            "protocol_version",
            _SCHEDULE,
            because="for an event on the schedule",
            allowed="the version patients are on from then on, as in the table schedule",
            todo="fill it in",
        ),
    ),
    "tier_lines": (
        Rule(
            _STUDY.is_not_null() & _ACCOUNT.is_not_null(),
            "account",
            lambda row: f"account {row['account']!r} beside study {row['study']!r}",
            "a study or an account, never both",
            "leave one of the two empty",
        ),
        Rule(
            _STUDY.is_null() & _ACCOUNT.is_null(),
            "study",
            lambda _: "neither a study nor an account",
            "a study (the line is patients) or an account (the line is a deal)",
            "fill in one of the two",
        ),
        Rule(
            _ACCOUNT.is_not_null() & _STUDY.is_null() & pl.col("unique_id").is_null(),
            "unique_id",
            lambda row: f"no item for account {row['account']!r}",
            "the item the account would buy",
            "fill it in",
        ),
        *(
            Rule(
                _ACCOUNT.is_not_null() & _STUDY.is_null() & pl.col(column).is_not_null(),
                column,
                _on_account(column),
                "sites and cohorts on lines of a study alone",
                "leave it empty, or name the study in place of the account",
            )
            for column in ("site", "cohort")
        ),
        _share("probability_low"),
        _share("probability_high"),
        *one_ended("probability_low", "probability_high"),
        _without(
            "converted_ds",
            _CONVERTED,
            because="for a converted line",
            allowed="the month in which it converted",
            todo="fill it in, such as 2026-05",
        ),
        Rule(
            ~_CONVERTED & pl.col("converted_ds").is_not_null(),
            "converted_ds",
            lambda row: f"{month_name(row['converted_ds'])} with outcome {row['outcome']}",
            "a month of conversion for converted lines alone",
            "write converted as the outcome, or leave converted_ds empty",
        ),
        Rule(
            pl.col("converted_ds") > pl.col(KNOWN_AT).dt.date(),
            "converted_ds",
            lambda row: (
                f"{month_name(row['converted_ds'])}, after this version was known "
                f"({row[KNOWN_AT]:%Y-%m-%d})"
            ),
            "a month that had begun when the version was known",
            "correct converted_ds or known_at",
        ),
        Rule(
            pl.col("line_id").str.contains(E_MAIL),
            "line_id",
            lambda _: "an e-mail address (not shown here)",
            "a pseudonym, which names nobody",
            "use a pseudonym, such as P-0042",
        ),
    ),
}


def rules_of(table: str, *, today: date) -> tuple[Rule, ...]:
    """The rules of single rows of one table; ``today`` is for what cannot have happened yet."""
    if table != "tier_lines":
        return RULES[table]
    future = Rule(
        _CONVERTED & (pl.col("converted_ds") > today),
        "converted_ds",
        lambda row: f"{month_name(row['converted_ds'])}, which has not begun",
        f"a month up to {month_name(today)}",
        "write the month hoped for as expected_ds, and outcome open",
    )
    return (*RULES[table], future)


def doubtful_overage(frame: pl.DataFrame, is_signed: pl.Series) -> tuple[Rule, pl.DataFrame]:
    """``0.15`` in overage_percent without its sign: Excel keeps 15% so, and it may be 0.15%."""

    def found(row: Mapping[str, Any]) -> str:
        value = row["overage_percent"]
        return f"{value:g}, which may be {value * 100:g}% or {value:g}%"

    size = pl.col("overage_percent")
    rule = Rule(
        (size > 0) & (size < 1),
        "overage_percent",
        found,
        "percent that can be read in one way, such as 15",
        "write 15 for 15 percent",
    )
    return rule, frame.filter(~is_signed)
