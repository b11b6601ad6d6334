"""Which addresses may be called: a table of spellings and networks, each with its verdict and reason."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network

import psutil
import pytest

from http_api.errors import Invalid
from http_api.models.services import RegisterService
from http_api.protocol.bodies import validated
from manager_agent.outbound.address_policy import (
    LOOPBACK,
    PRIVATE,
    PUBLIC,
    AddressPolicy,
    AddressRefused,
    read_networks,
)
from manager_agent.outbound.http_client import is_this_machine

pytestmark = pytest.mark.unit

OWN_PORT = 8080
OWN = frozenset({ip_address("127.0.0.1"), ip_address("::1"), ip_address("10.1.1.1"), ip_address("fd12::1")})


def address_policy(networks: str) -> AddressPolicy:
    named = {"private": PRIVATE, "loopback": LOOPBACK}
    return AddressPolicy(
        networks=named.get(networks) or read_networks(networks), own_port=OWN_PORT, is_own=OWN.__contains__
    )


PRIVATE_GUARD, DEV_GUARD, WIDE_GUARD = (
    address_policy("private"),
    address_policy("loopback"),
    address_policy("0.0.0.0/0, ::/0"),
)

ADMITTED = [
    (PRIVATE_GUARD, "http://10.0.0.1/"),
    (PRIVATE_GUARD, "http://172.16.0.1:9000/invite?x=1"),
    (PRIVATE_GUARD, "https://192.168.255.255"),
    (PRIVATE_GUARD, "http://[fd12:3456::1]:9000/"),
    (PRIVATE_GUARD, "http://[::ffff:10.0.0.1]/"),
    (PRIVATE_GUARD, "http://10.1.1.1:8081/"),
    (PRIVATE_GUARD, "http://10.1.1.2:8080/"),
    (DEV_GUARD, "http://127.0.0.1:1/"),
    (DEV_GUARD, "http://127.255.255.254:65535/"),
    (DEV_GUARD, "http://[::1]:9000"),
    (DEV_GUARD, "HTTP://[0:0:0:0:0:0:0:1]:9000"),
    (WIDE_GUARD, "http://93.184.216.34/"),
    (WIDE_GUARD, "http://[2600:1406::1]/"),
    # a name is judged when it is dialled
    (PRIVATE_GUARD, "http://asr"),
    (PRIVATE_GUARD, "http://asr_1:9000/"),
    (PRIVATE_GUARD, "http://asr.svc.cluster.local.:9000/"),
    (PRIVATE_GUARD, "http://localhost:8080/"),
    (PRIVATE_GUARD, "http://xn--bcher-kva.example/b%C3%BCcher"),
    (PRIVATE_GUARD, "http://169.254.169.254.nip.io/"),
    (PRIVATE_GUARD, "http://0x7f.example/"),
    (PRIVATE_GUARD, f"http://{'a.' * 126}a/"),
    (PRIVATE_GUARD, "http://asr/?to=http://user@host/"),
]

REFUSED = [
    # outside the networks
    (PRIVATE_GUARD, "http://127.0.0.1/", "not in an allowed network"),
    (PRIVATE_GUARD, "http://[::1]/", "not in an allowed network"),
    (PRIVATE_GUARD, "http://[::ffff:127.0.0.1]/", "not in an allowed network"),
    (PRIVATE_GUARD, "http://93.184.216.34/", "not in an allowed network"),
    (PRIVATE_GUARD, "http://172.32.0.1/", "not in an allowed network"),
    (PRIVATE_GUARD, "http://100.64.0.1/", "not in an allowed network"),
    (PRIVATE_GUARD, "http://[2600:1406::1]/", "not in an allowed network"),
    (DEV_GUARD, "http://10.0.0.1/", "not in an allowed network"),
    (DEV_GUARD, "http://[fd12::2]/", "not in an allowed network"),
    (DEV_GUARD, "http://[::ffff:10.0.0.1]/", "not in an allowed network"),
    # never, however wide the networks
    (WIDE_GUARD, "http://0.0.0.0/", "unspecified"),
    (WIDE_GUARD, "http://0.1.2.3/", "unspecified"),
    (WIDE_GUARD, "http://[::]/", "unspecified"),
    (WIDE_GUARD, "http://[::ffff:0.0.0.0]/", "unspecified"),
    (WIDE_GUARD, "http://169.254.169.254/latest/meta-data/", "link-local"),
    (WIDE_GUARD, "http://169.254.170.2/", "link-local"),
    (WIDE_GUARD, "http://[::ffff:169.254.169.254]/", "link-local"),
    (WIDE_GUARD, "http://[::FFFF:A9FE:A9FE]/", "link-local"),
    (WIDE_GUARD, "http://[0:0:0:0:0:ffff:a9fe:a9fe]/", "link-local"),
    (WIDE_GUARD, "http://[::169.254.169.254]/", "IPv4-compatible"),
    (WIDE_GUARD, "http://[::ffff:0:169.254.169.254]/", "IPv4-translated"),
    (WIDE_GUARD, "http://[fe80::1]/", "link-local"),
    (WIDE_GUARD, "http://[febf::1]/", "link-local"),
    (WIDE_GUARD, "http://100.100.100.200/", "metadata"),
    (WIDE_GUARD, "http://168.63.129.16/", "metadata"),
    (WIDE_GUARD, "http://192.0.0.192/", "set aside"),
    (WIDE_GUARD, "http://192.0.0.8/", "set aside"),
    (PRIVATE_GUARD, "http://[fd00:ec2::254]/", "metadata"),
    (PRIVATE_GUARD, "http://[fd00:ec2:0::23]/", "metadata"),
    (PRIVATE_GUARD, "http://[fd20:ce::254]/", "metadata"),
    (PRIVATE_GUARD, "http://[fd00:c1::a9fe:a9fe]/", "metadata"),
    (PRIVATE_GUARD, "http://[fd00:42::42]/", "metadata"),
    (PRIVATE_GUARD, "http://[fd00:a9fe:a9fe::1]/", "metadata"),
    (PRIVATE_GUARD, "http://[fd00:100::100:200]/", "metadata"),
    (WIDE_GUARD, "http://224.0.0.1/", "multicast"),
    (WIDE_GUARD, "http://239.255.255.250/", "multicast"),
    (WIDE_GUARD, "http://[ff02::1]/", "multicast"),
    (WIDE_GUARD, "http://[::ffff:224.0.0.1]/", "multicast"),
    (WIDE_GUARD, "http://255.255.255.255/", "broadcast"),
    (WIDE_GUARD, "http://240.0.0.1/", "reserved"),
    (WIDE_GUARD, "http://192.88.99.1/", "6to4"),
    (WIDE_GUARD, "http://[2002:a9fe:a9fe::]/", "6to4"),
    (WIDE_GUARD, "http://[2001:0:1::1]/", "Teredo"),
    (WIDE_GUARD, "http://[64:ff9b::169.254.169.254]/", "NAT64"),
    (WIDE_GUARD, "http://[64:ff9b::a00:1]/", "NAT64"),
    (WIDE_GUARD, "http://[64:ff9b:1::1]/", "NAT64"),
    # our own port
    (DEV_GUARD, "http://127.0.0.1:8080/livekit/webhook", "manager itself"),
    (DEV_GUARD, "http://[::1]:8080/", "manager itself"),
    (DEV_GUARD, "http://[::ffff:7f00:1]:8080/", "manager itself"),
    (PRIVATE_GUARD, "http://10.1.1.1:8080/", "manager itself"),
    (PRIVATE_GUARD, "http://[fd12:0::1]:8080/", "manager itself"),
    # IPv4 addresses that only some read as such
    (DEV_GUARD, "http://2130706433/", "four decimal numbers"),
    (DEV_GUARD, "http://0x7f000001/", "four decimal numbers"),
    (DEV_GUARD, "http://0x7f.1/", "four decimal numbers"),
    (DEV_GUARD, "http://0x7f.0x0.0x0.0x1/", "four decimal numbers"),
    (DEV_GUARD, "http://017700000001/", "four decimal numbers"),
    (DEV_GUARD, "http://0177.0.0.1/", "four decimal numbers"),
    (DEV_GUARD, "http://127.0.0.01/", "four decimal numbers"),
    (DEV_GUARD, "http://127.1/", "four decimal numbers"),
    (DEV_GUARD, "http://127.0.0.1./", "four decimal numbers"),
    (DEV_GUARD, "http://127.0.0.1.5/", "four decimal numbers"),
    (DEV_GUARD, "http://127.0.0.256/", "four decimal numbers"),
    (DEV_GUARD, "http://0x/", "four decimal numbers"),
    (DEV_GUARD, "http://asr.7/", "four decimal numbers"),
    # IPv6 addresses that are none
    (WIDE_GUARD, "http://[fe80::1%25eth0]/", "host"),
    (WIDE_GUARD, "http://[fe80::1%eth0]/", "host"),
    (WIDE_GUARD, "http://[::1", "host"),
    (WIDE_GUARD, "http://[]/", "host"),
    (WIDE_GUARD, "http://[::1]a/", "host"),
    (WIDE_GUARD, "http://::1/", "host"),
    (WIDE_GUARD, "http://[127.0.0.1]/", "IPv6 address between the brackets"),
    (WIDE_GUARD, "http://[1::2::3]/", "IPv6 address between the brackets"),
    (WIDE_GUARD, "http://[v1.fe80]/", "host"),
    # hosts that are none, or written as another
    (WIDE_GUARD, "http://", "host"),
    (WIDE_GUARD, "http:///invite", "host"),
    (WIDE_GUARD, "http://?x", "host"),
    (WIDE_GUARD, "http://:80/", "host"),
    (WIDE_GUARD, "http://a..b/", "a valid DNS host name"),
    (WIDE_GUARD, "http://.a/", "a valid DNS host name"),
    (WIDE_GUARD, "http://a../", "a valid DNS host name"),
    (WIDE_GUARD, "http://./", "a valid DNS host name"),
    (WIDE_GUARD, "http://-a/", "a valid DNS host name"),
    (WIDE_GUARD, f"http://{'a' * 64}/", "a valid DNS host name"),
    (WIDE_GUARD, f"http://{'a.' * 127}/", "a valid DNS host name"),
    (WIDE_GUARD, "http://a%2eb/", "host"),
    (WIDE_GUARD, "http://%31%32%37.0.0.1/", "host"),
    (WIDE_GUARD, "http://a,b/", "host"),
    (WIDE_GUARD, "http://\uff11\uff12\uff17.0.0.1/", "printable ASCII"),
    (WIDE_GUARD, "http://①②⑦.⓪.⓪.①/", "printable ASCII"),
    (WIDE_GUARD, "http://127。0。0。1/", "printable ASCII"),
    (WIDE_GUARD, "http://loc\u00adalhost/", "printable ASCII"),
    (WIDE_GUARD, "http://bücher.example/", "printable ASCII"),
    # ports
    (WIDE_GUARD, "http://a:0/", "port"),
    (WIDE_GUARD, "http://a:65536/", "port"),
    (WIDE_GUARD, "http://a:999999/", "port"),
    (WIDE_GUARD, "http://a:-1/", "port"),
    (WIDE_GUARD, "http://a:/", "port"),
    (WIDE_GUARD, "http://a:080/", "port"),
    (WIDE_GUARD, "http://a:80:90/", "port"),
    (WIDE_GUARD, "http://a:x/", "port"),
    # users, fragments, separators that some take for others
    (WIDE_GUARD, "http://user:password@a/", "user"),
    (WIDE_GUARD, "http://user@a/", "user"),
    (WIDE_GUARD, "http://@a/", "user"),
    (WIDE_GUARD, "http://127.0.0.1:80@a/", "user"),
    (WIDE_GUARD, "http://a#@127.0.0.1/", "fragment"),
    (WIDE_GUARD, "http://a/#", "fragment"),
    (WIDE_GUARD, "http://a\\@127.0.0.1/", "backslashes"),
    (WIDE_GUARD, "http:\\\\127.0.0.1\\", "backslashes"),
    # spaces and control characters
    (WIDE_GUARD, "", "printable ASCII"),
    (WIDE_GUARD, " http://a/", "printable ASCII"),
    (WIDE_GUARD, "http://a/\n", "printable ASCII"),
    (WIDE_GUARD, "http://a\t.b/", "printable ASCII"),
    (WIDE_GUARD, "http://a/ HTTP/1.1\r\nX: y", "printable ASCII"),
    (WIDE_GUARD, "http://a/\x00", "printable ASCII"),
    # schemes
    (WIDE_GUARD, "a", "http or https"),
    (WIDE_GUARD, "//a/", "http or https"),
    (WIDE_GUARD, "http:a", "http or https"),
    (WIDE_GUARD, "http:/a/", "http or https"),
    (WIDE_GUARD, "ftp://a/", "http or https"),
    (WIDE_GUARD, "ws://a/", "http or https"),
    (WIDE_GUARD, "file:///etc/passwd", "http or https"),
    (WIDE_GUARD, "gopher://a/", "http or https"),
    (WIDE_GUARD, "unix:///var/run/docker.sock", "http or https"),
    (WIDE_GUARD, "javascript:alert(1)", "http or https"),
]


def test_at_least_sixty_forbidden_addresses_are_tried() -> None:
    assert len({address for _, address, _ in REFUSED}) >= 60


@pytest.mark.parametrize(("judge", "address"), ADMITTED)
def test_an_allowed_address_is_admitted_unchanged(judge: AddressPolicy, address: str) -> None:
    url = judge.admit(address)
    assert url.scheme in ("http", "https")
    assert url.raw_host
    assert url.raw_host in address.lower() or ":" in url.raw_host


@pytest.mark.parametrize(("judge", "address", "why"), REFUSED)
def test_a_forbidden_address_is_refused_with_the_reason(judge: AddressPolicy, address: str, why: str) -> None:
    with pytest.raises(AddressRefused, match=why):
        judge.admit(address)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("localhost", "not an IP address"),
        ("2130706433", "not an IP address"),
        ("127.0.0.1.", "not an IP address"),
        ("127.0.0.1:80", "not an IP address"),
        ("", "not an IP address"),
        ("fe80::1%eth0", "zone"),
        ("fd12::2%2", "zone"),
        ("169.254.169.254", "link-local"),
        ("::ffff:a9fe:a9fe", "link-local"),
        ("127.0.0.1", "manager itself"),
    ],
)
def test_only_plain_ip_addresses_are_dialed(address: str, why: str) -> None:
    with pytest.raises(AddressRefused, match=why):
        WIDE_GUARD.check(address, OWN_PORT)


def test_a_refusal_names_the_address_and_the_setting_to_change() -> None:
    with pytest.raises(AddressRefused) as caught:
        PRIVATE_GUARD.admit("http://[::ffff:93.184.216.34]/")
    assert str(caught.value) == "93.184.216.34 is not in an allowed network (INVITE_NETWORKS)"


WORDING = {
    "http://a b/": "should contain printable ASCII characters only, without spaces and backslashes",
    "ftp://a/": "should be an http or https URL",
    "http://a/#b": "should not have a fragment",
    "http://user@a/": "should not have a user or password",
    "http://a:0/": "should have a host, and optionally a port from 1 to 65535",
    "http://[1::2::3]/": "should have an IPv6 address between the brackets",
    "http://127.1/": "should have an IPv4 address of four decimal numbers",
    "http://-a/": "should have a valid DNS host name",
    "http://224.0.0.1/": "224.0.0.1 is never called, whatever INVITE_NETWORKS allows: multicast (RFC 5771)",
    "http://10.1.1.1:8080/": "10.1.1.1 with port 8080 is the session manager itself, whatever INVITE_NETWORKS allows",
}
"""What a caller reads who supplied the address."""


@pytest.mark.parametrize("address", WORDING)
def test_a_refusal_says_what_is_wrong(address: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        WIDE_GUARD.admit(address)
    assert str(caught.value) == WORDING[address]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("no address", "no address is not an IP address"),
        ("fe80::1%eth0", "fe80::1%eth0 has a zone, which is meaningful on this machine only (RFC 4007)"),
    ],
)
def test_an_address_that_is_not_dialed_is_named(address: str, why: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        WIDE_GUARD.check(address, OWN_PORT)
    assert (str(caught.value), caught.value.errno) == (why, None)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("http://192.0.2.7/", "the address is not in an allowed network (INVITE_NETWORKS)"),
        ("http://a/#b", "should not have a fragment"),
    ],
)
def test_for_a_host_name_the_reason_does_not_say_its_address(address: str, public: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        PRIVATE_GUARD.admit(address)
    assert caught.value.public == public


@pytest.mark.parametrize(
    ("judge", "address", "why"),
    [
        (PRIVATE_GUARD, "http://localhost/", "the address is not in an allowed network (INVITE_NETWORKS)"),
        (PRIVATE_GUARD, "http://localhost.:81/", "the address is not in an allowed network (INVITE_NETWORKS)"),
        (
            DEV_GUARD,
            "http://localhost:8080/",
            "the address with port 8080 is the session manager itself, whatever INVITE_NETWORKS allows",
        ),
    ],
)
def test_localhost_is_doubted_when_it_is_registered(judge: AddressPolicy, address: str, why: str) -> None:
    host = "localhost." if "localhost." in address else "localhost"
    assert judge.doubt(address) == f"{host} can't be called, so every invite will be `unreachable`: {why}"


@pytest.mark.parametrize("address", ["http://localhost:8081/", "http://localhost/"])
def test_localhost_where_it_is_allowed_is_not_doubted(address: str) -> None:
    assert DEV_GUARD.doubt(address) is None


def test_other_names_are_not_doubted_before_they_are_resolved() -> None:
    assert PRIVATE_GUARD.doubt("http://asr.example/") is None
    assert PRIVATE_GUARD.doubt("http://10.0.0.1/") is None


def test_public_allows_the_public_internet_and_nothing_else() -> None:
    judge = address_policy("public")
    judge.check("93.184.216.34", 80)
    judge.check("2600:1406::1", 80)
    for refused in ("10.0.0.1", "127.0.0.1", "100.64.0.1", "fd12::2", "::1", "5f00::1"):
        with pytest.raises(AddressRefused, match="not in an allowed network"):
            judge.check(refused, 80)


def test_networks_are_read_from_a_list() -> None:
    assert read_networks("10.0.0.0/8, fd12::/16,Public, 127.0.0.0/8,::1, 203.0.113.7") == (
        ip_network("10.0.0.0/8"),
        ip_network("fd12::/16"),
        PUBLIC,
        ip_network("127.0.0.0/8"),
        ip_network("::1/128"),
        ip_network("203.0.113.7/32"),
    )


NETWORK = "is not `public` or a network such as 10.0.0.0/8, with zeros after the prefix"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.0.0.0/8,10.0.0.1/8", f"entry 2 {NETWORK}"),
        ("", f"entry 1 {NETWORK}"),
        ("fe80::1%eth0", "entry 1 has a zone"),
        ("::ffff:10.0.0.0/104", "entry 1 is an IPv4-mapped network: write it as an IPv4 network"),
        ("224.0.0.0/4", "entry 1 is never called: multicast (RFC 5771)"),
        ("169.254.169.254", "entry 1 is never called: link-local, where clouds serve metadata (RFC 3927)"),
        ("fd20:ce::254", "entry 1 is never called: cloud metadata (Google)"),
    ],
)
def test_a_network_that_can_never_be_called_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="entry") as caught:
        read_networks(text)
    assert str(caught.value) == why


def test_a_network_that_only_contains_such_addresses_is_allowed() -> None:
    assert read_networks("0.0.0.0/0, 160.0.0.0/4") == (ip_network("0.0.0.0/0"), ip_network("160.0.0.0/4"))


def test_a_service_with_a_forbidden_endpoint_is_not_registered() -> None:
    body = {"service_id": "a b", "endpoint": "http://169.254.169.254/", "metadata": {"type": "ASR"}}
    with pytest.raises(Invalid) as caught:
        validated(RegisterService, body, address_policy=WIDE_GUARD)
    fields = {bad.field: bad.detail for bad in caught.value.fields}
    assert fields.keys() == {"service_id", "endpoint"}
    assert "link-local" in fields["endpoint"]


def test_addresses_of_this_machine_are_recognized() -> None:
    assert is_this_machine(ip_address("127.0.0.1"))
    assert is_this_machine(ip_address("127.9.9.9"))
    assert is_this_machine(ip_address("::1"))
    assert not is_this_machine(ip_address("192.0.2.1"))
    assert not is_this_machine(ip_address("2001:db8::1"))
    for found in (found for addresses in psutil.net_if_addrs().values() for found in addresses):
        if found.family == socket.AF_INET:
            assert is_this_machine(ip_address(found.address))
