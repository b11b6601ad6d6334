"""API_KEYS: the format of an entry, and whose a key is."""

from __future__ import annotations

import pytest

from http_api.access.api_keys import DEFAULT_SCOPES, KeyEntry, digest_of, entry_of, new_key, read_api_keys
from http_api.access.principals import Scope

pytestmark = pytest.mark.unit

ONE, TWO = digest_of("one"), digest_of("two")


def test_an_api_key_entry_has_a_name_a_digest_and_optional_scopes() -> None:
    text = f"acme:{ONE}, Bots-R.us_2:{TWO.upper()}:services+metrics"
    assert read_api_keys(text) == (
        KeyEntry("acme", ONE, frozenset({Scope.SESSIONS, Scope.SERVICES})),
        KeyEntry("Bots-R.us_2", TWO, frozenset({Scope.SERVICES, Scope.METRICS})),
    )


def test_a_written_api_key_entry_is_read_back() -> None:
    entries = tuple(
        KeyEntry(f"key-{n}", digest_of(new_key()), scopes)
        for n, scopes in enumerate([DEFAULT_SCOPES, frozenset(Scope), frozenset({Scope.ADMIN})])
    )
    assert read_api_keys(",".join(map(str, entries))) == entries


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("", "name"),
        (ONE, "name"),
        (f":{ONE}", "name"),
        (f"a b:{ONE}", "name"),
        (f"-a:{ONE}", "name"),
        (f"{'a' * 64}:{ONE}", "name"),
        (f"acmé:{ONE}", "name"),
        (f"a/b:{ONE}", "name"),
        (f"dev:{ONE}", "reserved"),
        (f"LiveKit:{ONE}", "reserved"),
        ("acme", "SHA-256"),
        ("acme:sm_0123456789012345678901234567890123456789012", "SHA-256"),
        (f"acme:{ONE[:-1]}", "SHA-256"),
        (f"acme:{ONE}0", "SHA-256"),
        (f"acme:{ONE[:-1]}g", "SHA-256"),
        (f"acme:{ONE}:", "scope"),
        (f"acme:{ONE}:sessions+", "scope"),
        (f"acme:{ONE}:sessions services", "scope"),
        (f"acme:{ONE}:root", "scope"),
        (f"acme:{ONE}:admin:metrics", "scope"),
        (f"first:{ONE}", "earlier entry"),
        (f"other:{digest_of('first')}", "earlier entry"),
    ],
)
def test_an_invalid_api_key_entry_is_named_by_its_position_alone(entry: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^entry 2 .*{why}") as raised:
        read_api_keys(f"first:{digest_of('first')},{entry}")
    said = str(raised.value)
    assert all(part not in said for part in entry.split(":") if len(part) > 9)


def test_only_the_exact_api_key_is_found() -> None:
    keys = {name: new_key() for name in ("a", "b", "c")}
    entries = [KeyEntry(name, digest_of(key)) for name, key in keys.items()]
    for name, key in keys.items():
        found = entry_of(entries, key)
        assert found is not None
        assert found.name == name
        assert entry_of(entries, key[:-1]) is None
        assert entry_of(entries, key + "A") is None
        assert entry_of(entries, digest_of(key)) is None, "what stands in API_KEYS is no key"
    assert entry_of([], new_key()) is None


def test_the_repr_of_an_api_key_entry_does_not_show_its_digest() -> None:
    assert ONE not in repr(KeyEntry("acme", ONE))
