"""Behind a path prefix: a proxy that removes it needs no setting, one that keeps it needs --root-path."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from askew_client import Client
from askew_client.contract.problems import ProblemKind
from askew_client.errors import JobFailed, ProblemError
from askew_server.http.app import all_routes
from askew_server.http.root_path import RootPath, prefix_of, relative_to
from askew_server.http.routing import RouteTable, decode_path
from askew_server.settings import read_settings
from tests.browser.proxy import Proxy
from tests.support.running_server import RunningServer, run_askew

PREFIX = "/museum/askew"
HTML = {"Accept": "text/html,*/*;q=0.8"}


@pytest.fixture(scope="module")
def behind(server: RunningServer) -> Iterator[Proxy]:
    """A proxy that removes a prefix of which the server knows nothing."""
    proxy = Proxy(server.url, PREFIX)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def rooted(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with --root-path, asked directly, as by a proxy that keeps the prefix or by one that removes it."""
    data = tmp_path_factory.mktemp("rooted") / "data"
    shutil.copytree(indexed / "data", data)
    with RunningServer(data, "--gallery", "objects", "--root-path", f"{PREFIX}/") as running:
        yield running


def links_of(address: str, text: str) -> set[str]:
    """The addresses that a page or a manifest names, resolved as a browser does."""
    found = re.findall(r'(?:src|href)="([^"#]+)"', text) + re.findall(r'"(?:src|start_url|scope)": "([^"]+)"', text)
    return {urljoin(address, each) for each in found}


@pytest.mark.parametrize("page", ["/", "/admin", "/docs", "/problems/space-mismatch", "/page/manifest.webmanifest"])
@pytest.mark.parametrize("way", ["a proxy removes it", "with the setting", "with the setting, removed"])
def test_each_page_leads_to_what_lies_below_the_prefix(
    behind: Proxy, rooted: RunningServer, page: str, way: str
) -> None:
    base = {"a proxy removes it": behind.url, "with the setting": f"{rooted.url}"}.get(way)
    if base is None:
        removing = Proxy(rooted.url.removesuffix(PREFIX), PREFIX)
        base = removing.url
    assert urlsplit(base).path == PREFIX
    answer = httpx.get(f"{base}{page}", headers=HTML)
    assert answer.status_code == 200
    links = links_of(str(answer.url), answer.text)
    assert links
    for link in links:
        assert link.startswith(f"{base}/"), link
        assert httpx.get(link).status_code == 200, link


def test_redirects_stay_below_the_prefix(behind: Proxy, rooted: RunningServer) -> None:
    for base in (behind.url, rooted.url):
        for path in ("/admin/", "/docs/"):
            answer = httpx.get(f"{base}{path}", follow_redirects=True)
            assert (answer.status_code, str(answer.url)) == (200, f"{base}{path[:-1]}")
    # The prefix alone: without a slash, the app's relative addresses would leave it.
    answer = httpx.get(rooted.url, follow_redirects=True)
    assert (answer.status_code, str(answer.url)) == (200, f"{rooted.url}/")


def test_a_job_is_found_at_its_location(behind: Proxy, rooted: RunningServer) -> None:
    for base in (behind.url, rooted.url, rooted.url.removesuffix(PREFIX)):
        for path in ("/v1/galleries/objects/index/rebuild", "/v1/galleries/objects/snapshots"):
            accepted = httpx.post(f"{base}{path}")
            assert accepted.status_code == 202, accepted.text
            address = urljoin(str(accepted.url), accepted.headers["location"])
            assert address == f"{base}/v1/jobs/{accepted.json()['id']}"
            assert httpx.get(address).json()["id"] == accepted.json()["id"]


def test_the_document_of_the_api_names_the_address_that_it_came_from(behind: Proxy, rooted: RunningServer) -> None:
    for base in (behind.url, rooted.url):
        address = f"{base}/openapi.json"
        (named,) = httpx.get(address).json()["servers"]
        assert urljoin(address, named["url"]).rstrip("/") == base


def test_a_problem_leads_to_its_page_where_the_prefix_is_known(server: RunningServer, rooted: RunningServer) -> None:
    stated = {"X-Forwarded-Prefix": PREFIX}
    plain = rooted.url.removesuffix(PREFIX)
    for answer in (
        httpx.get(f"{rooted.url}/v1/jobs/none"),
        httpx.get(f"{plain}/v1/jobs/none"),
        httpx.put(f"{rooted.url}/search"),
        httpx.get(f"{rooted.url}/nowhere"),
        httpx.post(f"{rooted.url}/search", content=b"x", headers={"Content-Type": "application/octet-stream"}),
        # Refused before any application sees it.
        httpx.get(f"{rooted.url}/{'x' * 40_000}"),
        httpx.get(f"{server.url}/v1/jobs/none", headers=stated),
    ):
        problem = answer.json()
        assert problem["type"].startswith(f"{PREFIX}/problems/"), problem
        assert problem["type"].rpartition("/")[2] in {kind.slug for kind in ProblemKind}
        assert int(answer.headers["content-length"]) == len(answer.content)
        page = httpx.get(urljoin(rooted.url, problem["type"]))
        assert page.status_code == 200
    assert httpx.get(f"{server.url}/v1/jobs/none").json()["type"] == "/problems/unknown-job"


