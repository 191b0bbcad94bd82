"""docs/openapi.json is the document of the server as it is; `make openapi` rewrites it."""

from __future__ import annotations

import difflib
import json
from typing import Any

import pytest

from askew_client.contract.problems import MEDIA_TYPE
from askew_server.http.openapi_document import openapi_text
from tests.server.http.test_routing import EXPECTED
from tests.support.paths import ROOT

COMMITTED = ROOT / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def text() -> str:
    return openapi_text()


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_committed_document_is_the_servers_own(text: str) -> None:
    committed = COMMITTED.read_text().splitlines(keepends=True)
    difference = difflib.unified_diff(committed, text.splitlines(keepends=True), "docs/openapi.json", "the server", n=6)
    shown = "".join(list(difference)[:200])
    assert not shown, f"Look whether this change of the API is meant, then run `make openapi`.\n{shown}"


def test_every_error_is_documented_as_a_problem(text: str) -> None:
    for call, operation in operations(json.loads(text)):
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                content = answer["content"]
                assert set(content) == {MEDIA_TYPE}, (call, status)
                assert content[MEDIA_TYPE]["schema"] == {"$ref": "#/components/schemas/Problem"}, (call, status)


def test_every_call_documents_the_answers_of_the_layers_around_the_routes(text: str) -> None:
    everything = operations(json.loads(text))
    everywhere = {"400", "408", "413", "431", "500"}
    assert [call for call, each in everything if not everywhere <= set(each["responses"])] == []
    assert [call for call, each in everything if "{" in call and "404" not in each["responses"]] == []


def test_every_guarded_call_documents_its_key_and_the_guards_answers(text: str) -> None:
    without_key = {call for call, (scope, _) in EXPECTED.items() if scope is None}
    document = json.loads(text)
    guarded = {call: each for call, each in operations(document) if call not in without_key}
    assert len(guarded) > 40
    assert [call for call, each in guarded.items() if not {"401", "403", "429", "503"} <= set(each["responses"])] == []
    assert guarded["POST /search"]["security"] == [{"search": []}]
    assert guarded["DELETE /v1/galleries/{gallery}"]["security"] == [{"admin": []}]
    named = {name for each in guarded.values() for scheme in each["security"] for name in scheme}
    assert named == set(document["components"]["securitySchemes"]) == {"search", "write", "admin"}
    assert [call for call, each in operations(document) if call in without_key and "security" in each] == []


def test_every_name_that_the_document_refers_to_is_in_it(text: str) -> None:
    document = json.loads(text)
    defined = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    referred = set(_references(document))
    assert len(referred) > 20
    assert referred - defined == set()


def _references(part: object) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [each for value in part.values() for each in _references(value)]
    if isinstance(part, list):
        return [each for value in part for each in _references(value)]
    return []
