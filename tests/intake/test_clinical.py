"""The clinical tables: what refuses a row, named by file, row and column, and what does not."""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

import polars as pl
import pytest

from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.errors import RequestError
from sopforecast.intake.against import ReadOptions


class Bad(NamedTuple):
    """One bad file after all others are read: the cell and words the message must hold."""

    table: str
    text: str
    row: int
    column: str
    words: str
    problems: int = 1


def padded(names: str, rows: tuple[str, ...]) -> str:
    """A csv file whose rows may stop before their last cells, which are empty."""
    width = names.count(",")
    return "\n".join([names, *(row + "," * (width - row.count(",")) for row in rows)]) + "\n"


def sites(*rows: str) -> str:
    names = (
        "study,site,activated_date,closed_date,slip_days_low,slip_days_high,activation_probability"
    )
    return padded(names, rows)


def enrolment(*rows: str, names: str = "study,site,ds,screened,screen_failed,enrolled") -> str:
    return padded(names, rows)


def events(*rows: str) -> str:
    names = "event_id,study,date,acts_on,low,high,probability,protocol_version,site"
    return padded(names, rows)


def lines(*rows: str) -> str:
    names = (
        "line_id,study,account,site,cohort,unique_id,tier,probability_low,probability_high,"
        "outcome,converted_ds,known_at"
    )
    return padded(names, rows)


