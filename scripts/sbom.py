"""Print the software bill of materials of the project, as CycloneDX: `python -m scripts.sbom [FILE]`.

It has what requirements.lock has for running the program on any platform, with the hashes, and no development tools.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from http_api import VERSION
from scripts import tools
from scripts.lock_file import LOCK, PROJECT, LockedPackage, read_lock, shipped
from scripts.prerequisites import PrerequisiteMissing
from scripts.repository import ROOT


def bill_of_materials() -> dict[str, Any]:
    """The same for the same lock. Raises PrerequisiteMissing, CalledProcessError."""
    packages = shipped(read_lock(LOCK.read_text()))
    requirements = "".join(f"{line}\n" for package in packages for line in package.lines)
    command = [str(tools.program("cyclonedx-py")), "requirements", "-", "--pyproject", str(ROOT / "pyproject.toml")]
    options = ["--output-reproducible", "--short-PURLs", "--no-validate"]  # a test validates what we make of it
    done = subprocess.run([*command, *options], input=requirements.encode(), capture_output=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    document["metadata"]["component"]["version"] = VERSION
    document["dependencies"] = _dependencies(packages, document)
    return document


def _dependencies(packages: list[LockedPackage], document: dict[str, Any]) -> list[dict[str, Any]]:
    """Who needs whom. Requirements don't say it, so the generator can't; the comments of the lock do."""
    refs = {component["name"]: component["bom-ref"] for component in document["components"]}
    needs = {
        refs[package.name]: {refs[one.name] for one in packages if package.name in one.reasons} for package in packages
    }
    root = document["metadata"]["component"]["bom-ref"]
    needs[root] = {refs[package.name] for package in packages if PROJECT in package.reasons}
    return [{"ref": ref, "dependsOn": sorted(needed)} for ref, needed in sorted(needs.items())]


def main() -> int:
    try:
        text = json.dumps(bill_of_materials(), indent=2) + "\n"
    except PrerequisiteMissing as missing:
        print(f"sbom: {missing}", file=sys.stderr)
        return 1
    if paths := sys.argv[1:]:
        Path(paths[0]).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
