"""The hyperparameters: one row each, on its own scale."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from sopforecast.clinical.rate_prior import NAMES, PRIORS, Hyper, natural


def test_every_hyperparameter_has_a_prior():
    assert tuple(field.name for field in fields(Hyper)) == NAMES


def test_scales_by_hand():
    """One prior sd up: 0.10 exp(0.4) for the walk, and the logit of silence 0.6 higher."""
    up = natural(np.ones((1, len(PRIORS))))
    assert up.walk[0] == pytest.approx(0.10 * np.exp(0.4))
    odds = 0.015 / 0.985 * np.exp(0.6)
    assert up.silence[0] == pytest.approx(odds / (1 + odds))
    assert up.drift_young[0] == pytest.approx(-0.01)


def test_usual_values_are_the_centres():
    usual = natural(np.zeros((2, len(PRIORS))))
    assert usual.comeback == pytest.approx([0.05, 0.05])
    assert usual.level == pytest.approx([0.0, 0.0])
