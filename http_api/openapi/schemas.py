"""The JSON Schemas of the OpenAPI document, generated from the models of requests and responses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import core_schema

from http_api.attribute_docstrings import attribute_docstrings
from http_api.operations import Operation, Shape
from http_api.problems.problems import TABLE
from http_api.problems.table import TYPE, UNEXPECTED, Row

REF = "#/components/schemas/{model}"

Schema = dict[str, Any]
TAKEN: JsonSchemaMode = "validation"
GIVEN: JsonSchemaMode = "serialization"


class _Described(GenerateJsonSchema):
    """Describes each field by the string below it, and omits its title, which would only repeat its name."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        made = super().model_schema(schema)
        if fields := made.get("properties"):
            for name, text in _docstrings(schema["cls"]).items():
                if name in fields:
                    fields[name].setdefault("description", text)
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The string below each field of the model, also below those that it inherits."""
    own_and_inherited = model.__mro__[: model.__mro__.index(BaseModel)]
    return {name: text for kind in reversed(own_and_inherited) for name, text in attribute_docstrings(kind).items()}


@dataclass(frozen=True, slots=True)
class Schemas:
    components: Mapping[str, Schema]
    bodies: Mapping[Shape, Schema]
    """A reference for each request body."""
    queries: Mapping[Shape, Schema]
    """The full schema of each query: its fields become parameters."""
    views: Mapping[Shape, Schema]
    """A reference, or a union of references, for each response body."""


def schemas_of(operations: Iterable[Operation]) -> Schemas:
    """The schemas of these operations' requests and responses, and of every problem."""
    operations = tuple(operations)
    bodies, queries = _each(op.body for op in operations), _each(op.query for op in operations)
    views = _each(answer.view for op in operations for answer in op.answers.values())
    made, definitions = TypeAdapter.json_schemas(
        [
            *((shape, TAKEN, _adapted(shape)) for shape in (*bodies, *queries)),
            *((shape, GIVEN, _adapted(shape)) for shape in (*views, *_each(row.shape for row in rows()))),
        ],
        ref_template=REF,
        schema_generator=_Described,
    )
    components: dict[str, Schema] = {}
    for name, schema in definitions["$defs"].items():
        components |= _expanded(name, _without_defaults(schema))
    components |= {name_of(row.slug): _problem(components, made, row) for row in rows()}
    return Schemas(
        bodies={shape: made[shape, TAKEN] for shape in bodies},
        queries={shape: components.pop(_name(made[shape, TAKEN])) for shape in queries},
        views={shape: made[shape, GIVEN] for shape in views},
        components=dict(sorted(components.items())),
    )


def _name(reference: Schema) -> str:
    name: str = reference["$ref"].rpartition("/")[2]
    return name


def rows() -> tuple[Row, ...]:
    """The rows of all problems."""
    return (*TABLE.values(), UNEXPECTED)


def name_of(slug: str) -> str:
    """The component name of a problem: `UnknownSessionProblem` for `unknown_session`."""
    return "".join(word.capitalize() for word in slug.split("_")) + "Problem"


def _problem(components: Mapping[str, Schema], made: Mapping[tuple[Shape, JsonSchemaMode], Schema], row: Row) -> Schema:
    """The schema of all problems with this row's type. Members that only some of them have are not required."""
    shapes = _each(other.shape for other in rows() if other.slug == row.slug)
    carried = [components[_name(made[shape, GIVEN])] for shape in shapes]
    members = {name: member for schema in carried for name, member in schema["properties"].items()}
    fixed = {"type": {"type": "string", "const": TYPE + row.slug}, "status": {"type": "integer", "const": row.status}}
    return {
        "title": name_of(row.slug),
        "description": sentence(row.title),
        "type": "object",
        "properties": {name: member | fixed.get(name, {}) for name, member in members.items()},
        "required": [name for name in members if all(name in schema["required"] for schema in carried)],
    }


def _without_defaults(schema: Schema) -> Schema:
    """The schema with the defaults of its fields in their descriptions: in `default`, openapi-typescript takes them for
    fields that requests must have."""
    fields = {name: _without_default(field) for name, field in schema.get("properties", {}).items()}
    return {**schema, "properties": fields} if fields else schema


def _without_default(field: Schema) -> Schema:
    rest = {key: value for key, value in field.items() if key != "default"}
    default = field.get("default")
    if default is None:
        return rest
    said = f"Default: `{json.dumps(default)}`."
    return {**rest, "description": f"{rest['description']} {said}" if "description" in rest else said}


def _expanded(name: str, schema: Schema) -> dict[str, Schema]:
    """The schema by its name, with a component for each alternative of an object, written out in full: generators of
    clients read each by itself. In the models an alternative only names the fields in which it differs."""
    choice = next((key for key in ("anyOf", "oneOf") if key in schema and "properties" in schema), None)
    if choice is None:
        return {name: schema}
    about: Schema = {key: schema[key] for key in ("title", "description", "examples") if key in schema}
    shared = {key: value for key, value in schema.items() if key != choice and key not in about}
    alternatives = {partial["title"]: _alternative(shared, partial) for partial in schema[choice]}
    return {name: {**about, choice: [{"$ref": REF.format(model=title)} for title in alternatives]}, **alternatives}


def _alternative(shared: Schema, partial: Schema) -> Schema:
    narrowed = {
        name: _narrowed(shared["properties"][name], field) for name, field in partial.get("properties", {}).items()
    }
    required = dict.fromkeys([*shared.get("required", ()), *partial.get("required", ())])
    fields = {"properties": shared["properties"] | narrowed, "required": list(required)}
    return {**shared, **partial, **fields}


def _narrowed(field: Schema, to: Schema) -> Schema:
    """The branch of this optional field that has the type of `to`, else `to` itself."""
    for branch in field.get("anyOf", ()):
        if branch.get("type") == to.get("type"):
            rest = {key: value for key, value in field.items() if key != "anyOf"}
            return {**rest, **branch, **to}
    return to


def _each(shapes: Iterable[Shape | None]) -> list[Shape]:
    """The shapes without None and duplicates, in order."""
    return list(dict.fromkeys(shape for shape in shapes if shape is not None))


def _adapted(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def example_of(model: type[BaseModel]) -> Any:
    """The first example of the model's schema. Raises LookupError when there is none."""
    more = model.model_config.get("json_schema_extra")
    examples: Any = more.get("examples") if isinstance(more, dict) else None
    if not examples:
        raise LookupError(f"{model.__name__} has no example")
    return examples[0]


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    return text[:1].upper() + text[1:] + "."
