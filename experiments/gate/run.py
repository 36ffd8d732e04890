"""What the gate lets through, what it keeps out, and what both cost.

    python experiments/gate/run.py [--companies N] [--first SEED] [--table TABLE] [--out FILE]

Every scene walks simulated companies month by month: both procedures are held against the months
that closed, `decide` says which rules the next cycle. Writes ``results.csv``, a row a scene; see
README.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
from forty_items import CYCLES, LEADS, Truth, make_company
from people import by_credibility
from procedures import FIRST, Losses, by_mixes, by_weights, by_widths

from sopforecast.core.learning_tables import PROCEDURES
from sopforecast.core.months import add_months
from sopforecast.learning.gate import decide

HERE = Path(__file__).parent
CLOSES, AFTER, TURN = 24, 6, 12
EQUAL, APART, SWAPPED = (0.15, 0.15), (0.08, 0.30), (0.30, 0.08)


@dataclass(frozen=True)
class Scene:
    """What is asked (no gain, gain, harm, turns), of which table, and the losses of a company."""

    kind: str
    table: str
    losses: Callable[[int], Losses]


SCENES = {
    "two mixes, equally good": Scene(
        "no gain", "weights", lambda s: by_mixes(make_company(s, Truth()))
    ),
    "models equally good": Scene(
        "no gain", "weights", lambda s: by_weights(make_company(s, Truth()))
    ),
    "ranges right already": Scene(
        "no gain", "widths", lambda s: by_widths(make_company(s, Truth()))
    ),
    "records that mean nothing": Scene(
        "no gain", "credibility", lambda s: by_credibility(s, differ=False)
    ),
    "one model better": Scene(
        "gain",
        "weights",
        lambda s: by_weights(make_company(s, Truth(model_sd=(EQUAL, APART, APART)))),
    ),
    "ranges too narrow by 1.4": Scene(
        "gain", "widths", lambda s: by_widths(make_company(s, Truth(ratio=(1.4, 1.4))))
    ),
    "people who differ": Scene("gain", "credibility", lambda s: by_credibility(s, differ=True)),
    "weights the wrong way round": Scene(
        "harm",
        "weights",
        lambda s: by_weights(make_company(s, Truth(model_sd=(EQUAL, APART, APART))), turned=True),
    ),
    "widths the wrong way round": Scene(
        "harm",
        "widths",
        lambda s: by_widths(make_company(s, Truth(ratio=(1.4, 1.4))), turned=True),
    ),
    "one model better, then the other": Scene(
        "turns",
        "weights",
        lambda s: by_weights(
            make_company(s, Truth(model_sd=(EQUAL, APART, SWAPPED), turn=TURN)), stops=TURN
        ),
    ),
    "ranges too narrow, then too wide": Scene(
        "turns",
        "widths",
        lambda s: by_widths(make_company(s, Truth(ratio=(1.4, 0.8), turn=TURN)), stops=TURN),
    ),
}


@dataclass(frozen=True)
class Walk:
    """One company walked through ``CLOSES`` months.

    ``looks`` and ``would_adopt`` count closes with enough cycles, and those at which a cold start
    would have been given up had it always ruled. ``adopted``, ``reverted``: cycles closed by then,
    at the first time, 0 for never; ``after``: what the six cycles after each adoption lost with the
    new procedure, over the loss with the old one, less 1. ``cold``, ``gated``, ``open``: mean loss
    of the cycles ruled, without learning, with the gate, and with all that is learned.
    """

    looks: int
    would_adopt: int
    adopted: int
    reverted: int
    after: tuple[float, ...]
    cold: float
    gated: float
    open: float


def walk(losses: Losses, table: str, *, seed: int) -> Walk:
    """Close month after month, decide, and let the next cycle be ruled by what was decided."""
    cold, other = losses[:2]
    start, learned = PROCEDURES[table]
    contests = _contests(losses[-2:], table)
    rules, looks, would, first = start, 0, 0, {"adopt": 0, "revert": 0}
    after, gated = [], []
    for month in range(CLOSES):
        closed = add_months(FIRST, month)
        known = contests.filter(pl.col("ds") <= closed)
        row = decide(known, table=table, ruling=rules, closed=closed, seed=seed)
        asked = row
        if rules == learned:
            asked = decide(known, table=table, ruling=start, closed=closed, seed=seed)
        looks += asked["decision"] != "not_enough"
        would += asked["decision"] == "adopt"
        decision, rules = str(row["decision"]), str(row["rules"])
        if decision in first and not first[decision]:
            first[decision] = month + 1
        if decision == "adopt":
            ahead = slice(month + 1, month + 1 + AFTER)
            after.append(float(other[ahead].mean() / cold[ahead].mean() - 1))
        gated.append((other if rules == learned else cold)[month + 1].mean())
    ruled = slice(1, CLOSES + 1)
    return Walk(
        looks, would, first["adopt"], first["revert"], tuple(after),
        float(cold[ruled].mean()), float(np.mean(gated)), float(other[ruled].mean()),
    )  # fmt: skip


def _contests(losses: Losses, table: str) -> pl.DataFrame:
    rows = [
        (table, add_months(FIRST, c), add_months(FIRST, c + k), k + 1,
         float(losses[0][c, k]), float(losses[1][c, k]), 1.0, 40)
        for c in range(CYCLES)
        for k in range(LEADS)
    ]  # fmt: skip
    columns = ["table", "cycle", "ds", "lead", "cold_loss", "other_loss", "size", "cells"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def summarise(name: str, walks: list[Walk]) -> dict[str, object]:
    """One row: shares and losses in percent over companies."""
    kind = SCENES[name].kind
    adopted = np.array([w.adopted for w in walks])
    reverted = np.array([w.reverted for w in walks])
    ever = adopted > 0
    if kind == "turns":  # of those that were on it when it turned
        ever_then = ever & (adopted <= TURN) & ~((reverted > 0) & (reverted <= TURN))
        back = reverted[ever_then & (reverted > 0)] - TURN
        of = int(ever_then.sum())
    else:
        back, of = (reverted - adopted)[ever & (reverted > 0)], int(ever.sum())
    after = [share for w in walks for share in w.after]
    cold = sum(w.cold for w in walks)
    return {
        "scene": name,
        "kind": kind,
        "companies": len(walks),
        "gain": -_percent(sum(w.open for w in walks) / cold - 1),
        "looks_that_adopt": _percent(
            sum(w.would_adopt for w in walks) / max(1, sum(w.looks for w in walks))
        ),
        "ever_adopted": _percent(ever.mean()),
        "by_12": _percent((ever & (adopted <= 12)).mean()),
        "by_18": _percent((ever & (adopted <= 18)).mean()),
        "median_adopted": float(np.median(adopted[ever])) if ever.any() else None,
        "adoptions": len(after),
        "six_after": _percent(np.mean(after)) if after else None,
        "reverted": _percent(len(back) / of) if of else None,
        "median_reverted": float(np.median(back)) if len(back) else None,
        "gated_gain": -_percent(sum(w.gated for w in walks) / cold - 1),
        "open_worst": _percent(max(w.open / w.cold for w in walks) - 1),
        "gated_worst": _percent(max(w.gated / w.cold for w in walks) - 1),
    }


def _percent(share: float) -> float:
    return round(100 * float(share), 2) + 0.0


def run(
    *, companies: int = 100, first: int = 0, scenes: tuple[str, ...] = tuple(SCENES)
) -> pl.DataFrame:
    """A row a scene."""
    rows = []
    for name in scenes:
        scene = SCENES[name]
        seeds = range(first, first + companies)
        walks = [walk(scene.losses(seed), scene.table, seed=seed) for seed in seeds]
        rows.append(summarise(name, walks))
        print(rows[-1], flush=True)
    return pl.DataFrame(rows, infer_schema_length=None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--companies", type=int, default=100)
    parser.add_argument(
        "--first", type=int, default=0, help="first seed; choices used 1000 to 1299"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    parser.add_argument(
        "--table", choices=sorted({s.table for s in SCENES.values()}),
        help="run the scenes of this table alone; the other rows of the file stay",
    )  # fmt: skip
    options = parser.parse_args()
    asked = tuple(name for name, s in SCENES.items() if options.table in (None, s.table))
    found = run(companies=options.companies, first=options.first, scenes=asked)
    if options.table and options.out.exists():
        stays = pl.read_csv(options.out).filter(~pl.col("scene").is_in(asked))
        place = pl.col("scene").replace_strict({name: k for k, name in enumerate(SCENES)})
        found = pl.concat([stays, found], how="vertical_relaxed").sort(place)
    found.write_csv(options.out)


if __name__ == "__main__":
    main()
