"""Build the documents as a site, and check every link: `python -m scripts.site [FOLDER]`, by default build/site."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts import npm_packages, tools
from scripts.prerequisites import PrerequisiteMissing
from scripts.repository import ROOT

LINK = re.compile(r"\]\((?!https?:)([^)\s#]+)")
THEME = ROOT / "scripts/site_theme"
SCRIPTS = {"mermaid.js": "@mermaid-js/tiny/dist/mermaid.tiny.js", "iframe-worker.js": "iframe-worker/shim/index.js"}
"""What the theme would load from unpkg.com, of the packages of THEME."""
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


class SiteNotBuilt(Exception):
    """mkdocs has complained. The message is what it said."""


def ensure() -> Path:
    """mkdocs, installed if it is missing, and so are the scripts of the pages. Raises PrerequisiteMissing."""
    npm_packages.install(THEME)
    return tools.program("mkdocs")


def documents(root: Path = ROOT) -> list[Path]:
    """The pages of the site."""
    return sorted([*root.glob("*.md"), root / "examples/README.md", *(root / "docs").rglob("*.md")])


def linked_files(page: Path) -> set[Path]:
    """The files of the repository to which a page links."""
    text = CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
    targets = {(page.parent / name).resolve() for name in LINK.findall(text)}
    return {target for target in targets if target.is_file()}


def build(site: Path, root: Path = ROOT) -> None:
    """Build the site into this folder.

    Raises SiteNotBuilt for a link, an anchor or an entry of the navigation that leads nowhere. Raises
    PrerequisiteMissing."""
    program = ensure()
    pages = documents(root)
    with TemporaryDirectory(prefix="documents-") as folder:
        files = {*pages, *(target for page in pages for target in linked_files(page))}
        copies = {str(file.relative_to(root)): file for file in files}
        copies |= {f"assets/javascripts/{name}": THEME / "node_modules" / file for name, file in SCRIPTS.items()}
        for name, file in copies.items():
            copy = Path(folder) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
        done = subprocess.run(
            [program, "build", "--strict", "--clean", "--config-file", ROOT / "mkdocs.yml"],
            env=os.environ | {"DOCUMENTS": folder, "SITE": str(site.resolve()), "NO_MKDOCS_2_WARNING": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    if done.returncode != 0:
        raise SiteNotBuilt(done.stdout)


def main() -> int:
    site = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "build/site"
    try:
        build(site)
    except (SiteNotBuilt, PrerequisiteMissing) as problem:
        print(f"docs: {problem}", file=sys.stderr)
        return 1
    print(site / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
