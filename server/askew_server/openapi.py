"""Pieces of the OpenAPI document that FastAPI cannot derive: raw bodies, and problems as answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from askew_client.contract.problems import MEDIA_TYPE, Problem
from askew_client.contract.schemas import (
    BatchSearchRequest,
    CreateGalleryRequest,
    SearchRequest,
    UpsertRequest,
)

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PHOTO = {f"image/{kind}": _BINARY for kind in ("jpeg", "png", "webp")}
_FORM = {
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


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route answers with, for its `responses`."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in (400, *statuses)
    }


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}


SEARCH_BODY = _body({"application/json": _json(SearchRequest), "application/octet-stream": _BINARY})
BATCH_BODY = _body({"application/json": _json(BatchSearchRequest)})
RAW_PHOTO = _body(_PHOTO)
UPSERT_BODY = _body({"application/json": _json(UpsertRequest)})
ITEM_BODY = _body({**_PHOTO, "multipart/form-data": _FORM})
GALLERY_BODY = _body({"application/octet-stream": _BINARY, "application/json": _json(CreateGalleryRequest)})
ENCODER_BODY = _body({"application/octet-stream": _BINARY})


def with_body_models(document: dict[str, Any]) -> dict[str, Any]:
    """Add the models that raw routes refer to, to an OpenAPI document."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (Problem, SearchRequest, BatchSearchRequest, UpsertRequest, CreateGalleryRequest):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    return document
