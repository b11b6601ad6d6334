"""Every block of code in the documents is checked here in its kind, and most are run by other tests. A block in a
language that is not listed here fails."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from http_api.models.responses import SessionView, SessionWithToken
from http_api.models.services import Heartbeat
from manager_agent.messages import Invite, RoomStatus, SessionEndedMessage
from scripts.prerequisites import PrerequisiteMissing
from scripts.repository import ROOT
from service_kit import Service, SessionJob
from tests.documented_commands import faults
from tests.documents import CodeBlock, code_blocks, commands_in, inline_commands
from tests.prerequisites import prerequisite

pytestmark = pytest.mark.unit

CHECKED = {"sh", "python", "js", "json", "yaml", "mermaid"}
CHECKED_ELSEWHERE = {"jsx": "tests/browser/test_react_components.py bundles it"}
NO_CODE = {"text": "output, and lists", "http": "headers"}
NOT_INSTALLED = {"flask", "requests"}
"""What programs in the documents import and no test does: those use stand-ins."""
DIAGRAMS = ("flowchart", "sequenceDiagram", "stateDiagram-v2")
MODELS: dict[str, list[type[BaseModel] | None]] = {
    "README.md": [SessionWithToken],
    "README.zh.md": [SessionWithToken],
    "docs/api.md": [RoomStatus],
    "docs/callbacks.md": [SessionView],
    "docs/logs.md": [None],
    "docs/services.md": [Invite, SessionEndedMessage, Heartbeat],
    "docs/vector.md": [None],
}
"""What the JSON of each page shows, in order. None: a log entry."""
LOG_EVENTS = re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "logs.md").read_text())
ELIDED = "..."


def each(*languages: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", code_blocks(*languages), ids=str)


def test_every_block_has_a_language_whose_blocks_are_checked() -> None:
    known = CHECKED | CHECKED_ELSEWHERE.keys() | NO_CODE.keys()
    assert [str(block) for block in code_blocks() if block.language not in known] == []


@each("sh")
def test_documented_commands_would_run(block: CodeBlock) -> None:
    folder, wrong = ROOT, list[str]()
    for words in commands_in(block.code):
        if words[0] == "cd":
            folder /= words[1]
            assert folder.is_dir()
        else:
            wrong += [f"{' '.join(words)}: {fault}" for fault in faults(words, folder)]
    assert wrong == []


def test_commands_in_the_text_exist() -> None:
    found = list(inline_commands())
    assert len(found) > 100
    wrong = [f"{page}: {' '.join(words)}: {fault}" for page, words in found for fault in faults(words, is_usage=True)]
    assert wrong == []


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("scripts/no-such-script", "no file"),
        ("scripts/bench --fast", "no option --fast"),
        (".venv/bin/python -m benchmarks.no_such_benchmark", "no module"),
        (".venv/bin/python -m service_kit.check http://localhost:9000/ --service my-service", "no option --service"),
        ("session-manager create --user alice", "no option --user"),
        ("session-manager bill", "no command bill"),
        ("session-manager timeline", "Missing"),
        ("curl -X PUT http://localhost:8080/api/v1/sessions", "no operation PUT /api/v1/sessions"),
        ('curl http://localhost:8080/api/v1/sessions -d \'{"user": "alice"}\'', "user_identity"),
        ("pytest tests/no_such_folder/", "no file tests/no_such_folder/"),
        ("npm run no-such-script", "npm can't run no-such-script"),
    ],
)
def test_a_command_that_would_not_run_has_a_fault(command: str, fault: str) -> None:
    [words] = commands_in(command)
    assert fault in "\n".join(faults(words, ROOT / "examples" / "web"))


@each("python")
def test_documented_python_compiles_and_imports_what_exists(block: CodeBlock) -> None:
    tree = compile(block.code, str(block), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(tree, ast.Module)
    compile(tree, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom) and statement.module not in NOT_INSTALLED:
            module = importlib.import_module(statement.module or "")
            for name in statement.names:
                assert hasattr(module, name.name) or importlib.util.find_spec(f"{module.__name__}.{name.name}")
        elif isinstance(statement, ast.Import):
            assert all(name.name in NOT_INSTALLED or importlib.util.find_spec(name.name) for name in statement.names)


def test_documented_span_of_a_service_is_one_of_the_kit() -> None:
    [block] = [block for block in code_blocks("python") if block.page == "docs/tracing.md"]
    service = Service("my-service", type="LLM")
    exec(compile(block.code, str(block), "exec"), {"service": service, "SessionJob": SessionJob})
    assert hasattr(SessionJob, "trace_headers")


@each("js")
def test_documented_javascript_has_no_syntax_errors(block: CodeBlock, tmp_path: Path) -> None:
    with prerequisite():
        if (node := shutil.which("node")) is None:
            raise PrerequisiteMissing("node is not on the PATH")
    program = tmp_path / "program.mjs"
    program.write_text(block.code)
    done = subprocess.run([node, "--check", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_documented_json_is_what_its_model_says() -> None:
    shown: dict[str, list[Any]] = {}
    for block in code_blocks("json"):
        shown.setdefault(block.page, []).append(json.loads(block.code))
    assert {page: len(values) for page, values in shown.items()} == {page: len(all_) for page, all_ in MODELS.items()}
    for page, values in shown.items():
        for value, model in zip(values, MODELS[page], strict=True):
            if model is None:
                assert value["event"] in LOG_EVENTS
                continue
            schema = model.model_json_schema(by_alias=True, mode="serialization")
            of_it = value["session"] if model is SessionView else value
            assert list(differences(of_it, schema, schema.get("$defs", {}))) == [], page


def differences(value: Any, schema: dict[str, Any], models: dict[str, Any], at: str = "") -> Iterator[str]:
    """Where a shown value is none of its schema. What stands for more (`"..."`) is left out."""
    if "$ref" in schema:
        schema = models[schema["$ref"].rpartition("/")[2]]
    if options := schema.get("anyOf", schema.get("oneOf")):
        tried = [list(differences(value, option, models, at)) for option in options]
        yield from min(tried, key=len)
    elif isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        yield from (f"{at}.{name}: unknown" for name in value if name != ELIDED and name not in known)
        if ELIDED not in value:
            yield from (f"{at}.{name}: missing" for name in schema.get("required", ()) if name not in value)
        for name in value.keys() & known.keys():
            yield from differences(value[name], known[name], models, f"{at}.{name}")
    elif isinstance(value, list) and "items" in schema:
        for item in value:
            yield from differences(item, schema["items"], models, f"{at}[]")
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    elif not _is_of_type(value, schema.get("type")):
        yield f"{at}: {value!r} is no {schema['type']}"


def _is_of_type(value: Any, type: str | None) -> bool:
    match type:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer" | "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
    return True


def test_a_shown_value_that_is_none_of_its_schema_differs() -> None:
    schema = Heartbeat.model_json_schema()
    assert list(differences({"load": "high", "busy": True}, schema, {}))[:1] == [".busy: unknown"]
    assert any("'high'" in difference for difference in differences({"load": "high"}, schema, {}))


@each("yaml")
def test_documented_yaml_loads(block: CodeBlock) -> None:
    assert isinstance(yaml.safe_load(block.code), dict)


@each("mermaid")
def test_documented_diagrams_are_of_a_known_kind(block: CodeBlock) -> None:
    assert block.code.split(maxsplit=1)[0] in DIAGRAMS


@each(*NO_CODE)
def test_blocks_without_code_have_no_commands(block: CodeBlock) -> None:
    commands = re.compile(r"(curl|docker|kubectl|npm|python3?|scripts/\S+|\.venv/bin/\S+|session-manager) -?\w")
    assert [line for line in block.code.splitlines() if commands.match(line)] == []