def test_a_failed_jobs_problem_leads_to_its_page(rooted: RunningServer) -> None:
    sent = httpx.post(
        f"{rooted.url}/v1/galleries/restored/restore",
        content=b"nonsense",
        headers={"Content-Type": "application/x-tar"},
    )
    assert sent.status_code == 202, sent.text
    with Client(rooted.url) as client, pytest.raises(JobFailed):
        client.wait(sent.json()["id"])
    job = httpx.get(urljoin(str(sent.url), sent.headers["location"])).json()
    (listed,) = [each for each in httpx.get(f"{rooted.url}/v1/jobs").json()["jobs"] if each["id"] == job["id"]]
    assert job["problem"]["type"] == listed["problem"]["type"] == f"{PREFIX}/problems/damaged-snapshot"


@pytest.mark.parametrize(
    "stated", ["//evil.example", "https://evil.example", "/a/../b", "/a b", '/"', "/" + "a" * 500, ""]
)
def test_a_stated_prefix_that_is_no_plain_path_is_left_out(server: RunningServer, stated: str) -> None:
    answer = server.http.get("/nowhere", headers={"X-Forwarded-Prefix": stated})
    assert answer.json()["type"] == "/problems/unknown-path"


def test_requests_with_and_without_the_prefix_are_the_same_calls(
    rooted: RunningServer, body: bytes, headers: dict[str, str]
) -> None:
    plain = rooted.url.removesuffix(PREFIX)
    encoded = f"{plain}/m%75seum/askew"
    for base in (rooted.url, plain, encoded):
        found = httpx.post(f"{base}/search?limit=2", content=body, headers=headers)
        assert (found.status_code, len(found.json()["hits"])) == (200, 2)
        assert httpx.get(f"{base}/v1/galleries/objects/items/a%2Fb").json()["detail"].count("a/b") == 1
    for other in (f"{plain}/museum/askewer/readyz", f"{plain}/museum/readyz", f"{plain}/museum%2Faskew/readyz"):
        assert httpx.get(other).status_code == 404
    text = httpx.get(f"{plain}/metrics").text
    assert "museum" not in text


def test_a_python_client_works_below_the_prefix(
    behind: Proxy, rooted: RunningServer, query: NDArray[np.float32], tmp_path: Path, photo: Path
) -> None:
    for base in (behind.url, f"{behind.url}/", rooted.url):
        with Client(base) as client:
            gallery = client.gallery("objects")
            hits = client.search(query, space=gallery.space, gallery="objects", limit=1).hits
            assert hits[0].id == photo.stem
            job = client.wait(client.rebuild_index("objects").id)
            assert job.state == "done"
            with pytest.raises(ProblemError) as refused:
                client.item("no-such-item", gallery="objects")
            assert refused.value.problem.slug == "unknown-item"


@pytest.mark.slow
def test_a_key_is_asked_for_on_both_ways(data: Path) -> None:
    assert run_askew("key", "create", "me", "--scope", "admin", "--data", data).returncode == 0
    with RunningServer(data, "--gallery", "objects", "--root-path", "/search") as running:
        plain = running.url.removesuffix("/search")
        for base in (running.url, plain):
            for method, path in (
                ("GET", "/v1/galleries"), ("POST", "/search"), ("GET", "/metrics"), ("DELETE", "/v1/galleries/objects"),
                ("GET", "/nowhere"), ("POST", "/search/batch"), ("POST", "/v1/galleries/objects/search"),
            ):  # fmt: skip
                assert httpx.request(method, f"{base}{path}").status_code == 401, (base, path)
            assert httpx.get(f"{base}/readyz").status_code == 200


ROOTS = ["/askew", "/search", "/admin", "/page", "/docs", "/a/b/c", "/problems", "/search/photo", "/metrics"]
SEGMENT = st.sampled_from(
    ["v1", "galleries", "objects", "items", "search", "photo", "batch", "page", "docs", "a", "a%2Fb", ""]
)


@given(
    root=st.sampled_from(ROOTS),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]),
    segments=st.lists(SEGMENT, min_size=1, max_size=6),
)
def test_a_request_below_the_prefix_is_the_call_that_it_would_be_without(
    root: str, method: str, segments: list[str]
) -> None:
    table = RouteTable(all_routes(), lambda name: name, "default")
    path = "/" + "/".join(segments)
    seen: list[dict[str, object]] = []

    async def inner(scope: dict[str, object], receive: object, send: object) -> None:
        seen.append(scope)

    async def nothing(*_: object) -> None:
        pass

    raw = f"{root}{path}".encode()
    scope = {
        "type": "http",
        "method": method,
        "path": f"{root}{path}",
        "raw_path": raw,
        "query_string": b"",
        "headers": [],
    }
    asyncio.run(RootPath(inner, root, table.match)(scope, nothing, nothing))  # type: ignore[arg-type]
    assert prefix_of(seen[0]) == root
    wanted = table.match(method, decode_path({**scope, "raw_path": path.encode()}), b"")
    got = table.match(method, decode_path(seen[0]), b"")
    if wanted.route is not None or wanted.allowed:
        assert (got.template, got.parameters, got.gallery) == (wanted.template, wanted.parameters, wanted.gallery)
    if wanted.route is None:
        return
    resolved = urljoin(f"http://host{root}{path}", relative_to({**scope, "raw_path": path.encode()}, "/v1/jobs/j"))
    assert resolved == f"http://host{root}/v1/jobs/j"


@pytest.mark.parametrize(
    ("given", "wanted"), [("askew", "/askew"), ("/askew/", "/askew"), ("/", ""), ("", ""), (" /a/b ", "/a/b")]
)
def test_the_setting_is_read_with_and_without_slashes(given: str, wanted: str) -> None:
    assert read_settings({"root_path": given}).root_path == wanted


def test_the_committed_document_names_no_address() -> None:
    document = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text())
    assert document["servers"] == [{"url": "."}]
