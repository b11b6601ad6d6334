"""The code in the documents: fenced blocks, the commands in them, and commands in the text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scripts.repository import ROOT

PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), ROOT / "examples/README.md", *(ROOT / "docs").rglob("*.md")]
)
BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )*(?:\.venv/bin/|scripts/|session-manager |python -m )[^`]*)`")
SEPARATORS = "();|&\n"
PUNCTUATION = SEPARATORS + "<>"


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def code_blocks(*languages: str) -> list[CodeBlock]:
    """The blocks of these languages in all pages; of every language if none is named."""
    return [block for page in PAGES for block in _blocks(page) if not languages or block.language in languages]


def code_in(page: str, language: str) -> list[str]:
    """The code of the blocks of this language in a page, as they stand there."""
    return [block.code for block in _blocks(page) if block.language == language]


def inline_commands() -> Iterator[tuple[str, list[str]]]:
    """The commands in the text, each with its page."""
    for page in PAGES:
        for command in INLINE.findall(BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))):
            for words in commands_in(command):
                yield page, words


def commands_in(script: str) -> list[list[str]]:
    """The commands of a shell script as their words, without assignments, redirections and comments."""
    text = re.sub(r"(^|\s)# .*$", "", script, flags=re.MULTILINE).replace("\\\n", " ")
    lexer = shlex.shlex(text, posix=True, punctuation_chars=PUNCTUATION)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    found: list[list[str]] = [[]]
    is_redirected = False
    for word in lexer:
        if set(word) <= set(SEPARATORS):
            found.append([])
        elif set(word) <= set(PUNCTUATION):
            is_redirected = True
        elif is_redirected or (not found[-1] and re.match(r"[A-Z_]+=", word)):
            is_redirected = False
        else:
            found[-1].append(word)
    return [words for words in found if words]


def options_in(words: Sequence[str]) -> list[str]:
    """The long options among the words of a command, which may be written as for a usage: `[--limit N]`."""
    return [word.strip("[].").partition("=")[0] for word in words if word.lstrip("[").startswith("--")]


def _blocks(page: str) -> Iterator[CodeBlock]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        yield CodeBlock(page, text.count("\n", 0, block.start()) + 1, block[2], block[3])
