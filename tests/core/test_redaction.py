"""Secrets out of texts, wherever they stand."""

from __future__ import annotations

import pytest

from sopforecast.core.redaction import redacted, scrub


@pytest.mark.parametrize(
    "text",
    [
        '[advanced]\nstore_url = "postgresql://ann:canary@host/db"\nname = "x"',
        '{"advanced": {"store_url": "postgresql://ann:canary@host/db", "name": "x"}}',
    ],
)
def test_secret_settings_are_hidden_and_known(text: str) -> None:
    settings, secrets = redacted(text)
    assert settings["advanced"] == {"store_url": "[hidden]", "name": "x"}
    assert secrets == {"postgresql://ann:canary@host/db", "canary"}
    assert scrub("failed: canary at sqlite://bob@there", secrets) == (
        "failed: [hidden] at sqlite://[hidden]@there"
    )


def test_a_secret_of_the_environment_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOPFORECAST_TOKENS", "canary-of-the-environment")
    assert redacted("neither: json nor = toml =")[0] == {}
    assert "canary-of-the-environment" in redacted("{}")[1]
