"""What the text of LiveKit's 401 means."""

from __future__ import annotations

import pytest

from manager_agent.livekit.rejection import UNKNOWN, reason_in

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("invalid API key: APIx", "LIVEKIT_API_KEY"),
        ("invalid token: ey, error: token signature is invalid: signature is invalid", "LIVEKIT_API_SECRET"),
        ("invalid token: ey, error: token has invalid claims: token is expired", "clock of this machine is behind"),
        (
            "invalid token: ey, error: token has invalid claims: token is not valid yet",
            "clock of this machine is ahead",
        ),
        ("<html>401 Authorization Required</html>", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_the_reason_of_a_rejection_is_what_has_to_be_set_right(text: str, why: str) -> None:
    assert why in reason_in(text)