CATALOGUE = {
    # what the tables declare
    "negative count": Bad("enrolment", enrolment("ABC-1,S1,2026-05,3,1,-1"), 2, "enrolled", "-1"),
    "negative target": Bad("studies", "study,target_enrolment\nX,-5\n", 2, "target_enrolment", "0"),
    "negative rate": Bad("sites", "study,site,planned_rate\nABC-1,S9,-1\n", 2, "planned_rate", "0"),
    "probability above 1": Bad(
        "sites", sites("ABC-1,S9,,,,,1.2"), 2, "activation_probability", "write 0.35, or 35%"
    ),
    "probability in percent without its sign": Bad(
        "study_events", events("E,ABC-1,2027-01-01,screening,1,2,35"), 2, "probability", "0 to 1"
    ),
    "negative probability": Bad(
        "tier_lines", lines("P,ABC-1,,,,,pipeline,-0.1,0.5"), 2, "probability_low", "0 to 1"
    ),
    "slip low above high": Bad(
        "sites", sites("ABC-1,S9,,,60,10,"), 2, "slip_days_low", "low 60 above slip_days_high 10"
    ),
    "share low above high": Bad(
        "cohorts",
        "study,cohort,share_low,share_high\nDEF-2,A,0.6,0.3\n",
        2,
        "share_low",
        "share_low 0.6 above share_high 0.3",
    ),
    "event low above high": Bad(
        "study_events", events("E,ABC-1,2027-01-01,screening,2,1"), 2, "low", "low 2 above high 1"
    ),
    "tier low above high": Bad(
        "tier_lines", lines("P,ABC-1,,,,,pipeline,0.5,0.2"), 2, "probability_low", "swap"
    ),
    "half a range": Bad(
        "tier_lines", lines("P,ABC-1,,,,,pipeline,0.5,"), 2, "probability_high", "both ends"
    ),
    "the other half": Bad("sites", sites("ABC-1,S9,,,,10,"), 2, "slip_days_low", "both ends"),
    "activation after closure": Bad(
        "sites",
        sites("ABC-1,S9,2026-07-02,2026-07-01"),
        2,
        "activated_date",
        "2026-07-02, after closed_date 2026-07-01",
    ),
    "last patient before the first": Bad(
        "studies",
        "study,first_patient_date,last_patient_date\nX,2026-05-02,2026-05-01\n",
        2,
        "last_patient_date",
        "before first_patient_date 2026-05-02",
    ),
    "a date of another century": Bad(
        "sites", sites("ABC-1,S9,1926-07-01"), 2, "activated_date", "from 1990 to 2100"
    ),
    "no date": Bad("sites", sites("ABC-1,S9,soon"), 2, "activated_date", "year-month-day"),
    "a date with two readings": Bad(
        "sites", sites("ABC-1,S9,03/04/2026"), 2, "activated_date", "2026-04-03 or 2026-03-04"
    ),
    "half a month": Bad(
        "schedule",
        "study,unique_id,quantity,month_offset\nABC-1,KIT-1,1,0.5\n",
        2,
        "month_offset",
        "whole number",
    ),
    "a month before": Bad(
        "schedule",
        "study,unique_id,quantity,month_offset\nABC-1,KIT-1,1,-1\n",
        2,
        "month_offset",
        "at least 0",
    ),
    "overage that may be a share": Bad(
        "schedule",
        "study,unique_id,quantity,overage_percent\nABC-1,KIT-1,1,0.15\n",
        2,
        "overage_percent",
        "15% or 0.15%",
    ),
    "an unknown trigger": Bad(
        "schedule",
        "study,unique_id,quantity,per\nABC-1,KIT-1,1,enroled\n",
        2,
        "per",
        "did you mean 'enrolled'?",
    ),
    "an unknown tier": Bad(
        "tier_lines", lines("P,ABC-1,,,,,probable"), 2, "tier", "did you mean 'highly_probable'?"
    ),
    # what must be there
    "no site": Bad("enrolment", enrolment("ABC-1,,2026-05,3,1,1"), 2, "site", "fill it in"),
    "no study among several": Bad("sites", sites(",S9"), 2, "study", "fill it in"),
    "no month": Bad("enrolment", enrolment("ABC-1,S1,,3,1,1"), 2, "ds", "fill it in"),
    "no planned number": Bad(
        "enrolment_plan", "study,ds,enrolled\nABC-1,2027-01,\n", 2, "enrolled", "no row at all"
    ),
    "no tier": Bad("tier_lines", lines("P,ABC-1"), 2, "tier", "committed, highly_probable"),
    "no quantity": Bad("schedule", "study,unique_id,quantity\nABC-1,KIT-1,\n", 2, "quantity", "a "),
    "an event that changes nothing": Bad(
        "study_events", events("E,ABC-1,2027-01-01,enrolment"), 2, "low", "0.8 for a fifth less"
    ),
    "no column that counts": Bad(
        "enrolment", "study,site,ds\nABC-1,S1,2026-05\n", 1, "enrolled", "(or 'screened')"
    ),
    "a column by its other name": Bad(
        "enrolment",
        "study,centre,ds,enrolled\nABC-1,S1,2026-05,1\n",
        1,
        "site",
        "rename 'centre' to 'site'",
    ),
    "neither study nor account": Bad(
        "tier_lines",
        lines("P,,,,,,pipeline", "Q,ABC-1,,,,,pipeline"),
        2,
        "study",
        "fill in one of the two",
    ),
    # names of other tables
    "unknown study": Bad(
        "enrolment", enrolment("ABC-2,S1,2026-05,3,1,1"), 2, "study", "did you mean 'ABC-1'?"
    ),
    "unknown study of a site": Bad("sites", sites("XYZ,S9"), 2, "study", "ABC-1, DEF-2"),
    "unknown site": Bad(
        "enrolment", enrolment("ABC-1,S3,2026-05,3,1,1"), 2, "site", "sites of ABC-1: S1, S2, S7"
    ),
    "site of another study": Bad(
        "enrolment", enrolment("ABC-1,007,2026-05,3,1,1"), 2, "site", "unknown site '007' of study"
    ),
    "unknown site of a plan": Bad(
        "enrolment_plan",
        "study,site,ds,enrolled\nABC-1,s7,2027-01,1\n",
        2,
        "site",
        "did you mean 'S7'?",
    ),
    "unknown site of an event": Bad(
        "study_events", events("E,ABC-1,2027-01-01,screening,1,2,,,S70"), 2, "site", "'S7'"
    ),
    "unknown site of a line": Bad("tier_lines", lines("P,ABC-1,,S9,,,pipeline"), 2, "site", "'S9'"),
    "unknown cohort": Bad(
        "enrolment",
        enrolment("ABC-1,S1,C,2026-05,1", names="study,site,cohort,ds,enrolled"),
        2,
        "cohort",
        "cohorts of ABC-1: A, B",
    ),
    "unknown cohort of a schedule": Bad(
        "schedule", "study,cohort,unique_id,quantity\nABC-1,C,KIT-1,1\n", 2, "cohort", "A, B"
    ),
    "unknown cohort of a line": Bad(
        "tier_lines", lines("P,ABC-1,,,C,,pipeline"), 2, "cohort", "A, B"
    ),
    "schedule for an unknown item": Bad(
        "schedule", "study,unique_id,quantity\nABC-1,KIT-2,1\n", 2, "unique_id", "mean 'KIT-1'?"
    ),
    "line for an unknown item": Bad(
        "tier_lines", lines("P,,ACME,,,BOX,pipeline"), 2, "unique_id", "unknown item 'BOX'"
    ),
    "an unknown version of the protocol": Bad(
        "study_events",
        events("E,ABC-1,2027-01-01,schedule,,,,v3"),
        2,
        "protocol_version",
        "versions of its schedule: v1, v2",
    ),
    "an amendment without its version": Bad(
        "study_events", events("E,ABC-1,2027-01-01,schedule"), 2, "protocol_version", "fill it in"
    ),
    "a study called any": Bad("studies", "study\n*\n", 2, "study", "a name of its own"),
    "a cohort called all": Bad("cohorts", "study,cohort\nDEF-2,All\n", 2, "cohort", "of its own"),
    "a name with something hidden in it": Bad(
        "enrolment", enrolment("ABC-1,S1\u200b,2026-05,3,1,1"), 2, "site", "U+200B"
    ),
    # lines
    "study and account": Bad(
        "tier_lines", lines("P,ABC-1,ACME,,,KIT-1,pipeline"), 2, "account", "never both"
    ),
    "an account without an item": Bad(
        "tier_lines", lines("P,,ACME,,,,pipeline"), 2, "unique_id", "no item for account 'ACME'"
    ),
    "an account with a site": Bad(
        "tier_lines", lines("P,,ACME,S1,,KIT-1,pipeline"), 2, "site", "lines of a study alone"
    ),
    "converted, nobody knows when": Bad(
        "tier_lines", lines("P,ABC-1,,,,,committed,,,converted"), 2, "converted_ds", "fill it in"
    ),
    "converted in the future": Bad(
        "tier_lines",
        lines("P,ABC-1,,,,,committed,,,converted,2026-12"),
        2,
        "converted_ds",
        "2026-12, which has not begun",
    ),
    "open and converted": Bad(
        "tier_lines", lines("P,ABC-1,,,,,committed,,,,2026-05"), 2, "converted_ds", "outcome open"
    ),
    "a version that knew the future": Bad(
        "tier_lines",
        lines("P,ABC-1,,,,,committed,,,converted,2026-05,2026-04-02"),
        2,
        "converted_ds",
        "after this version was known (2026-04-02)",
    ),
    "an e-mail address": Bad(
        "tier_lines", lines("ann.lee@clinic.org,ABC-1,,,,,committed"), 2, "line_id", "a pseudonym"
    ),
    "a month that is not over": Bad(
        "enrolment", enrolment("ABC-1,S1,2026-11,1,0,1"), 2, "ds", "months up to 2026-10"
    ),
    # twice
    "a site twice": Bad("sites", sites("ABC-1,S9", "ABC-1,S9"), 3, "site", "'S9' a second time"),
    "a month twice": Bad(
        "enrolment",
        enrolment("ABC-1,S1,2026-05,3,1,1", "ABC-1,S1,May-26,3,1,1"),
        3,
        "ds",
        "'ABC-1', 'S1', 'all', 2026-05 a second time (first in row 2)",
    ),
    "a line twice": Bad(
        "tier_lines", lines("P,ABC-1,,,,,pipeline", "P,ABC-1,,,,,committed"), 3, "line_id", "delete"
    ),
    "known later than today": Bad(
        "tier_lines",
        lines("P,ABC-1,,,,,pipeline,,,,,2026-11-23"),
        2,
        "known_at",
        "up to today",
    ),
    "patients known before their month": Bad(
        "enrolment",
        "study,site,ds,enrolled,known_at\nABC-1,S1,2026-05,1,2026-04-30\n",
        2,
        "known_at",
        "within or after the month",
    ),
    # together
    "shares over 1": Bad(
        "cohorts",
        "study,cohort,share_low,share_high\nABC-1,C,0.4,0.5\n",
        2,
        "share_low",
        "at least 1.1 (A, B, C)",
    ),
    "shares under 1": Bad(
        "cohorts",
        "study,cohort,share_low,share_high\nDEF-2,A,10%,20%\nDEF-2,B,20%,30%\n",
        3,
        "share_high",
        "at most 0.5 (A, B)",
    ),
    "patients before activation": Bad(
        "enrolment",
        enrolment("ABC-1,S2,2026-01,3,0,1"),
        2,
        "enrolled",
        "before it was activated (2026-02-03)",
    ),
    "patients after closure": Bad(
        "enrolment",
        enrolment("ABC-1,S2,2026-06,3,0,1", "ABC-1,S2,2026-07,1,0,0"),
        3,
        "screened",
        "after it was closed (2026-06-15)",
    ),
    "more enrolled than screened": Bad(
        "enrolment",
        enrolment("ABC-1,S1,2026-05,1,0,2"),
        2,
        "enrolled",
        "9 enrolled at site S1 up to 2026-05, of 11 screened less 3 failed",
    ),
}


