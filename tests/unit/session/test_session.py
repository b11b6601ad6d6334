"""What a session says of itself, beyond what its events lead to."""

from __future__ import annotations

import pytest

from manager_agent.frozen import replace
from manager_agent.session.attempt import InstanceRef
from tests.unit import sessions as given

pytestmark = pytest.mark.unit


def test_the_room_name_is_the_callers_or_that_of_the_group_which_shares_it() -> None:
    own = replace(given.a_session(), owner="shop")
    assert own.tenant == "shop"
    assert replace(own, shared_with="stores").tenant == "stores"


def test_an_instance_is_logged_without_the_secrets_of_its_address() -> None:
    by_url = InstanceRef("asr-1", "https://me:hunter2@asr.example/invite?key=hunter2", None)
    assert by_url.log_fields.keys() == {"service_id", "endpoint"}
    assert "asr.example" in by_url.log_fields["endpoint"]
    assert "hunter2" not in str(by_url.log_fields)
    assert InstanceRef("bot", None, "echo").log_fields == {"service_id": "bot", "agent_name": "echo"}
