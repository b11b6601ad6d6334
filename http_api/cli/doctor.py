"""`session-manager doctor`: find what is wrong and say how to fix it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from http_api.cli import output
from http_api.cli.exits import ExitCode, run
from http_api.cli.target import Dev, Json

if TYPE_CHECKING:
    from rich.console import Console

    from http_api.doctor.finding import Finding

STYLES = {"ok": "green", "warning": "yellow", "wrong": "red", "skipped": "dim"}


def doctor(dev: Dev = False, as_json: Json = False) -> None:
    """Check LiveKit, Redis, the port, webhooks, the clock and livekit.yaml, and say how to fix what is wrong.

    Run it on the session manager's machine with the same settings. It creates a room and deletes it again. Exit
    code 1: a check failed; warnings do not count.
    """
    run(_examine(dev, as_json), as_json=as_json)


async def _examine(dev: bool, as_json: bool) -> ExitCode:
    import warnings

    from jwt import InsecureKeyLengthWarning

    from http_api.doctor import examine
    from http_api.settings.settings import Settings

    warnings.simplefilter("ignore", InsecureKeyLengthWarning)  # the doctor checks this itself
    out, findings = output.out(), []
    async for finding in examine(Settings.load(dev=dev)):
        findings.append(finding)
        if not as_json:
            _show(out, finding)
    is_ok = all(finding.verdict != "wrong" for finding in findings)
    if as_json:
        output.print_json({"ok": is_ok, "checks": [asdict(finding) for finding in findings]})
    return ExitCode.OK if is_ok else ExitCode.FAILED


def _show(out: Console, finding: Finding) -> None:
    from rich.text import Text

    verdict = Text(f"{finding.verdict:8}", STYLES[finding.verdict])
    out.print(verdict, Text(f"{finding.check:16} {finding.says}"), soft_wrap=True)
    if finding.mend:
        out.print(Text(f"{'':9}{'':16} {finding.mend}", "bold"), soft_wrap=True)
