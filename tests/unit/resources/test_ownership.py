"""What callers are shown of a session."""

from __future__ import annotations

import pytest

from http_api.resources.ownership import ShownSession

pytestmark = pytest.mark.unit


def test_the_token_of_a_shown_session_is_not_in_its_repr() -> None:
    assert "eyJ" not in repr(ShownSession(3, '{"access_token":"eyJhbGciOi"}'))
