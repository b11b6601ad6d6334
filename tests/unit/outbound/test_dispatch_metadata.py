"""The metadata of a dispatched agent: the invite's members, and those that the client sent for this agent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from manager_agent.outbound.dispatch_metadata import dispatch_metadata
from tests.manager_stand_in import invite, invited_session

pytestmark = pytest.mark.unit


def metadata_for(*names: str, asked_as: str = "", **metadata: Any) -> dict[str, Any]:
    session = invited_session(**metadata)
    said: dict[str, Any] = json.loads(dispatch_metadata(invite("bot", session=session), asked_as, *names))
    return said


@pytest.mark.parametrize(
    ("metadata", "more"),
    [
        ({"phone": "+49", "名": "山田"}, {"phone": "+49", "名": "山田"}),
        ({"agents": {"bot": '{"phone": "+49"}', "other": '{"x": 1}'}}, {"phone": "+49"}),
        ({"agents": {"bot": "+49"}}, {"metadata": "+49"}),
        ({"agents": {"bot": "[1]"}}, {"metadata": "[1]"}),
        ({"agents": {"bot": "[" * 16_000}}, {"metadata": "[" * 16_000}),
        ({"agents": {"bot": '{"a": NaN}'}}, {"metadata": '{"a": NaN}'}),
        ({"agents": {"bot": '{"a": 1e999}'}}, {"metadata": '{"a": 1e999}'}),
        ({"agents": {"bot": '{"a": "\\ud83d"}'}}, {"metadata": '{"a": "\\ud83d"}'}),
        ({"agents": {"bot": '{"a": "\\ud83d\\ude00"}'}}, {"a": "😀"}),
        ({"agents": ["bot"]}, {"agents": ["bot"]}),
        ({"agents": {"bot": {"a": 1}}}, {"agents": {"bot": {"a": 1}}}),
        ({}, {}),
    ],
)
def test_a_stock_agent_finds_its_own_metadata_beside_the_invite(metadata: dict[str, Any], more: dict[str, Any]) -> None:
    said = metadata_for("bot-service", "bot", **metadata)
    ours = json.loads(invite("bot").model_dump_json(exclude={"identity", "token"}))
    assert said.keys() - ours.keys() == more.keys()
    assert {key: said[key] for key in more} == more
    assert said["session"]["metadata"] == metadata
    assert not {"token", "identity"} & said.keys()


def test_the_members_of_the_invite_count_where_names_clash() -> None:
    said = metadata_for("bot", event="hello", session="mine", id=7)
    assert (said["event"], said["id"], said["session"]["metadata"]["id"]) == ("session_invited", "inv_1", 7)


@pytest.mark.parametrize(("asked_as", "more"), [("voice", {"phone": "+49"}), ("video", {"metadata": "x"}), ("bot", {})])
def test_an_agent_gets_what_was_sent_for_the_name_by_which_it_was_asked_for(
    asked_as: str, more: dict[str, Any]
) -> None:
    """And nothing of what was sent for others."""
    agents = {"voice": '{"phone": "+49"}', "video": "x"}
    said = metadata_for("bot", "voice", "video", asked_as=asked_as, agents=agents)
    assert {key: said.get(key) for key in ("phone", "metadata", "agents") if key in said} == more
