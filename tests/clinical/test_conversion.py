"""Conversion of a whole book: recovery, prior only, rebuilding, bytes, ratios, notes."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.book import open_lines
from sopforecast.clinical.conversion import ELICITED_NOTE, fit_conversion, rebuild_conversion
from sopforecast.clinical.conversion_laplace import DRAWS
from sopforecast.clinical.conversion_lines import TIER_CHANCE
from sopforecast.clinical.conversion_model import laws
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.tier_paths import month_chances
from sopforecast.clinical.tiers import tier_frame
from sopforecast.core.clinical_tables import TIERS
from sopforecast.core.months import add_months

CYCLE = date(2026, 12, 1)
CHANCE, SCALE = np.array([0.75, 0.5, 0.2]), np.array([2.0, 3.0, 6.0])


def simulated(seed: int, size: int, *, scope: str = "study", oldest: int = 14) -> ClinicalInputs:
    """A book of lines in one tier each, about half of them still open."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(size):
        tier, begun = int(rng.choice(3)), int(rng.integers(1, oldest))
        listed = add_months(CYCLE, -begun)
        line = {
            "line_id": f"{i:04d}", scope: f"S{i % 3}", "tier": TIERS[tier], "quantity": 10.0,
            "owner": ("ann", "bob")[i % 2], "outcome": "open", "converted_ds": None,
            "converted_quantity": None, "known_at": datetime(listed.year, listed.month, 2),
        }  # fmt: skip
        rows.append(line)
        will, delay = rng.random() < CHANCE[tier], int(SCALE[tier] * rng.weibull(1.3))
        loss = int(rng.integers(2, 9))
        end = delay if will else loss
        if end < begun and (will or rng.random() < 0.6):
            month = add_months(listed, end)
            rows.append(
                {**line, "outcome": "converted" if will else "lost",
                 "converted_ds": month if will else None,
                 "converted_quantity": 9.0 if will else None,
                 "known_at": datetime(month.year, month.month, 20)}
            )  # fmt: skip
    schema = {
        "converted_ds": pl.Date, "converted_quantity": pl.Float64, "known_at": pl.Datetime("us"),
    }  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides=schema)
    names = ("study", "account", "site", "cohort", "unique_id", "expected_ds", "lost_reason")
    names += ("probability_low", "probability_high")
    blank = {name: pl.lit(None) for name in names if name != scope}
    if scope == "account":
        blank["unique_id"] = pl.lit("P1")
    return clinical_inputs(CYCLE, tier_lines=frame.with_columns(**blank))


@pytest.fixture(scope="module")
def large():
    inputs = simulated(1, 900)
    return inputs, fit_conversion(inputs, seed=1)


def test_a_large_book_gives_back_what_it_was_drawn_with(large):
    _, found = large
    lines, theta = found.lines["study"], found.theta["study"]
    law = laws(lines, theta)
    assert (lines.outcome == 0).mean() > 0.35
    for k in range(3):
        draws = law.chance[:, lines.tier == k].mean(axis=1)
        assert abs(draws.mean() - CHANCE[k]) < 2.5 * draws.std()
        assert draws.std() < 0.06
        scale = np.exp(theta[:, 3 + k])
        assert abs(scale.mean() - SCALE[k]) < 3 * scale.std()
    assert found.method == "laplace"
    assert found.diagnostics["study ess"] > 400


def test_leaving_open_lines_out_would_have_been_wrong(large):
    """Converted over closed is far above the truth where the open ones are mostly failures."""
    lines = large[1].lines["study"]
    pipeline = lines.tier == 2
    naive = (lines.outcome[pipeline] == 1).sum() / (lines.outcome[pipeline] > 0).sum()
    assert naive > CHANCE[2] + 0.05


def test_without_an_outcome_the_prior_rules_and_says_so():
    inputs = clinical_inputs(CYCLE, tier_lines=_open_only(simulated(4, 12)))
    found = fit_conversion(inputs, seed=1)
    assert found.method == "prior"
    assert "prior only" in " ".join(found.notes)
    chance = 1 / (1 + np.exp(-found.theta["study"][:, :3]))
    assert chance.mean(axis=0) == pytest.approx(TIER_CHANCE, abs=0.08)


