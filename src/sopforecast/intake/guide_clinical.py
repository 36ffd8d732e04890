"""The words of the clinical workbook: its columns, its guide, examples to copy."""

from __future__ import annotations

from collections.abc import Mapping

from sopforecast.intake.clinical_columns import REQUIRED as NEED
from sopforecast.intake.guide_texts import RULES, Example, Guide

_STUDY = "The study, as in the sheet studies. Needed when there are several."
_EIGHTY = "It should hold in 8 of 10 cases."

# A study that is the only one need not be named on other sheets.
REQUIRED: Mapping[str, tuple[str, ...]] = {
    table: tuple(name for name in names if name != "study" or table == "studies")
    for table, names in NEED.items()
}
COLUMN_TEXTS: Mapping[str, Mapping[str, str]] = {
    "studies": {
        "study": "Name or number of the study, as text. The other sheets repeat it.",
        "target_enrolment": "Patients at which enrolment stops, over all sites.",
        "first_patient_date": "Day the first patient was, or should be, enrolled.",
        "last_patient_date": "Day the last patient should be enrolled, as planned.",
        "status": "planned, active or closed.",
        "owner": "Who answers for the study's plan.",
    },
    "cohorts": {
        "study": _STUDY,
        "cohort": "Name of the cohort or arm. A study without cohorts needs no row here.",
        "target_enrolment": "Patients at which this cohort is full.",
        "opens_date": "Day from which it takes patients. Empty: from the start.",
        "share_low": "With share_high: the part of the study's patients it gets, such as 0.3 or "
        f"30%, at least. {_EIGHTY}",
        "share_high": "See share_low: at most. The shares of all cohorts must be able to add up "
        "to 1.",
    },
    "sites": {
        "study": _STUDY,
        "site": "Number or name of the site, as text: leading zeros stay.",
        "country": "Its country, written alike for all sites, such as DE.",
        "planned_activation_date": "Day it should open, as planned. Leave the first plan standing: "
        "how late sites open is learned from it.",
        "activated_date": "Day it did open. Empty: it has not opened yet.",
        "closed_date": "Day it stopped enrolling. Empty: it has not.",
        "slip_days_low": "With slip_days_high: so many days after the plan at least. Below 0 when "
        f"it may open early. {_EIGHTY}",
        "slip_days_high": "See slip_days_low: so many days after the plan at most.",
        "activation_probability": "Chance that it opens at all, such as 0.9 or 90%.",
        "planned_rate": "Patients it should enrol a month, as planned.",
        "capacity": "Patients it can enrol a month at most.",
        "status": "planned, active or closed.",
        "owner": "Who looks after the site.",
    },
    "enrolment": {
        "study": _STUDY,
        "site": "The site, as in the sheet sites.",
        "cohort": "The cohort, as in the sheet cohorts. Empty: cohorts are not told apart.",
        "ds": "The month: type 2026-05, or its first day.",
        "screened": "Patients screened in this month alone. Empty: not reported, which is not "
        "zero.",
        "screen_failed": "Patients who failed screening in this month.",
        "enrolled": "Patients enrolled in this month alone, not up to it. Empty: not reported, "
        "which is not zero.",
        "dropped_out": "Enrolled patients who left the study in this month.",
        "completed": "Enrolled patients who finished it in this month.",
    },
    "enrolment_plan": {
        "study": _STUDY,
        "site": "The site. Empty: all sites together.",
        "cohort": "The cohort. Empty: all cohorts together.",
        "ds": "The month: type 2026-05, or its first day.",
        "version": "Name of the plan, such as budget-2026. Empty: plan.",
        "enrolled": "Patients planned to enrol in this month alone, not up to it.",
    },
    "schedule": {
        "study": _STUDY,
        "cohort": "The cohort that uses it. Empty: every cohort.",
        "country": "The country that uses it. Empty: every country.",
        "protocol_version": "Version of the protocol it belongs to. Empty: every version.",
        "per": "What uses it: enrolled (each patient enrolled), screened (each patient screened, "
        "failures too) or site_activated (each site that opens). Empty: enrolled.",
        "month_offset": "Months after that in which it is used, 0 for the same month. Empty: 0.",
        "unique_id": "Id of the item, as in the sheet items.",
        "quantity": "Units of the item used then.",
        "overage_percent": "Shipped on top in percent, such as 15. Never counted as demand.",
    },
    "study_events": {
        "event_id": "Your own id of this event. Load it again with the same id to change it.",
        "study": _STUDY,
        "cohort": "The cohort it touches. Empty: all.",
        "site": "The site it touches. Empty: all.",
        "date": "Day from which it holds.",
        "kind": "What it is, such as amendment, holiday or competing trial.",
        "acts_on": "What it changes: screening, enrolment, dropout, activation, or schedule (which "
        "protocol version is used).",
        "low": "With high: what it is multiplied by, at least: 0.8 is a fifth less, 1.2 a fifth "
        f"more. {_EIGHTY}",
        "high": "See low: at most.",
        "probability": "Chance that it happens at all, such as 0.6 or 60%. Empty: it does.",
        "protocol_version": "For events on the schedule: the version used from then on.",
        "applies_to": "For events on the schedule: new (patients enrolled from then on) or all. "
        "Empty: new.",
        "note": "Anything people should remember.",
    },
    "tier_lines": {
        "line_id": "A pseudonym of the patient, such as P-0042: never a name, birth date or e-mail "
        "address. Load it again with the same id to change it.",
        "study": _STUDY,
        "account": "For a sales pipeline, in place of study: the customer.",
        "site": "The site where the patient would enrol. Empty: not known.",
        "cohort": "The cohort the patient would be in. Empty: not known.",
        "unique_id": "For a line of an account: the item it would buy.",
        "tier": "committed (consented, waiting), highly_probable (in screening) or pipeline "
        "(identified, not screened yet).",
        "quantity": "Patients (or units of the item). Empty: 1.",
        "expected_ds": "Month in which it is hoped for, such as 2026-12.",
        "probability_low": "With probability_high: the chance that it comes, at least, such as 0.5 "
        "or 50%. What lines like it did counts for more as they close.",
        "probability_high": "See probability_low: at most.",
        "owner": "Who says so. The record is kept by owner.",
        "outcome": "open, converted (enrolled, bought) or lost. Empty: open.",
        "converted_quantity": "What came of it, when that differs from quantity.",
        "converted_ds": "Month in which it came.",
        "lost_reason": "Why it did not, in a word or two that return.",
    },
}
PURPOSE: Mapping[str, str] = {
    "studies": "One row a study.",
    "sites": "One row a site of a study, those that are planned too.",
    "enrolment": "One row a site and month that is over. Counts of that month, not totals so far.",
    "cohorts": "One row a cohort. Leave it empty when patients are not told apart.",
    "study_events": "One row a dated event that will change screening, enrolment, dropout, site "
    "activation or the protocol. May stay empty.",
    "tier_lines": "One row a patient somebody knows of and who is not enrolled yet. May stay "
    "empty.",
    "enrolment_plan": "One row a month of the plan, for the whole study or a site. May stay empty.",
    "schedule": "For the supply planner: what a patient, a screening or a new site uses, and when.",
    "items": "For the supply planner: one row an item of the sheet schedule.",
}
FOR_THE_PLANNER = ("schedule", "items")  # sheets a clinical person leaves alone
LEFT_OUT: Mapping[str, tuple[str, ...]] = {"tier_lines": ("account", "unique_id")}

