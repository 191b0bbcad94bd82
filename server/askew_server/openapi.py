"""Pieces of the OpenAPI document that FastAPI cannot derive: raw bodies, and problems as answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from askew_client.contract.keys import CreateKeyRequest
from askew_client.contract.problems import MEDIA_TYPE, Problem
from askew_client.contract.schemas import (
    BatchSearchRequest,
    CreateGalleryRequest,
    DeleteItemsRequest,
    RawUpsertHeader,
    SearchRequest,
    UpsertRequest,
)
from askew_client.contract.snapshots import RestoreRequest

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


# Answered with before or beside a route's own work: no key, a key without the scope, a body that comes too slowly or
# is too large, too many requests, a server that loads or drains, a failure.
_EVERYWHERE = (400, 401, 403, 408, 413, 429, 500, 503)
_WITHOUT_KEY = {"/healthz": (), "/livez": (), "/version": (), "/readyz": (503,), "/problems/{slug}": (404,)}


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


def with_common_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Add the problems that every call can be answered with, and make FastAPI's own 422 one of ours."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            common = _WITHOUT_KEY.get(path, (*_EVERYWHERE, *((404,) if "{" in path else ())))
            if "422" in answers:
                answers["422"] = _problem(422)
            for status in common:
                answers.setdefault(str(status), _problem(status))
            operation["responses"] = dict(sorted(answers.items()))
    schemas = document.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document


def with_body_models(document: dict[str, Any]) -> dict[str, Any]:
    """Add the models that raw routes refer to, to an OpenAPI document."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (Problem, SearchRequest, BatchSearchRequest, UpsertRequest, RawUpsertHeader, DeleteItemsRequest, CreateGalleryRequest, CreateKeyRequest, RestoreRequest):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    return document
