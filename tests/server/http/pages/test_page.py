"""The files of the web app: types, policies, versions, compressed forms. tests/browser runs the app itself."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from askew_server.http.pages.page_files import PageFiles
from tests.support.paths import ROOT
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew

PAGE = ROOT / "server" / "askew_server" / "http" / "page"
NAMES = sorted(path.name for path in PAGE.iterdir())
TYPES = {
    ".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8", ".png": "image/png", ".svg": "image/svg+xml", ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("page") / "data") as running:
        yield running


def get(server: RunningServer, path: str, **headers: str) -> httpx.Response:
    return server.http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_served_compressed_and_as_it_is(server: RunningServer, name: str) -> None:
    content = (PAGE / name).read_bytes()
    plain = get(server, f"/page/{name}", Accept_Encoding="identity")
    assert (plain.status_code, plain.content) == (200, content)
    assert plain.headers["content-type"] == TYPES[Path(name).suffix]
    assert "content-encoding" not in plain.headers
    compressed = get(server, f"/page/{name}", Accept_Encoding="br, gzip")
    if name.endswith(".png"):
        # Compressed already.
        assert "content-encoding" not in compressed.headers
        assert compressed.content == content
        return
    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) < len(content)
    assert compressed.content == content
    assert plain.headers["etag"] != compressed.headers["etag"]
    for answer in (plain, compressed):
        assert answer.headers["vary"] == "Accept-Encoding"
        unchanged = get(
            server,
            f"/page/{name}",
            Accept_Encoding=answer.request.headers["accept-encoding"],
            If_None_Match=answer.headers["etag"],
        )
        assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert get(server, f"/page/{name}", Accept_Encoding="gzip;q=0").headers.get("content-encoding") is None


def test_files_with_a_hash_in_their_name_are_kept_for_ever_and_the_others_asked_for(server: RunningServer) -> None:
    for name in NAMES:
        is_kept = "immutable" in get(server, f"/page/{name}").headers["cache-control"]
        assert is_kept == (
            name not in {"index.html", "admin.html", "docs.html", "askew-client.js", "manifest.webmanifest", "sw.js"}
        ), name
    for path in ("/", "/admin", "/docs", "/sw.js"):
        assert get(server, path).headers["cache-control"] == "no-cache"


def test_the_service_worker_keeps_the_whole_app_and_nothing_else(server: RunningServer) -> None:
    worker = get(server, "/sw.js")
    assert worker.headers["content-type"] == "text/javascript; charset=utf-8"
    listed = dict(re.findall(r'\["([^"]+)","([\w+/]{43}=)"\]', worker.text))
    # The library is for other pages of this origin; the app does not load it.
    apps = {f"page/{name}" for name in NAMES if name not in {"index.html", "sw.js", "askew-client.js"}}
    others = ("page/admin", "page/docs")
    assert {name for name in listed if name.startswith(others)} == set()
    assert {name for name in apps if not name.startswith(others)} | {"./"} == set(listed)
    for address, digest in listed.items():
        content = get(server, f"/{address.removeprefix('./')}").content
        assert base64.b64encode(hashlib.sha256(content).digest()).decode() == digest, address


def test_the_app_can_be_installed(server: RunningServer) -> None:
    assert '<link rel="manifest" href="./page/manifest.webmanifest">' in get(server, "/").text
    manifest = get(server, "/page/manifest.webmanifest").json()
    assert (manifest["start_url"], manifest["scope"], manifest["display"]) == ("../", "../", "standalone")
    found = {(icon["sizes"], icon["purpose"]) for icon in manifest["icons"]}
    assert found == {(size, purpose) for size in ("192x192", "512x512") for purpose in ("any", "maskable")}
    for icon in manifest["icons"]:
        with Image.open(io.BytesIO(get(server, f"/page/{icon['src']}").content)) as picture:
            assert f"{picture.width}x{picture.height}" == icon["sizes"]


def test_every_file_has_the_policy(server: RunningServer) -> None:
    for path in ("/", "/admin", "/docs", *(f"/page/{name}" for name in NAMES)):
        policy = get(server, path).headers["content-security-policy"].split("; ")
        assert "default-src 'none'" in policy
        # Only the app compiles WebAssembly.
        compiles = "docs" not in path
        assert ("script-src 'self' 'wasm-unsafe-eval'" if compiles else "script-src 'self'") in policy
        assert "connect-src 'self'" in policy
        assert not any("unsafe-inline" in part or "'unsafe-eval'" in part or "http" in part for part in policy)
        assert any("data:" in part for part in policy) != compiles


@pytest.mark.parametrize("path", ["/", "/admin", "/docs"])
def test_the_pages_name_only_files_that_exist_by_relative_addresses(server: RunningServer, path: str) -> None:
    html = get(server, path).text
    addresses = re.findall(r'(?:src|href)="([^"#]+)"', html)
    if path == "/docs":
        addresses.remove("openapi.json")
    assert len(addresses) >= 3
    for address in addresses:
        assert address.startswith("./page/")
        assert server.http.head(f"/{address}").status_code == 200
    assert "<style" not in html
    assert re.findall(r"<script(?![^>]*src=)", html) == []
    assert re.findall(r"\son\w+=", html) == []


@pytest.mark.parametrize(
    "path", ["/page/", "/page/none.js", "/page/..%2fapp.py", "/page/__init__.py", "/page/a/index.html"]
)
def test_other_names_are_unknown(server: RunningServer, path: str) -> None:
    assert_problem(server.http.get(path), 404, "unknown-path")


def test_the_operators_view_needs_no_key_and_a_slash_leads_to_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run_askew("key", "create", "me", "--scope", "admin", "--data", data).returncode == 0
    with RunningServer(data) as running:
        assert get(running, "/v1/galleries").status_code == 401
        answer = get(running, "/admin")
        assert (answer.status_code, answer.headers["content-type"]) == (200, TYPES[".html"])
        # Relative, so that it stays below the prefix of a proxy.
        slash = get(running, "/admin/")
        assert (slash.status_code, slash.headers["location"]) == (308, "../admin")


def test_the_operators_view_is_small(server: RunningServer) -> None:
    files = ["/admin", *(f"/page/{name}" for name in NAMES if name.startswith("admin-"))]
    assert len(files) == 3
    compressed = [get(server, path, Accept_Encoding="gzip").headers["content-length"] for path in files]
    assert sum(map(int, compressed)) < 80_000


def test_the_reference_of_the_api_was_built_with_the_pinned_library() -> None:
    scripts = list(PAGE.glob("docs-*.js"))
    assert len(scripts) == 1, "build the pages: make web"
    locked = json.loads((ROOT / "client" / "web" / "package-lock.json").read_text())["packages"]
    assert f'"{locked["node_modules/swagger-ui-dist"]["version"]}"' in scripts[0].read_text().replace("`", '"')
    assert len(gzip.compress(scripts[0].read_bytes())) < 600_000


def test_a_head_request_has_the_headers_alone(server: RunningServer) -> None:
    head, whole = server.http.head("/"), server.http.get("/")
    assert head.content == b""
    assert head.headers["etag"] == whole.headers["etag"]


def test_the_page_is_isolated_only_if_the_setting_says_so(server: RunningServer, tmp_path: Path) -> None:
    assert "cross-origin-embedder-policy" not in get(server, "/").headers
    isolated = {"ASKEW_CROSS_ORIGIN_ISOLATION": "true"}
    with RunningServer(tmp_path / "data", environment=isolated) as running:
        for path in ("/", "/page/askew-client.js"):
            headers = get(running, path).headers
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert headers["cross-origin-embedder-policy"] == "require-corp"


def test_what_the_app_contains_of_others_is_credited() -> None:
    licences = PAGE.parent / "licences"
    credited = (licences / "README.md").read_text()
    (engine,) = PAGE.glob("*.wasm")
    assert hashlib.sha256(engine.read_bytes()).hexdigest() in credited
    locked = json.loads((ROOT / "client" / "web" / "package-lock.json").read_text())["packages"]
    for package in ("onnxruntime-web", "swagger-ui-dist"):
        assert f"`{package}` {locked[f'node_modules/{package}']['version']}" in credited
    for name in re.findall(r"\]\(([\w.-]+\.txt)\)", credited):
        assert (licences / name).stat().st_size > 1_000


def test_files_of_unknown_types_are_not_served(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "a.js").write_text("export {};")
    (tmp_path / "folder").mkdir()
    pages = PageFiles(tmp_path)
    assert [pages.read(name) for name in ("notes.txt", "folder", "", "..", "a")] == [None] * 5
    file = pages.read("a.js")
    assert file is not None
    assert file.compressed is not None
    assert gzip.decompress(file.compressed) == b"export {};"