STUDIES_EXAMPLE: Example = (
    ("study", "target_enrolment", "first_patient_date", "status"),
    ("ABC-1", "120", "2026-02-10", "active"),
)
SITES_EXAMPLE: Example = (
    ("study", "site", "country", "planned_activation_date", "activated_date", "slip_days_low",
     "slip_days_high"),
    ("ABC-1", "S1", "DE", "2026-01-15", "2026-02-03", "", ""),
    ("ABC-1", "S7", "FR", "2027-01-10", "", "0", "60"),
)  # fmt: skip
ENROLMENT_EXAMPLE: Example = (
    ("study", "site", "ds", "screened", "screen_failed", "enrolled"),
    ("ABC-1", "S1", "2026-09", "6", "2", "3"),
    ("ABC-1", "S1", "2026-10", "4", "1", "4"),
)
EVENTS_EXAMPLE: Example = (
    ("event_id", "study", "date", "kind", "acts_on", "low", "high", "probability"),
    ("E-1", "ABC-1", "2027-02-01", "amendment", "screening", "1.1", "1.4", "60%"),
)
LINES_EXAMPLE: Example = (
    ("line_id", "study", "site", "tier", "expected_ds", "probability_low", "probability_high"),
    ("P-0042", "ABC-1", "S1", "highly_probable", "2026-12", "50%", "80%"),
)
EXAMPLES: Mapping[str, Example] = {
    "studies": STUDIES_EXAMPLE,
    "sites": SITES_EXAMPLE,
    "enrolment": ENROLMENT_EXAMPLE,
    "study_events": EVENTS_EXAMPLE,
    "tier_lines": LINES_EXAMPLE,
}
CLINIC = Guide(
    title="Your study in sopforecast",
    steps=(
        "Fill the sheet 'studies': one row a study.",
        "Fill the sheet 'sites': one row a site. Open sites have an activated_date, planned ones a "
        "planned_activation_date.",
        "Fill the sheet 'enrolment': one row a site and month. enrolled is enough; screened and "
        "screen_failed tell who is on the way.",
        "Fill 'cohorts', 'study_events', 'tier_lines' and 'enrolment_plan' with what you have. "
        "They may stay empty.",
        "Leave 'schedule' and 'items' to the supply planner.",
        "Save, and run:  sopforecast load {name}",
        "Then:  sopforecast clinical --study NAME;  with schedule and items also:  sopforecast run",
    ),
    rules=(
        RULES[0],
        "Patients are counted, never named: no names, birth dates or e-mail addresses in any "
        "sheet.",
        "Empty means not reported; write 0 when nobody was screened or enrolled. N/A or - is "
        "refused.",
        "Ranges come in pairs, low and high. Nobody knows one number; a wide range is an honest "
        "one.",
        "Days are typed as 2026-05-31, months as 2026-05.",
        "Enrolment of a month that is not over is left out: load it again then.",
        *RULES[3:],
    ),
    purpose=PURPOSE,
    examples=(
        ("Sheet studies", STUDIES_EXAMPLE),
        (
            "Sheet sites: one that is open, and one that should open 0 to 60 days late",
            SITES_EXAMPLE,
        ),
        ("Sheet enrolment: counts of each month", ENROLMENT_EXAMPLE),
        ("Sheet study_events: 10 to 40 percent more screening, if it comes", EVENTS_EXAMPLE),
        ("Sheet tier_lines: a patient in screening", LINES_EXAMPLE),
    ),
)
