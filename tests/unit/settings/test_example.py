""".env.example has settings that exist, and docs/production.md names each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from http_api.settings.settings import Settings
from scripts.repository import ROOT

pytestmark = pytest.mark.unit

EXAMPLE = (ROOT / ".env.example").read_text()
NAMES = re.findall(r"^([A-Z_]+)=", EXAMPLE, re.MULTILINE)
FILLED_IN = {
    "LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "s" * 32, "INVITE_API_KEY": "invites",
    "INVITE_API_SECRET": "t" * 32, "API_KEYS": f"shop:{'0' * 64}",
}  # fmt: skip


def test_the_example_is_accepted_once_it_is_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    text = re.sub(r"^([A-Z_]+)=$", lambda line: f"{line[1]}={FILLED_IN[line[1]]}", EXAMPLE, flags=re.MULTILINE)
    (tmp_path / ".env").write_text(text)
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    settings = Settings.load()
    assert settings.model_fields_set == {name.lower() for name in NAMES}
    assert (settings.invite_keys[0], settings.api_keys[0].name) == ("invites", "shop")


def test_every_setting_of_the_example_is_explained() -> None:
    told = (ROOT / "docs" / "production.md").read_text()
    assert [name for name in NAMES if name not in told and name != "LIVEKIT_SERVER_URL"] == []
