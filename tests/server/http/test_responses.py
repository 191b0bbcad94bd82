"""Files over HTTP: whole, in ranges, and a problem for a range beyond the file."""

from __future__ import annotations

import pytest

from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer

PATHS = ["/v1/encoders/{encoder}/file", "/v1/galleries/objects/items/{item}/photo"]


@pytest.fixture
def names(server: RunningServer) -> dict[str, str]:
    page = server.http.get("/v1/galleries/objects/items?limit=1").json()
    encoders = server.http.get("/v1/encoders").json()["encoders"]
    return {"item": page["items"][0]["id"], "encoder": encoders[0]["id"]}


@pytest.mark.parametrize("path", PATHS)
def test_a_range_is_that_part_of_the_whole(server: RunningServer, names: dict[str, str], path: str) -> None:
    path = path.format(**names)
    whole = server.http.get(path).content
    part = server.http.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"


@pytest.mark.parametrize("path", PATHS)
def test_a_range_that_there_is_not_is_a_problem(server: RunningServer, names: dict[str, str], path: str) -> None:
    path = path.format(**names)
    size = len(server.http.get(path).content)
    beyond = server.http.get(path, headers={"Range": f"bytes={size + 1}-"})
    assert_problem(beyond, 416, "http", "Range")
    assert beyond.headers["content-range"] == f"bytes */{size}"
    assert_problem(server.http.get(path, headers={"Range": "bytes=here-there"}), 400, "http", "Range")