def test_parameters_rebuild_it_without_a_fit():
    inputs = simulated(6, 40)
    found = fit_conversion(inputs, seed=1)
    stored = {name: values.reshape(DRAWS, -1).copy() for name, values in found.parameters().items()}
    again = rebuild_conversion(stored, inputs)
    assert again.method == found.method == "laplace"
    assert again.parameters().keys() == found.parameters().keys()
    for name, values in found.parameters().items():
        assert values.dtype == np.float64
        assert again.parameters()[name].tobytes() == values.tobytes()
    assert again.lines["study"].names == found.lines["study"].names


def test_same_seed_same_bytes_whatever_the_order_of_rows():
    inputs = simulated(7, 40)
    shuffled = clinical_inputs(
        CYCLE, tier_lines=inputs.tier_lines.sample(fraction=1, shuffle=True, seed=1)
    )
    one, again, other = (
        fit_conversion(data, seed=seed).theta["study"]
        for data, seed in ((inputs, 1), (shuffled, 1), (inputs, 2))
    )
    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != other.tobytes()


def test_studies_and_accounts_are_learned_apart():
    studies, accounts = simulated(8, 60), simulated(9, 60, scope="account")
    both = pl.concat([
        studies.tier_lines, accounts.tier_lines.with_columns(line_id="A" + pl.col("line_id")),
    ])  # fmt: skip
    together = fit_conversion(clinical_inputs(CYCLE, tier_lines=both), seed=1)
    alone = fit_conversion(studies, seed=1)
    assert set(together.lines) == {"study", "account"}
    assert together.theta["study"].tobytes() == alone.theta["study"].tobytes()


def test_converted_quantity_is_learned_from_a_prior_near_one():
    none = fit_conversion(clinical_inputs(CYCLE), seed=1)
    assert none.method == "prior"
    assert np.exp(none.ratio[:, 0]).mean() == pytest.approx(1.0, abs=0.02)
    many = fit_conversion(simulated(10, 200, scope="account"), seed=1)
    assert np.exp(many.ratio[:, 0]).mean() == pytest.approx(0.9, abs=0.015)
    assert many.ratio[:, 1].mean() < none.ratio[:, 1].mean()


def test_lines_first_seen_when_converted_teach_nothing_and_a_note_says_so():
    inputs = simulated(11, 40)
    extra = inputs.tier_lines.filter(pl.col("outcome") == "converted").with_columns(
        line_id="X" + pl.col("line_id")
    )
    more = clinical_inputs(CYCLE, tier_lines=pl.concat([inputs.tier_lines, extra]))
    one, other = fit_conversion(inputs, seed=1), fit_conversion(more, seed=1)
    assert one.theta["study"].tobytes() == other.theta["study"].tobytes()
    assert one.notes == ()
    assert f"{extra.height} lines were first listed after" in other.notes[0]


