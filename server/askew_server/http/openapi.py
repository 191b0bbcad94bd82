"""Pieces of the OpenAPI document that FastAPI cannot derive: raw bodies, and problems as answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, get_args

from pydantic import BaseModel

from askew_client.contract.galleries import CreateGalleryRequest
from askew_client.contract.items import DeleteItemsRequest, RawUpsertHeader, UpsertRequest
from askew_client.contract.keys import CreateKeyRequest, Scope
from askew_client.contract.problems import MEDIA_TYPE, Problem
from askew_client.contract.search import BatchSearchRequest, SearchRequest
from askew_client.contract.snapshots import RestoreRequest
from askew_server.auth.permissions import Permissions

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PHOTO = {f"image/{kind}": _BINARY for kind in ("jpeg", "png", "webp")}
_FORM: dict[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["photo"],
        "properties": {
            "photo": {"type": "string", "format": "binary"},
            "payload": {"type": "string", "description": "JSON object"},
            "vector": {
                "type": "string",
                "description": "base64 of the raw vector; described by the server if absent",
            },
            "dtype": {"type": "string", "enum": ["f16le", "f32le"]},
            "space": {"type": "string"},
        },
    }
}


# Answered with before or beside a route's own work: a body that comes too slowly or is too large, headers too large, a
# failure; behind the guard also no key, a key without the scope, too many requests, a server that loads or drains.
_EVERYWHERE = (400, 408, 413, 431, 500)
_BEHIND_THE_GUARD = (401, 403, 429, 503)

_PHOTOS = {
    "schema": {
        "type": "object",
        "required": ["photo"],
        "properties": {
            "photo": {
                "type": "array",
                "items": {"type": "string", "format": "binary"},
                "description": "photos; the file name of each is its item's id",
            },
            "payloads": {"type": "string", "description": "JSON object: the payload of each id"},
        },
    }
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route answers with, for its `responses`; those of every route come by themselves."""
    return {status: _problem(status) for status in (400, *statuses)}


def _problem(status: int) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}


SEARCH_BODY = _body({"application/json": _json(SearchRequest), "application/octet-stream": _BINARY})
BATCH_BODY = _body({"application/json": _json(BatchSearchRequest)})
RAW_PHOTO = _body(_PHOTO)
UPSERT_BODY = _body({"application/json": _json(UpsertRequest), "application/vnd.askew.items": _BINARY})
DELETE_BODY = _body({"application/json": _json(DeleteItemsRequest)})
ITEM_BODY = _body({**_PHOTO, "multipart/form-data": _FORM})
_PROBE_FORM = {
    "schema": {
        **_FORM["schema"],
        "properties": {name: each for name, each in _FORM["schema"]["properties"].items() if name != "payload"},
    }
}
PROBE_BODY = _body({**_PHOTO, "multipart/form-data": _PROBE_FORM})
PHOTOS_FORM = _body({"multipart/form-data": _PHOTOS})
GALLERY_BODY = _body({"application/octet-stream": _BINARY, "application/json": _json(CreateGalleryRequest)})
METRICS_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
KEY_BODY = _body({"application/json": _json(CreateKeyRequest)})
RESTORE_BODY = _body({"application/json": _json(RestoreRequest), "application/x-tar": _BINARY})
ENCODER_BODY = _body({"application/octet-stream": _BINARY})


def file_answers(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """A file, a range of it, or word that the sender has it already, for a route's `responses`."""
    content = dict.fromkeys(media_types, _BINARY)
    return {
        200: {"description": "The file.", "content": content},
        206: {"description": "A range of it, or several.", "content": {**content, "multipart/byteranges": _BINARY}},
        304: {"description": "The sender has it already."},
    }


def with_common_answers(document: dict[str, Any]) -> dict[str, Any]:
    """Add what every call can be answered with, and which key it takes; make FastAPI's own 422 one of ours."""
    permissions = Permissions()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            need = permissions.need(method.upper(), path)
            common = (*_EVERYWHERE, *(_BEHIND_THE_GUARD if need != "open" else ()), *((404,) if "{" in path else ()))
            answers = operation["responses"]
            if "422" in answers:
                answers["422"] = _problem(422)
            for status in common:
                answers.setdefault(str(status), _problem(status))
            operation["responses"] = dict(sorted(answers.items()))
            for parameter in operation.get("parameters", []):
                _require_in_path(parameter)
            if need != "open":
                operation["security"] = [{need: []}]
    components = document.setdefault("components", {})
    components["securitySchemes"] = {
        scope: {
            "type": "http",
            "scheme": "bearer",
            "description": f"A key with the scope {scope}, once there are keys.",
        }
        for scope in get_args(Scope)
    }
    for name in ("HTTPValidationError", "ValidationError"):
        components.get("schemas", {}).pop(name, None)
    return document


def _require_in_path(parameter: dict[str, Any]) -> None:
    """One handler serves a path with and without a gallery; where the path has one, it is a string and never null."""
    if parameter["in"] == "path" and "anyOf" in parameter["schema"]:
        parameter["schema"] = {"type": "string", "title": parameter["schema"].get("title", parameter["name"])}


def with_body_models(document: dict[str, Any]) -> dict[str, Any]:
    """Add the models that raw routes refer to, to an OpenAPI document."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (
        Problem,
        SearchRequest,
        BatchSearchRequest,
        UpsertRequest,
        RawUpsertHeader,
        DeleteItemsRequest,
        CreateGalleryRequest,
        CreateKeyRequest,
        RestoreRequest,
    ):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    return document
