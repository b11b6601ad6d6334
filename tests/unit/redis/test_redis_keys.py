"""Names of keys, and scripts as they are read from their files."""

from __future__ import annotations

from importlib.resources import files

import pytest
from redis.crc import key_slot

from manager_agent.redis.keys import Keys
from manager_agent.redis.script import INCLUDE, load_script

pytestmark = pytest.mark.unit


def test_all_keys_of_a_deployment_are_in_one_slot() -> None:
    keys = Keys("prod.eu-1_a")
    names = [keys.changes, keys.session("ses_1"), keys.room_name("a{b}c"), keys.claim("}{"), keys.records("{x}")]
    assert {key_slot(name.encode()) for name in names} == {key_slot(b"prod.eu-1_a")}
    assert keys.changes == "sm:{prod.eu-1_a}:changes"


@pytest.mark.parametrize("deployment", ["", "a b", "a}", "{a", "a:b", "-a", "a" * 64, "ä", "a\n"])
def test_other_deployments_are_refused(deployment: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        Keys(deployment)


def test_scripts_include_others() -> None:
    script = load_script("read_changes")
    assert script.source.startswith("#!lua flags=allow-oom\n")
    assert "local function tell(" in script.source
    assert "-- include:" not in script.source
    assert len(script.sha) == 40
    assert script.source not in repr(script)


def test_each_script_says_whether_it_goes_on_when_redis_is_full() -> None:
    sources = {
        file.name.removesuffix(".lua"): file.read_text() for file in (files("manager_agent.redis") / "lua").iterdir()
    }
    included = {name for source in sources.values() for name in INCLUDE.findall(source)}
    scripts = {name: source.partition("\n")[0] for name, source in sources.items() if name not in included}
    assert set(scripts.values()) == {"#!lua", "#!lua flags=allow-oom"}
    assert not any(sources[name].startswith("#!") for name in included)