@pytest.mark.parametrize("bad", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_bad_input_is_refused_with_its_place(bad: Bad, clinic) -> None:
    err = clinic.refused(bad.table, bad.text)
    assert err.exit_code == 1
    assert [(p.file, p.row, p.column) for p in err.problems] == [("f.csv", bad.row, bad.column)]
    assert bad.words in str(err.problems[0])


def test_an_e_mail_address_is_not_shown_again(clinic) -> None:
    err = clinic.refused("tier_lines", lines("ann.lee@clinic.org,ABC-1,,,,,committed"))
    assert "ann.lee" not in str(err)


def test_every_bad_row_is_named(clinic) -> None:
    rows = [f"ABC-1,X{number},2026-05,1,0,1" for number in range(30)]
    err = clinic.refused("enrolment", enrolment(*rows, "NO,S1,2026-05,1,0,1"))
    assert [p.row for p in err.problems] == list(range(2, 33))
    assert err.problems[-1].column == "study"


def test_one_mistake_is_named_once(clinic) -> None:
    """A spoilt count takes the sums of its site with it; those of other sites are judged."""
    err = clinic.refused(
        "enrolment",
        enrolment("ABC-1,S1,2026-05,x,0,9", "ABC-1,S1,2026-06,0,0,9", "ABC-1,S2,2026-05,1,0,2"),
    )
    assert [(p.row, p.column) for p in err.problems] == [(2, "screened"), (4, "enrolled")]


def test_two_mistakes_of_a_row_are_both_named(clinic) -> None:
    err = clinic.refused("enrolment", enrolment("ABC-1,S3,2026-05,-1,0,-2"))
    assert {p.column for p in err.problems} == {"site", "screened", "enrolled"}
    err = clinic.refused("sites", sites("XYZ,S9,2026-05-02,2026-05-01,9,1,1.5"))
    named = ["study", "activated_date", "slip_days_low", "activation_probability"]
    assert sorted(p.column or "" for p in err.problems) == sorted(named)


# what is kept


def test_a_month_may_be_counted_by_cohort_and_screened_for_all(clinic) -> None:
    text = enrolment(
        "ABC-1,S2,all,2026-03,9,3,", "ABC-1,S2,A,2026-03,,,2", "ABC-1,S2,B,2026-03,,,4",
        names="study,site,cohort,ds,screened,screen_failed,enrolled",
    )  # fmt: skip
    assert clinic.read("enrolment", text).frame.height == 3
    worse = text.replace("ABC-1,S2,B,2026-03,,,4", "ABC-1,S2,B,2026-03,,,5")
    (problem,) = clinic.refused("enrolment", worse).problems
    assert (problem.row, problem.column) == (4, "enrolled")


@pytest.mark.parametrize(
    "months",
    [
        ("2026-03,,,5", "2026-04,1,0,1"),  # screening is reported from the second month on
        ("2026-03,5,0,5", "2026-04,,,1", "2026-05,0,0,1"),  # not reported in between
        ("2026-03,,,5", "2026-04,,,1"),  # never
        ("2026-03,5,,5", "2026-04,0,,0"),  # failures are not reported
        ("2026-03,5,5,0",),
    ],
)
def test_what_is_not_known_refuses_nothing(clinic, months) -> None:
    rows = enrolment(*(f"DEF-2,007,{month}" for month in months))
    assert clinic.read("enrolment", rows).frame.height == len(months)


def test_a_correction_of_an_earlier_month_is_judged_by_later_ones(clinic) -> None:
    (problem,) = clinic.refused("enrolment", enrolment("ABC-1,S1,2026-03,4,2,3")).problems
    assert (problem.row, problem.column) == (2, "enrolled")
    assert "up to 2026-03" in problem.found
    (problem,) = clinic.refused("enrolment", enrolment("ABC-1,S1,2026-03,5,2,3")).problems
    assert "7 enrolled at site S1 up to 2026-04, of 9 screened less 3 failed" in problem.found


def test_zeros_before_a_site_opened_are_no_patients(clinic) -> None:
    read = clinic.read("enrolment", enrolment("ABC-1,S2,2026-01,0,0,0", "ABC-1,S2,2026-02,1,0,1"))
    assert read.frame.height == 2


def test_shares_may_come_cohort_by_cohort(clinic) -> None:
    text = "study,cohort,share_low,share_high\nDEF-2,A,10%,100%\n"
    assert clinic.row("cohorts", text)["share_high"] == 1.0
    assert clinic.row("cohorts", "study,cohort\nDEF-2,B\n")["share_low"] is None


def test_a_share_is_changed_with_its_neighbour(clinic) -> None:
    """What stands is replaced before it is added up."""
    text = "study,cohort,share_low,share_high\nABC-1,A,0.1,0.2\nABC-1,B,0.1,0.2\nABC-1,C,0.7,0.8\n"
    assert clinic.read("cohorts", text).frame.height == 3


# blanks


def test_an_empty_cell_has_its_meaning(clinic) -> None:
    assert clinic.row("enrolment", enrolment("DEF-2,007,2026-05,3,,1"))["cohort"] == "all"
    plan = clinic.row("enrolment_plan", "study,ds,enrolled\nABC-1,2027-01,4\n")
    assert (plan["site"], plan["cohort"], plan["version"]) == ("*", "*", "plan")
    kit = clinic.row("schedule", "study,unique_id,quantity\nDEF-2,KIT-1,2\n")
    assert (kit["cohort"], kit["country"], kit["protocol_version"]) == ("*", "*", "*")
    assert (kit["per"], kit["month_offset"]) == ("enrolled", 0)
    event = clinic.row("study_events", events("E,ABC-1,2027-01-01,schedule,,,,v2"))
    assert (event["probability"], event["applies_to"], event["site"]) == (1.0, "new", None)
    event = clinic.row("study_events", events("E,ABC-1,2027-01-01,dropout,1,2"))
    assert event["applies_to"] is None
    line = clinic.row("tier_lines", lines("P,ABC-1,,,,,pipeline"))
    assert (line["outcome"], line["quantity"], line["cohort"]) == ("open", 1.0, None)
    assert line["converted_quantity"] is None


def test_all_and_a_star_say_what_an_empty_cell_says(clinic) -> None:
    names = "study,site,cohort,ds,enrolled\n"
    plan = clinic.row("enrolment_plan", names + "ABC-1,*,All,2027-01,4\n")
    assert (plan["site"], plan["cohort"]) == ("*", "*")
    assert clinic.row("enrolment", names + "DEF-2,007,ALL,2026-05,4\n")["cohort"] == "all"
    event = clinic.row("study_events", events("E,ABC-1,2027-01-01,dropout,1,2,,,all"))
    assert event["site"] is None


def test_the_only_study_may_be_left_out(new_clinic) -> None:
    new_clinic.read("studies", "study\nABC-1\n")
    read = new_clinic.read("sites", "site,activated_date\nS1,2026-01-20\n")
    assert read.frame["study"].to_list() == ["ABC-1"]
    assert "study is empty in 1 row and taken as ABC-1, the only one" in read.notes
    read = new_clinic.read("enrolment", "study,site,ds,enrolled\n,S1,2026-05,3\n,S1,2026-06,3\n")
    assert read.frame["study"].to_list() == ["ABC-1"] * 2
    (problem,) = new_clinic.refused(
        "enrolment", "study,site,ds,enrolled\nABC-1,S1,2026-05,3\n,S1,2026-06,3\n"
    ).problems
    assert (problem.row, problem.column) == (3, "study")
    read = new_clinic.read(
        "tier_lines", "line_id,account,unique_id,tier\nP,,,pipeline\nQ,ACME,KIT-1,pipeline\n"
    )
    assert read.frame["study"].to_list() == ["ABC-1", None]
    assert "quantity is empty in 1 account line and taken as 1" in read.notes


def test_nothing_is_known_before_the_studies(new_clinic) -> None:
    err = new_clinic.refused("sites", "study,site\nABC-1,S1\n")
    assert "there is none yet" in str(err)
    assert "load the study first (table studies)" in str(err)


# how people write


def test_numbers_days_and_words_as_people_write_them(clinic) -> None:
    text = (
        "study;site;planned activation date;activated_date;slip-days-low;slip-days-high;"
        "activation_probability;planned_rate\n"
        "ABC-1;S8;15.01.2027;;-5;40;85 %;1,5\nABC-1;S9;Feb-27;45658;;;0,5;2\n"
    )
    read = clinic.read("sites", text)
    eight, nine = read.frame.to_dicts()
    assert (eight["planned_activation_date"], eight["slip_days_low"]) == (date(2027, 1, 15), -5)
    assert (eight["activation_probability"], eight["planned_rate"]) == (0.85, 1.5)
    assert nine["planned_activation_date"] == date(2027, 2, 1)
    assert nine["activated_date"] == date(2025, 1, 1)
    notes = " ".join(read.notes)
    assert "a month alone, such as Feb-27, is read as its first day" in notes
    assert "five-digit numbers are read as Excel dates" in notes
    tier = clinic.row("tier_lines", lines("P,ABC-1,,,,,Highly-Probable,50%,80%"))
    assert (tier["tier"], tier["probability_low"]) == ("highly_probable", 0.5)
    kit = "study,unique_id,quantity,per,overage_percent\nABC-1,KIT-1,1,Site activated,15%\n"
    assert clinic.row("schedule", kit)["overage_percent"] == 15.0


def test_percent_signs_are_no_multipliers(clinic) -> None:
    err = clinic.refused("study_events", events("E,ABC-1,2027-01-01,screening,-20%,10%"))
    assert {p.column for p in err.problems} == {"low", "high"}


def test_versions_of_a_line_are_one_file(clinic) -> None:
    read = clinic.read(
        "tier_lines",
        lines(
            "P,ABC-1,,S1,,,pipeline,,,,,2026-03-02",
            "P,ABC-1,,S1,,,highly_probable,,,,,2026-05-02",
            "P,ABC-1,,S1,,,committed,,,converted,2026-06,2026-07-02",
            "Q,ABC-1,,S1,,,pipeline,,,,,",
        ),
    )
    of_p = read.frame.filter(pl.col("line_id") == "P")
    assert of_p["tier"].to_list() == ["pipeline", "highly_probable", "committed"]
    assert of_p["known_at"].to_list()[0] == datetime(2026, 3, 2)
    assert read.frame.columns[-1] == "known_at"


def test_plans_are_known_before_their_months(clinic) -> None:
    text = "study,ds,enrolled,known_at\nABC-1,2027-01,4,2026-10-01\n"
    assert clinic.row("enrolment_plan", text)["known_at"] == datetime(2026, 10, 1)


def test_foreign_names_come_from_settings(clinic) -> None:
    options = ReadOptions(columns={"enrolment": {"site": "Centre No", "enrolled": "Randomised"}})
    text = "study,Centre No,ds,Randomised,Monitor\nDEF-2,007,2026-05,3,Bo\n"
    read = clinic.read("enrolment", text, options=options)
    assert read.frame["enrolled"].to_list() == [3.0]
    with pytest.raises(RequestError, match=r"\[columns.sites\]: found 'centre'"):
        clinic.read(
            "sites",
            "study,site\nABC-1,S1\n",
            options=ReadOptions(columns={"sites": {"centre": "x"}}),
        )


def test_columns_of_other_tables_are_left_unread(clinic) -> None:
    text = "study,site,country,ds,enrolled\nDEF-2,007,US,2026-05,3\n"
    read = clinic.read("enrolment", text)
    assert "not read here, they belong elsewhere: country" in read.notes


def test_an_export_comes_back(clinic) -> None:
    text = (
        "study,target_enrolment,known_at,assumed,load_id,loaded_by\nABC-1,130,2026-01-01,true,L,b\n"
    )
    assert "known_at" not in clinic.row("studies", text)


@pytest.mark.parametrize("suffix", ["parquet", "xlsx"])
def test_other_formats_hold_the_same(clinic, suffix) -> None:
    frame = pl.DataFrame(
        {
            "study": ["ABC-1", "DEF-2"],
            "site": ["S8", "8"],
            "activated_date": [date(2026, 5, 4), None],
            "activation_probability": [None, 0.35],
        }
    )
    path = clinic.folder / f"sites.{suffix}"
    frame.write_parquet(path) if suffix == "parquet" else frame.write_excel(path, "sites")
    read = clinic.read_file("sites", path).frame
    assert read.select(frame.columns).equals(frame)
    assert read.columns == list(CLINICAL_TABLES["sites"].columns())


# notes


def test_what_is_odd_is_said(clinic) -> None:
    read = clinic.read(
        "enrolment",
        enrolment("DEF-2,007,2026-10,9,,1.5", "DEF-2,007,2026-11,9,,2", "DEF-2,007,2027-01,9,,2"),
    )
    notes = " | ".join(read.notes)
    assert "2 rows of 2026-11, 2027-01 left out, as the month is not over" in notes
    assert read.frame["ds"].to_list() == [date(2026, 10, 1)]
    assert "1 row in months that have not begun: plans belong in enrolment_plan" in notes
    assert "enrolled has fractions of patients (row 2)" in notes
    (note,) = clinic.read("enrolment", enrolment("ABC-1,S7,2026-10,9,,1")).notes
    assert note.startswith("1 site with patients and no activated_date")
    (note,) = clinic.read("sites", sites("ABC-1,S1,2026-04-01")).notes
    assert note == "loaded already: patients before activated_date or after closed_date of S1"
    (note,) = clinic.read("sites", sites("ABC-1,S8,2026-12-01")).notes
    assert note.startswith("activated_date lies ahead for S8: read as not yet happened")
    (note,) = clinic.read("tier_lines", lines("JD-1961-04-12,ABC-1,,,,,pipeline")).notes
    assert "a date of birth in 1 row (row 2): use a pseudonym" in note
    (note,) = clinic.read("study_events", events("E,DEF-2,2027-01-01,schedule,,,,v9")).notes
    assert note.startswith("no schedule of DEF-2 is loaded yet")
    kit = "study,country,unique_id,quantity\nABC-1,IT,KIT-1,1\n"
    (note,) = clinic.read("schedule", kit).notes
    assert note == "no site of the study is in these countries of the schedule: IT"
    (note,) = clinic.read("sites", "study,site,country\nABC-1,S8,DE\nABC-1,S9,de\n").notes
    assert "'DE', 'de' differ only in case" in note


def test_totals_so_far_in_place_of_counts_are_noticed(clinic) -> None:
    months = "".join(f"ABC-1,2027-{m:02d},{12 * m}\n" for m in range(1, 11))  # ends at 120
    (note,) = clinic.read("enrolment_plan", "study,ds,enrolled\n" + months).notes
    assert note.startswith("enrolled of ABC-1 adds up to 660 here, and its target is 120: are")
    two = "study,ds,version,enrolled\nABC-1,2027-01,a,120\nABC-1,2027-01,b,120\n"
    assert clinic.read("enrolment_plan", two).notes == ()


def test_a_month_given_whole_and_in_parts_is_said_to_be_added_up(clinic) -> None:
    names = "study,site,cohort,ds,enrolled\n"
    rows = "ABC-1,S1,all,2026-05,5\nABC-1,S1,A,2026-05,3\nABC-1,S2,A,2026-05,3\n"
    (note,) = clinic.read("enrolment", names + rows).notes
    assert "in 1 month of a site: the rows are added up" in note
