"""Bodies whose cost lies in the number of their parts are refused early, or read where no other request waits for them."""

from __future__ import annotations

import json
import threading
import time

import httpx
import pytest

from askew_server.http.app import all_routes
from askew_server.http.middleware.limits import MAX_SMALL_BODY_BYTES
from askew_server.http.routing import BodyKind, rules_of
from tests.support.hard_encoders import plain_photo
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer
from tests.support.waiting import DEADLINE, in_thread

OCTETS = {"Content-Type": "application/octet-stream"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
MANY_HEADERS = b"--b\r\n" + b"a:b\r\n" * 1_000_000 + b"\r\nx\r\n--b--\r\n"
ONE_HEADER = b"--b\r\nContent-Disposition: form-data; name=" + b"a" * 1_000_000 + b"\r\n\r\nx\r\n--b--\r\n"
MANY_PARTS = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n' * 100_000 + b"--b--\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "slug"),
    [
        pytest.param("PUT", "/v1/galleries/x", OCTETS, b"\x08\x00" * 10_000_000, "not-an-encoder", id="encoder file"),
        pytest.param("POST", "/v1/galleries/objects/encoders", OCTETS, b"\x72\x00" * 10_000_000, "not-an-encoder", id="student"),
        pytest.param("PUT", "/v1/galleries/objects/items/x", FORM, MANY_HEADERS, "validation", id="headers of a part"),
        pytest.param("PUT", "/v1/galleries/objects/items/x", FORM, ONE_HEADER, "validation", id="one long header"),
        pytest.param("PUT", "/v1/galleries/objects/items/x", FORM, MANY_PARTS, "validation", id="parts"),
        pytest.param("POST", "/v1/galleries/objects/items/photos", FORM, MANY_HEADERS, "validation", id="headers in a job"),
        pytest.param("POST", "/v1/galleries/objects/items/photos", FORM, ONE_HEADER, "validation", id="long header in a job"),
        pytest.param("PUT", "/v1/galleries/objects/items/x", FORM, b"--b\r\nno header", "validation", id="no header"),
        pytest.param("PUT", "/v1/galleries/objects/items/x", FORM, b"--b\r\n", "validation", id="cut"),
    ],
)  # fmt: skip
def test_a_body_of_very_many_parts_is_refused_and_keeps_nothing_waiting(
    server: RunningServer, method: str, path: str, headers: dict[str, str], body: bytes, slug: str
) -> None:
    ended = threading.Event()
    waits = in_thread(lambda: _longest_wait(server, ended))
    try:
        answer = httpx.request(method, server.url + path, headers=headers, content=body, timeout=60)
    finally:
        ended.set()
    assert_problem(answer, 422, slug)
    # Reading 20 MB takes the loop some tenths of a second on a busy machine; parsing them there took 12.
    assert waits.result(DEADLINE) < 3


def _longest_wait(server: RunningServer, ended: threading.Event) -> float:
    longest = 0.0
    with httpx.Client(base_url=server.url, timeout=60) as http:
        while not ended.wait(0.02):
            began = time.perf_counter()
            assert http.get("/healthz").status_code == 200
            longest = max(longest, time.perf_counter() - began)
    return longest


def test_json_that_the_framework_reads_is_small(server: RunningServer) -> None:
    routes = [route for route in all_routes() if route.body_field is not None]
    assert routes
    body = json.dumps({"runtime": "python", "more": [0] * MAX_SMALL_BODY_BYTES}).encode()
    for route in routes:
        path = route.path_format.replace("{gallery}", "objects").replace("{", "").replace("}", "")
        method = min(route.methods or {"none"})
        answer = server.http.request(method, path, content=body, headers={"Content-Type": "application/json"})
        assert_problem(answer, 413, "payload-too-large", str(MAX_SMALL_BODY_BYTES))


def test_only_calls_that_send_an_encoder_have_the_time_of_an_admission() -> None:
    found = {
        (method, route.path_format)
        for route in all_routes()
        for method in route.methods or ()
        if rules_of(route).body is BodyKind.ENCODER
    }
    assert found == {("PUT", "/v1/galleries/{gallery}"), ("POST", "/v1/galleries/{gallery}/encoders")}


def test_a_form_is_read_as_its_parts_say(server: RunningServer) -> None:
    photo = plain_photo()
    form = {"files": [("photo", ("any name", photo, "image/png"))], "data": {"payload": '{"title": "é"}'}}
    assert server.http.put("/v1/galleries/objects/items/formed", **form).status_code == 200  # type: ignore[arg-type]
    assert server.http.get("/v1/galleries/objects/items/formed").json()["payload"] == {"title": "é"}
    assert server.http.get("/v1/galleries/objects/items/formed/photo").content == photo
    latin = b'--b\r\nContent-Disposition: form-data; name="payload"\r\n\r\n\xe9\r\n--b\r\n'
    latin += b'Content-Disposition: form-data; name="photo"; filename="p"\r\n\r\n' + photo + b"\r\n--b--\r\n"
    answer = server.http.put("/v1/galleries/objects/items/formed", content=latin, headers=FORM)
    assert_problem(answer, 422, "validation", "UTF-8")
    without = server.http.put("/v1/galleries/objects/items/formed", files=[("other", ("o", photo))])
    assert_problem(without, 422, "validation", "file `photo`")


def test_the_openapi_document_is_made_once_and_not_sent_again(server: RunningServer) -> None:
    first = server.http.get("/openapi.json")
    assert (first.status_code, first.headers["content-type"]) == (200, "application/json")
    assert first.json()["openapi"].startswith("3.")
    known = server.http.get("/openapi.json", headers={"If-None-Match": first.headers["etag"]})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", first.headers["etag"])
    assert server.http.get("/openapi.json").content == first.content
