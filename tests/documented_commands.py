"""What is wrong with a command that the documents show, found without running it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import typer
from pydantic import ValidationError

from http_api.cli import app
from http_api.operations import Operation
from http_api.routes import OPERATIONS
from scripts.repository import ROOT
from tests.documents import options_in

NOT_HERE = {
    "docker": "there is no container engine where the tests run",
    "pip": "it would install into this environment; tests/live/scripts/test_package.py does it in others",
    "kubectl": "there is no cluster; tests/unit/deploy and tests/api/deploy read the manifests",
}
"""Programs whose commands are not checked, and why. Files that they name must exist all the same."""
TO_BE_WRITTEN = {"my_service.py", "secret.yaml"}
"""Files that the reader makes."""
OURS = re.compile(r"(?:^|[\s\"'])((?:benchmarks|examples|http_api|scripts|service_kit|tests)(?:\.\w+)+)")
PATH = re.compile(r"(?:deploy|docs|examples|tests)/[\w./-]+")


def faults(words: list[str], folder: Path = ROOT, *, is_usage: bool = False) -> Iterator[str]:
    """Why this command would not work in this folder. `is_usage`: it has placeholders for arguments."""
    program, arguments = words[0].removeprefix(".venv/bin/"), words[1:]
    yield from (f"no file {path}" for path in arguments if PATH.fullmatch(path) and not (ROOT / path).exists())
    match program:
        case "curl":
            yield from _faults_of_curl(arguments)
        case "session-manager":
            yield from _faults_of_cli(arguments, is_usage=is_usage)
        case "python":
            yield from _faults_of_python(arguments)
        case "npm":
            yield from _faults_of_npm(arguments, folder)
        case "node":
            yield from (f"no file {name}" for name in arguments if not (folder / name).exists())
        case _ if program.startswith("scripts/"):
            yield from _faults_of_script(program, arguments)
        case _ if program not in NOT_HERE:
            yield f"unknown program {program}"


def operation_at(method: str, path: str) -> Operation | None:
    for operation in OPERATIONS:
        pattern = re.sub(r"\{[^}]*\}", "[^/]+", operation.path)
        if operation.method == method and re.fullmatch(pattern, path):
            return operation
    return None


def _faults_of_curl(arguments: list[str]) -> Iterator[str]:
    [url] = [urlsplit(word) for word in arguments if word.startswith("http")]
    data = arguments[arguments.index("-d") + 1] if "-d" in arguments else None
    method = arguments[arguments.index("-X") + 1] if "-X" in arguments else "GET" if data is None else "POST"
    operation = operation_at(method, url.path)
    if operation is None:
        yield f"no operation {method} {url.path}"
        return
    try:
        if operation.query is not None:
            operation.query.model_validate(dict(parse_qsl(url.query)))
        if operation.body is not None:
            operation.body.model_validate(json.loads(data or "null"))
    except (ValidationError, json.JSONDecodeError) as wrong:
        yield str(wrong)


def _faults_of_cli(arguments: list[str], *, is_usage: bool) -> Iterator[str]:
    command, rest = typer.main.get_command(app), arguments
    while rest and rest[0] in (inner := getattr(command, "commands", {})):
        command, rest = inner[rest[0]], rest[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }
    yield from (f"no option {option}" for option in options_in(rest) if option not in known)
    if getattr(command, "commands", None) and rest and not rest[0].startswith("--"):
        yield f"no command {rest[0]}"
    if not is_usage:
        try:
            command.make_context("session-manager", rest)
        except Exception as wrong:  # typer does not export its parser's errors
            yield f"{type(wrong).__name__} {wrong}"


def _faults_of_python(arguments: list[str]) -> Iterator[str]:
    if arguments[:1] != ["-m"]:
        yield from (f"no file {name}" for name in arguments[:1] if name not in TO_BE_WRITTEN)
        return
    module = arguments[1]
    if module.endswith(".NAME"):
        return
    if importlib.util.find_spec(module) is None:
        yield f"no module {module}"
    elif module.split(".")[0] in ("benchmarks", "examples", "http_api", "scripts", "service_kit", "tests"):
        yield from _unknown_options(arguments[2:], _file_of(module))


def _faults_of_script(name: str, arguments: list[str]) -> Iterator[str]:
    path = ROOT / name
    if not path.exists():
        yield f"no file {name}"
    elif not os.access(path, os.X_OK) and path.suffix != ".py":
        yield f"{name} can't be executed"
    else:
        yield from _unknown_options(arguments, path)


def _faults_of_npm(arguments: list[str], folder: Path) -> Iterator[str]:
    if arguments == ["ci"]:
        if not (folder / "package-lock.json").exists():
            yield f"no package-lock.json in {folder}"
    elif arguments[0] != "run" or arguments[1] not in json.loads((folder / "package.json").read_text())["scripts"]:
        yield f"npm can't {' '.join(arguments)} in {folder}"


def _unknown_options(arguments: list[str], program: Path) -> Iterator[str]:
    for option in options_in(arguments):
        if not re.search(rf"{option}(?![\w-])", _sources(program)):
            yield f"no option {option}"


@cache
def _sources(path: Path) -> str:
    """The text of a program and of the modules of ours that it runs, and of those that these import."""
    text, known = path.read_text(encoding="utf-8"), {path}
    for _ in range(2):
        for name in OURS.findall(text):
            file = _file_of(name)
            if file not in known and file.exists():
                known.add(file)
                text += file.read_text(encoding="utf-8")
    return text


def _file_of(module: str) -> Path:
    """The file of a module of ours that is run."""
    path = ROOT / module.replace(".", "/")
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
