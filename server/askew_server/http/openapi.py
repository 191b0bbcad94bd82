"""What FastAPI cannot derive for the OpenAPI document: problems as answers, keys, bodies that routes declare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, get_args

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from askew_client.contract.keys import Scope
from askew_client.contract.problems import MEDIA_TYPE, Problem
from askew_client.contract.search import SearchOptions
from askew_server.auth.permissions import Permission
from askew_server.http.receiving.bodies import BINARY, DeclaredBody
from askew_server.http.routing import rules_of

# What the layers around the routes answer: a body that is too slow or too large, headers that are too large, a failure;
# behind the guard also a missing key, a key without the scope, too many requests, a server that is loading or draining.
_EVERYWHERE = (400, 408, 413, 431, 500)
_BEHIND_THE_GUARD = (401, 403, 429, 503)

METRICS_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@dataclass(frozen=True)
class OpenApiDocument:
    """The document as it is sent, and the ETag that names its content."""

    content: bytes
    etag: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route answers with, for its `responses`; those of every route are added later."""
    return {status: _problem(status) for status in (400, *statuses)}


def _problem(status: int) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def file_answers(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """A file, a range of it, or 304, for a route's `responses`."""
    content = {media_type: {"schema": BINARY} for media_type in media_types}
    return {
        200: {"description": "The file.", "content": content},
        206: {
            "description": "A range of it, or several.",
            "content": {**content, "multipart/byteranges": {"schema": BINARY}},
        },
        304: {"description": "The sender has it already."},
    }


def option_parameters() -> list[dict[str, Any]]:
    """The options of a search as query parameters."""
    schemas: dict[str, dict[str, Any]] = SearchOptions.model_json_schema()["properties"]
    schemas["filter"] = {"type": "string", "description": "A condition on payloads, as JSON text."}
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in schemas.items()]


def raw_parameters() -> list[dict[str, Any]]:
    """What comes along with a raw vector."""
    texts = {
        "Askew-Space": "The space of a raw vector.",
        "Askew-Dtype": "The dtype of a raw vector: f16le or f32le.",
        "Askew-Encoder": "The encoder that made a raw vector.",
    }
    headers = [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": text}
        for name, text in texts.items()
    ]
    return [*headers, *option_parameters()]


def complete_document(document: dict[str, Any], routes: Iterable[APIRoute]) -> dict[str, Any]:
    """Add what FastAPI cannot know: the declared bodies, the common answers, and which key each call takes."""
    # Relative to the document's own address, which has the path prefix.
    document["servers"] = [{"url": "."}]
    models: dict[str, type[BaseModel]] = {Problem.__name__: Problem}
    for route in routes:
        if not route.include_in_schema:
            continue
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            for body in _declared_bodies(route.dependant):
                operation["requestBody"] = {"required": body.is_required, "content": _content(body, models)}
            _complete_operation(operation, route.path_format, rules_of(route).permission)
    components = document.setdefault("components", {})
    _add_models(components.setdefault("schemas", {}), models.values())
    components["securitySchemes"] = {
        scope: {
            "type": "http",
            "scheme": "bearer",
            "description": f"A key with the scope {scope}, once the server has keys.",
        }
        for scope in get_args(Scope)
    }
    return document


def _complete_operation(operation: dict[str, Any], path: str, permission: Permission) -> None:
    is_open = permission.scope is None
    common = (*_EVERYWHERE, *(() if is_open else _BEHIND_THE_GUARD), *((404,) if "{" in path else ()))
    answers = operation["responses"]
    if "422" in answers:
        answers["422"] = _problem(422)
    for status in common:
        answers.setdefault(str(status), _problem(status))
    operation["responses"] = dict(sorted(answers.items()))
    for parameter in operation.get("parameters", []):
        _require_in_path(parameter)
    if not is_open:
        operation["security"] = [{permission.scope: []}]


def _declared_bodies(dependant: Dependant) -> list[DeclaredBody]:
    """The bodies that a route takes as dependencies, one at most."""
    inner = [body for each in dependant.dependencies for body in _declared_bodies(each)]
    return [*inner, *([dependant.call] if isinstance(dependant.call, DeclaredBody) else [])]


def _content(body: DeclaredBody, models: dict[str, type[BaseModel]]) -> dict[str, Any]:
    content = {}
    for media_type, schema in body.content.items():
        if isinstance(schema, dict):
            content[media_type] = {"schema": schema}
        else:
            models[schema.__name__] = schema
            content[media_type] = {"schema": {"$ref": f"#/components/schemas/{schema.__name__}"}}
    models.update({model.__name__: model for model in body.models})
    return content


def _add_models(schemas: dict[str, Any], models: Iterable[type[BaseModel]]) -> None:
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    # FastAPI's own description of its 422, which is a problem here.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _require_in_path(parameter: dict[str, Any]) -> None:
    """One handler serves a path with and without a gallery; where the path has one, it is a string and never null."""
    if parameter["in"] == "path" and "anyOf" in parameter["schema"]:
        parameter["schema"] = {"type": "string", "title": parameter["schema"].get("title", parameter["name"])}
