"""The JSON Schemas of the OpenAPI document, generated from the models of requests and responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from http_api.models.json_schemas import JSON_VALUE, JSON_VALUE_NAME
from http_api.operations import Operation, Shape
from http_api.problems.problems import TABLE
from http_api.problems.table import TYPE, UNEXPECTED, Row

REF = "#/components/schemas/{model}"

Schema = dict[str, Any]
TAKEN: JsonSchemaMode = "validation"
GIVEN: JsonSchemaMode = "serialization"


class _Untitled(GenerateJsonSchema):
    """Omits the title of each field, which would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


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
        schema_generator=_Untitled,
    )
    components: dict[str, Schema] = {**definitions["$defs"], JSON_VALUE_NAME: JSON_VALUE}
    components |= {name_of(row.slug): _problem(made, row) for row in rows()}
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


def _problem(made: Mapping[tuple[Shape, JsonSchemaMode], Schema], row: Row) -> Schema:
    """The schema of all problems with this row's type. Members that only some of them have are not required."""
    shapes = _each(other.shape for other in rows() if other.slug == row.slug)
    carried = [made[shape, GIVEN] for shape in shapes]
    return {
        "title": row.title,
        "allOf": [
            carried[0] if len(carried) == 1 else {"anyOf": carried},
            {"properties": {"type": {"const": TYPE + row.slug}, "status": {"const": row.status.value}}},
        ],
    }


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
