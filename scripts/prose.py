"""Check docs, docstrings, comments and messages for words of a short list: `python -m scripts.prose`.

Prints each place with the word and what to write instead; exits 1 if there is any. Vale would be the usual tool, but
its package on PyPI downloads a binary when it runs, which a machine without access to GitHub cannot do.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

from scripts.repository import ROOT

ACTOR = "name the actor: the caller, the client, the service, a participant"
BANNED = {
    r"who(?:m|so)?ever": ACTOR,
    r"(?:no|some|every)body(?:'s)?": ACTOR,
    r"he|his|him|himself": "it, its; or they, their for a person",
    r"heed(?:s|ed|ing)?": "honor, apply, read",
    r"vouch(?:es|ed)?(?: for)?": "trust, confirm",
    r"for ever": "permanently, forever",
    r"for want of": "because there is no",
    r"on account of": "because of",
    r"be had": "be available, be fetched",
    r"(?:come|comes|came) to nothing": "fail, fails, failed",
    r"none of ours": "not ours",
    r"nobody's business": "private",
    r"thereof|hitherto|betimes|lest|whence|thence|whilst|amongst": "a modern word",
    r"(?:behavi|col|hon|fav|neighb)our\w*": "American spelling: -or",
    r"\w*(?:ecogni|initiali|seriali|normali|summari|authori|organi|synchroni|optimi)s(?:e|es|ed|ing|ation)": "-ize",
    r"licences?": "license",
}
"""What is not written (a pattern of whole words), and what is written instead."""

PRODUCT = (
    "manager_agent/",
    "http_api/",
    "service_kit/",
    "session_manager_client/",
    "examples/",
    "scripts/",
    "benchmarks/",
)
VENDORED = re.compile(r"^http_api/static/(?:htm|livekit-client|swagger-ui)/")
TEXTS = (".md", ".js", ".html", ".css", ".yaml", ".toml")
CODE_BLOCK = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
STRINGS = frozenset({tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)})
"""From Python 3.12 on, f-strings are tokens of their own."""
WORDS = re.compile(rf"(?<![\w-])(?:{'|'.join(BANNED)})(?![\w-])".replace(" ", r"\s+"), re.IGNORECASE)


class ProseFinding(NamedTuple):
    path: str
    line: int
    word: str
    instead: str


def findings_in(path: str, text: str) -> list[ProseFinding]:
    """Every banned word in the prose of one file. `path` decides what of it is prose."""
    passages = _python_prose(path, text) if path.endswith(".py") else [(1, _without_code(path, text))]
    return [
        ProseFinding(path, line + passage[: match.start()].count("\n"), match.group(), instead_of(match.group()))
        for line, passage in passages
        for match in WORDS.finditer(passage)
    ]


def instead_of(word: str) -> str:
    return next(better for pattern, better in BANNED.items() if re.fullmatch(pattern, word, re.IGNORECASE))


def _python_prose(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Comments and docstrings with their lines; of product code, strings of several words too. Strings of tests are
    their data."""
    statements = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr))
    docstrings = {node.lineno for node in statements if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        is_message = path.startswith(PRODUCT) and " " in token.string and path != "scripts/prose.py"
        if token.type == tokenize.COMMENT or (token.type in STRINGS and (line in docstrings or is_message)):
            yield line, token.string


def _without_code(path: str, text: str) -> str:
    """Markdown without its code, line numbers kept; any other text whole."""
    if not path.endswith(".md"):
        return text
    return CODE_BLOCK.sub(lambda block: "\n" * block.group().count("\n"), text)


def files() -> Iterator[str]:
    """The files of the repository that hold prose in English."""
    for path in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        if path.endswith((".py", *TEXTS)) and not VENDORED.match(path) and not path.endswith(".zh.md"):
            yield path


def main() -> int:
    found = [finding for path in files() for finding in findings_in(path, (ROOT / path).read_text(encoding="utf-8"))]
    for finding in found:
        print(f"{finding.path}:{finding.line}: {finding.word!r}: {finding.instead}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