def test_laplace_imports_no_sampler():
    """In a process of its own, with a book that has outcomes."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_conversion import simulated; "
        "from sopforecast.clinical.conversion import fit_conversion; "
        "assert fit_conversion(simulated(12, 20), seed=1).method == 'laplace'; "
        "assert not {'pymc', 'nutpie', 'arviz', 'pytensor'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], check=True)


def _spoiled(inputs: ClinicalInputs) -> ClinicalInputs:
    """Conversions become losses and losses conversions, of the same month and another quantity."""
    text, known = pl.col("outcome").cast(pl.String), pl.col("known_at").dt.date()
    was_lost = text == "lost"
    return clinical_inputs(
        CYCLE,
        tier_lines=inputs.tier_lines.with_columns(
            outcome=text.replace({"lost": "converted", "converted": "lost"}),
            converted_ds=pl.when(was_lost).then(known.dt.truncate("1mo")),
            converted_quantity=pl.when(was_lost).then(3.0),
        ),
    )


@pytest.mark.parametrize("scope", ["study", "account"])
def test_elicited_does_not_know_the_record(scope):
    """Every outcome turned round: what is learned moves, what was stated does not."""
    inputs = simulated(13, 60, scope=scope)
    other = _spoiled(inputs)
    for procedure, is_same in (("elicited", True), ("learned", False)):
        one, two = (fit_conversion(data, seed=1, conversion=procedure) for data in (inputs, other))
        chances = [month_chances(c, d, horizon=3) for c, d in ((one, inputs), (two, other))]
        assert chances[0].size > 0
        assert (chances[0].tobytes() == chances[1].tobytes()) is is_same
        assert (one.theta[scope].tobytes() == two.theta[scope].tobytes()) is is_same
        if scope == "account":
            assert (one.ratio.tobytes() == two.ratio.tobytes()) is is_same


def test_elicited_does_not_know_who_moved_up():
    inputs = simulated(14, 40)
    line = inputs.tier_lines.filter(pl.col("tier") == "pipeline")["line_id"][0]
    first = inputs.tier_lines.filter(pl.col("line_id") == line).head(1)
    up = first.with_columns(
        tier=pl.lit("highly_probable", first.schema["tier"]),
        known_at=pl.lit(datetime(2026, 11, 29)),
    )
    moved = clinical_inputs(CYCLE, tier_lines=pl.concat([inputs.tier_lines, up]))

    def others(data, procedure):
        fitted = fit_conversion(data, seed=1, conversion=procedure)
        chances = month_chances(fitted, data, horizon=3)
        return chances[:, (open_lines(data)["line_id"] != line).to_numpy()]

    before, after = others(inputs, "elicited"), others(moved, "elicited")
    assert before.shape[1] > 5
    assert before.tobytes() == after.tobytes()
    assert others(inputs, "learned").tobytes() != others(moved, "learned").tobytes()


def test_elicited_is_what_was_stated_and_the_prior():
    """The mean of a tier: its own prior and the stated range, weighed by their precisions."""
    low, high = 0.02, 0.10
    inputs = simulated(15, 60)
    lines = inputs.tier_lines.with_columns(
        pl.when(pl.col("tier") == "pipeline").then(value).alias(name)
        for name, value in (("probability_low", low), ("probability_high", high))
    )
    found = fit_conversion(clinical_inputs(CYCLE, tier_lines=lines), seed=1, conversion="elicited")
    logits = np.log(np.array([low, high]) / (1 - np.array([low, high])))
    sd = max(2.0 * (logits[1] - logits[0]) / 2.5631031310892007, 0.5)
    precision = np.array([1.0, sd**-2])
    mean = precision @ [np.log(TIER_CHANCE[2] / (1 - TIER_CHANCE[2])), logits.mean()]
    mean, sd = mean / precision.sum(), precision.sum() ** -0.5
    draws = found.theta["study"][:, 2]
    assert len(draws) == DRAWS
    assert draws.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(DRAWS))
    assert draws.std() == pytest.approx(sd, rel=0.15)


def test_elicited_says_so_in_one_sentence_and_as_its_method():
    inputs = simulated(16, 40)
    found = fit_conversion(inputs, seed=1, conversion="elicited")
    assert found.procedure == "elicited"
    assert found.notes == (ELICITED_NOTE,)
    assert (found.method, found.methods) == ("prior", {"study": "prior"})
    assert set(tier_frame(found, inputs)["method"]) == {"prior"}
    assert fit_conversion(clinical_inputs(CYCLE), seed=1, conversion="elicited").notes == ()


def test_elicited_is_rebuilt_without_being_told():
    inputs = simulated(17, 60)
    found = fit_conversion(inputs, seed=1, conversion="elicited")
    stored = {name: values.copy() for name, values in found.parameters().items()}
    again = rebuild_conversion(stored, inputs, method="nuts")
    assert (again.procedure, again.method, again.notes) == ("elicited", "prior", found.notes)
    assert again.parameters().keys() == found.parameters().keys()
    assert tier_frame(again, inputs).equals(tier_frame(found, inputs))
    assert (
        month_chances(again, inputs, horizon=3).tobytes()
        == month_chances(found, inputs, horizon=3).tobytes()
    )


def test_learned_is_the_default_and_another_word_is_refused():
    inputs = simulated(18, 40)
    one, two = fit_conversion(inputs, seed=1), fit_conversion(inputs, seed=1, conversion="learned")
    assert one.theta["study"].tobytes() == two.theta["study"].tobytes()
    assert set(one.parameters()) == {"theta study", "ratio"}
    with pytest.raises(ValueError, match="allowed: 'learned', 'elicited'"):
        fit_conversion(inputs, seed=1, conversion="stated")


def _open_only(inputs: ClinicalInputs) -> pl.DataFrame:
    return inputs.tier_lines.filter(pl.col("outcome") == "open")
