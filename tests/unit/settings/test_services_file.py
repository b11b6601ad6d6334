"""SERVICES_FILE: its content, and how mistakes in it are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from http_api.settings.complaint import BadSettings
from http_api.settings.services_file import BadServicesFile, ServicesFile, read_services_file
from manager_agent.json_object import JsonObject
from manager_agent.outbound.address_policy import AddressPolicy, read_networks
from manager_agent.registry.services import RegisteredService
from manager_agent.session.events import ReadyOn
from manager_agent.session.required_service import Requirement
from tests.documents import code_in

pytestmark = pytest.mark.unit

ADDRESS_POLICY = AddressPolicy(networks=read_networks("0.0.0.0/0"), own_port=8080, is_own=lambda ip: False)
GOOD = """
services:
  - service_id: asr-service
    endpoint: http://asr:9000/
    metadata: {type: ASR, version: 1.0.0, since: 2024-05-01, languages: [no, de], ratio: 0.5, tested: yes, old: false}
    labels: {language: no}
    ready_on: signal
    capacity: 40
  - &agent
    service_id: echo-agent
    agent_name: echo-agent
    metadata:
      type: AGENT
    lease_seconds: 30
profiles:
  voice-bot: [asr-service, {type: TTS, labels: {language: de}}, {service_id: avatar, optional: true}]
  nothing: []
"""


def read(tmp_path: Path, text: str | bytes) -> ServicesFile:
    path = tmp_path / "services.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_services_file(path, 7.0, ADDRESS_POLICY)


def complaint(tmp_path: Path, text: str | bytes) -> list[str]:
    """What is said, line by line, without the name of the file."""
    with pytest.raises(BadServicesFile) as caught:
        read(tmp_path, text)
    first, *lines = str(caught.value).splitlines()
    assert first == "SERVICES_FILE can't be used:"
    assert all(line.startswith(f"  {tmp_path}/services.yaml:") for line in lines)
    return [line.removeprefix(f"  {tmp_path}/services.yaml:") for line in lines]


def test_the_services_file_gives_services_and_profiles(tmp_path: Path) -> None:
    """`no` is a language, and a date is text, as the writer means them."""
    file = read(tmp_path, GOOD)
    asr, agent = file.services
    assert asr == RegisteredService(
        "asr-service",
        "ASR",
        "http://asr:9000/",
        ready_on=ReadyOn.SIGNAL,
        labels={"language": "no"},
        metadata=JsonObject.of(
            {
                "type": "ASR",
                "version": "1.0.0",
                "since": "2024-05-01",
                "languages": ["no", "de"],
                "ratio": 0.5,
                "tested": "yes",
                "old": False,
            }
        ),
        registered_at=7.0,
        capacity=40,
        static=True,
    )
    assert (agent.endpoint, agent.agent_name, agent.lease_seconds, agent.static) == (None, "echo-agent", 30, True)
    assert file.profiles == {
        "voice-bot": [
            Requirement("asr-service"),
            Requirement(type="TTS", labels={"language": "de"}),
            Requirement("avatar", optional=True),
        ],
        "nothing": [],
    }


def test_the_services_file_example_in_the_docs_is_valid(tmp_path: Path) -> None:
    [example] = code_in("docs/services-file.md", "yaml")
    file = read(tmp_path, example)
    assert [service.service_id for service in file.services] == ["asr-service", "echo-agent"]
    assert [len(entries) for entries in file.profiles.values()] == [3]


@pytest.mark.parametrize(
    "text", ["", "# later\n", "---\n", "{}", "services: []\nprofiles: {}\n", "services:\nprofiles:"]
)
def test_an_empty_services_file_is_valid(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == ServicesFile()


def test_every_mistake_in_the_services_file_is_named_with_line_and_field(tmp_path: Path) -> None:
    """All at once, in the order of the lines; no value is shown."""
    said = complaint(
        tmp_path,
        """\
services:
  - service_id: asr service
    endpoint: ftp://s3cret@asr/
    metadata: {type: ASR}
    capacity: many
  - endpoint: http://asr/
    metadata:
      version: 1.0
    capcity: 3
  - service_id: twice
    agent_name: twice
    metadata: {type: A}
  - service_id: twice
    agent_name: twice
    metadata: {type: A}
  - service_id: cloud
    endpoint: http://169.254.169.254/latest
    metadata: {type: A}
profiles:
  voice bot: []
  voice-bot:
    - asr-1
    - {type: TTS, service_id: tts-1}
    - asr-1
  other: [7]
extra: true
""",
    )
    assert [line.partition(": ")[0] + " " + line.split(": ")[1] for line in said] == [
        "2 services[0].service_id",
        "3 services[0].endpoint",
        "5 services[0].capacity",
        "6 services[1].service_id",
        "7 services[1].metadata.type",
        "8 services[1].metadata.version",
        "9 services[1].capcity",
        "13 services[3].service_id",
        "17 services[4].endpoint",
        "20 profiles.voice bot",
        "23 profiles.voice-bot[1]",
        "25 profiles.other[0]",
        "26 extra",
    ]
    assert said[7] == "13: services[3].service_id: is already in line 10"
    assert "s3cret" not in "".join(said)


def test_a_profile_that_requires_a_service_twice_is_a_mistake(tmp_path: Path) -> None:
    said = complaint(tmp_path, "profiles:\n  a: []\n  b:\n    - x\n    - x\n")
    assert said == ["3: profiles.b: names a service twice: x"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services: [\n", ["2: is not YAML: "]),
        ("services:\n\t- x", ["2: is not YAML: "]),
        ("a: 1\n---\nb: 2\n", ["2: is not YAML: "]),
        ("x: *nobody", ["1: is not YAML: "]),
        (b"\xff\xfe\xfa", ["1: is not YAML: "]),
        (b"services: \x00", ["1: is not YAML: "]),
        ("[" * 3_000, ["1: is "]),
        ("services: []\nservices: []\n", ["2: services: is already in line 1"]),
        ("profiles:\n  a: [x]\n  a: [y]", ["3: profiles.a: is already in line 2"]),
        ("1: x", ["1: has a key that is not a string"]),
        ("? [a]\n: x", ["1: has a key that is not a string"]),
        ("profiles: &a {x: *a}", ["1: profiles.x", "1: profiles.x.x.x"]),
        ('services: "\\0"', ["1: services: has a control character"]),
        ("services: !!python/none x", ["1: services: has an unsupported tag: "]),
        ("services: .inf", ["1: services: is not finite"]),
        ("services: !!int x", ["1: services: is not a number"]),
        ("services", ["1: (body): Input should be"]),
        ("- services", ["1: (body): Input should be"]),
    ],
)
def test_an_unreadable_services_file_is_reported_and_never_crashes(
    tmp_path: Path, text: str | bytes, said: list[str]
) -> None:
    lines = complaint(tmp_path, text)
    assert all(line.startswith(start) for line, start in zip(lines, said, strict=True)), lines


def test_a_missing_services_file_is_reported(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(BadSettings, match=rf"^SERVICES_FILE: {path} can't be read: {why}$"):
            read_services_file(path, 0.0, ADDRESS_POLICY)
