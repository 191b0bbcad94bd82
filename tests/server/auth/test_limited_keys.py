"""A key limited to a gallery learns nothing of the others: what is there and what is not is refused alike.

Every route of the server is asked about another key's gallery, an alias of it, and names that do not exist.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from askew_server.http.app import all_routes
from askew_server.storage.items import StoredItem
from tests.support.gallery_files import unit_vector, write_gallery
from tests.support.job_waiting import wait_for_accepted
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew
from tests.support.small_encoders import make_encoder


@dataclass(frozen=True)
class Names:
    """What a request may name. Each name is as long as that of the same kind that does not exist."""

    gallery: str
    alias: str
    item_id: str
    encoder_id: str
    job_id: str
    snapshot: str
    key_id: str

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of paths."""
        return {
            **asdict(self),
            "probe_id": self.item_id,
            "slug": "not-ready",
            "path": "index.html",
            "name": "app.js",
            "kind": "photos",
            "file": "a.jpg",
        }


@dataclass(frozen=True)
class Shared:
    """A server with a gallery of ours and two of others, one of which is the default one."""

    server: RunningServer
    admin: httpx.Client
    theirs: Names
    secrets: list[str]

    def key(self, *galleries: str, scope: str = "admin") -> httpx.Client:
        """A client with a key that is limited to galleries."""
        made = self.admin.post("/v1/keys", json={"name": "ours", "scopes": [scope], "galleries": list(galleries)})
        assert made.status_code == 201, made.text
        return httpx.Client(base_url=self.server.url, headers={"api-key": made.json()["key"]}, timeout=60)


OURS = "mine"
_MADE = re.compile(r"\b[0-9a-f]{16}\b|\d{4}-\d\d-\d\dT[\d:.+]+")
"""Ids of requests and jobs, and times."""
_CHANGES_OURS = ("/snapshots", "/rebuild")
"""What these change in a gallery of ours shows in later answers."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, teacher_file: Path) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("shared")
    data = folder / "data"
    gallery, default, alias, item, encoder = (f"{kind}-{secrets.token_hex(8)}" for kind in ("g", "d", "a", "i", "e"))
    write_gallery(data, OURS, teacher_file, [StoredItem("ours", unit_vector(1), {"n": 1})], aliases=["also-mine"])
    other = make_encoder(folder / "other.onnx", role="teacher", name=encoder)
    write_gallery(data, gallery, other, [StoredItem(item, unit_vector(2), {"n": item})], aliases=[alias])
    write_gallery(data, default, other, [StoredItem(item, unit_vector(2), {"n": item})])
    made = run_askew("key", "create", "admin", "--scope", "admin", "--data", data)
    with RunningServer(data, "--gallery", default, "--photo-search") as server:
        admin = httpx.Client(base_url=server.url, headers={"api-key": made.stdout.strip()}, timeout=60)
        job = wait_for_accepted(admin, admin.post(f"/v1/galleries/{gallery}/snapshots"))
        taken = wait_for_accepted(
            admin,
            admin.post(f"/v1/galleries/{OURS}-2/restore", json={"gallery": gallery, "snapshot": job["result"]["name"]}),
        )
        key_id = admin.get("/v1/keys").json()["keys"][0]["id"]
        theirs = Names(gallery, alias, item, f"{encoder}@1", job["id"], job["result"]["name"], key_id)
        hidden = [gallery, default, alias, item, encoder, job["id"], taken["id"], key_id]
        yield Shared(server, admin, theirs, hidden)
        admin.close()


def _unknown(names: Names) -> Names:
    """Names of the same lengths that nothing has."""

    def other(name: str) -> str:
        head, _, tail = name.partition("-")
        if not tail:
            return secrets.token_hex(32)[: len(name)]
        return f"{head}-{secrets.token_hex(32)[: len(tail.removesuffix('@1'))]}{'@1' if name.endswith('@1') else ''}"

    return replace(
        names,
        gallery=other(names.gallery),
        alias=other(names.alias),
        item_id=other(names.item_id),
        encoder_id=other(names.encoder_id),
        job_id=other(names.job_id),
        key_id=other(names.key_id),
        snapshot=names.snapshot.replace("20", "19", 1),
    )


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    template: str
    query: str
    body: str | None

    def sent(self, http: httpx.Client, names: Names) -> httpx.Response:
        """The answer to it, with these names."""
        path = self.template.replace(":path}", "}")
        for name, value in names.parameters.items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        url = path + self.query.format(**names.parameters)
        body = (
            None if self.body is None else self.body.replace("GALLERY", names.gallery).replace("SNAP", names.snapshot)
        )
        headers = {} if body is None else {"Content-Type": "application/json"}
        return http.request(self.method, url, content=body, headers=headers)


def _requests(teacher: Encoder) -> list[Asked]:
    query = {"vector": pack_base64(unit_vector(3)), "dtype": "f16le", "space": teacher.space_id}
    bodies = [
        None,
        json.dumps({"gallery": "GALLERY", "snapshot": "SNAP"}),
        json.dumps({"gallery": "GALLERY"}),
        json.dumps({"into": "GALLERY"}),
        json.dumps(query),
        json.dumps({"queries": [query]}),
        # Of no item, so that a deletion by it changes nothing.
        json.dumps({"filter": {"field": "nothing", "exists": True}}),
    ]
    found = []
    for route in all_routes():
        for method in sorted({*(route.methods or ()), "GET", "DELETE"}):
            with_body = bodies if method in {"POST", "PUT"} else [None]
            found += [
                Asked(method, route.path, query_text, body)
                for query_text in ("", "?limit=1&gallery={alias}")
                for body in with_body
            ]
    return found


def _shape(answer: httpx.Response, names: Names) -> tuple[int, list[tuple[str, str]], str]:
    """Status, headers and body, with the names that were sent replaced."""

    def plain(text: str) -> str:
        for kind, value in asdict(names).items():
            text = text.replace(value, f"<{kind}>").replace(quote(value, safe=""), f"<{kind}>")
        return _MADE.sub("<made>", text)

    ignored = {"date", "server-timing", "x-request-id", "last-modified"}
    headers = sorted((name, plain(value)) for name, value in answer.headers.items() if name not in ignored)
    return answer.status_code, headers, plain(answer.text)


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["admin", "search"])
def test_another_gallery_and_one_that_does_not_exist_are_refused_alike(
    shared: Shared, teacher: Encoder, scope: str
) -> None:
    theirs, unknown = shared.theirs, _unknown(shared.theirs)
    # As they are named directly, through their alias, and below a gallery of ours.
    worlds = [
        (theirs, unknown),
        (replace(theirs, gallery=theirs.alias), replace(unknown, gallery=unknown.alias)),
        (replace(theirs, gallery=OURS, alias=theirs.gallery), replace(unknown, gallery=OURS, alias=unknown.gallery)),
    ]
    asked = 0
    with shared.key(OURS, scope=scope) as http:
        for request in _requests(teacher):
            for there, absent in worlds:
                if (
                    there.gallery == OURS
                    and request.method == "DELETE"
                    and request.template == "/v1/galleries/{gallery}"
                ):
                    continue
                if there.gallery == OURS and request.template.endswith(_CHANGES_OURS):
                    continue
                if there.gallery == OURS and "{" not in request.template.replace("{gallery}", "") + request.query:
                    continue
                answers = [request.sent(http, names) for names in (there, absent)]
                told = f"{request} as {there.gallery}: {answers[0].status_code} {answers[0].text[:300]}"
                assert _shape(answers[0], there) == _shape(answers[1], absent), told
                sent = {*asdict(there).values()}
                answer = answers[0].text + str(answers[0].headers)
                for secret in shared.secrets:
                    if not any(secret in each for each in sent):
                        assert secret not in answer, told
                # What was sent may come back as it was sent; an alias not as what it means.
                if there.gallery == theirs.alias:
                    assert theirs.gallery not in answer, told
                asked += 2
    assert asked > 1_000


def test_a_key_for_a_gallery_that_does_not_exist_learns_no_names(shared: Shared) -> None:
    with shared.key("ghost") as http:
        for path in ("/v1/galleries/ghost", "/v1/encoders/best?gallery=ghost", "/v1/encoders/x@1?gallery=ghost"):
            refused = http.get(path)
            assert_problem(refused, 404, "unknown-gallery", "'ghost'") if "x@1" not in path else None
            assert not [secret for secret in [*shared.secrets, OURS] if secret in refused.text], refused.text
        assert http.get("/v1/galleries").json() == {"galleries": [], "damaged": []}
        assert http.get("/v1/encoders").json() == {"encoders": []}
        assert http.get("/v1/jobs").json() == {"jobs": []}
    with shared.key("ghost", "also-mine") as http:
        assert_problem(http.get("/v1/galleries/ghost"), 404, "unknown-gallery", "Known: also-mine, mine.")
    assert shared.theirs.gallery in shared.admin.get("/v1/galleries/ghost").json()["detail"]


def test_the_newest_jobs_are_taken_from_those_that_the_key_may_see(shared: Shared) -> None:
    with shared.key(OURS) as http:
        ours = wait_for_accepted(http, http.post(f"/v1/galleries/{OURS}/snapshots"))
        for _ in range(3):
            wait_for_accepted(shared.admin, shared.admin.post(f"/v1/galleries/{shared.theirs.gallery}/snapshots"))
        for limit in (1, 2, 100):
            jobs = http.get(f"/v1/jobs?limit={limit}").json()["jobs"]
            assert jobs[0]["id"] == ours["id"]
            assert {each["gallery"] for each in jobs} == {OURS}
        assert http.get(f"/v1/jobs/{ours['id']}").json()["state"] == "done"
        assert http.get(f"/v1/jobs?gallery={shared.theirs.alias}").json() == {"jobs": []}
    with shared.key(OURS, f"{OURS}-2") as http:
        # This gallery was made of theirs, which is another one's business.
        assert {each["gallery"] for each in http.get("/v1/jobs").json()["jobs"]} == {OURS}
    with shared.key(f"{OURS}-2", shared.theirs.gallery) as http:
        assert ("restore", f"{OURS}-2") in {
            (each["kind"], each["gallery"]) for each in http.get("/v1/jobs").json()["jobs"]
        }


def test_a_key_that_may_search_counts_the_items_of_its_gallery_alone(shared: Shared, teacher: Encoder) -> None:
    assert any(each.template.endswith("/items/count") for each in _requests(teacher))
    body = {"filter": {"field": "n", "exists": True}}
    with shared.key(OURS, scope="search") as http:
        assert http.post(f"/v1/galleries/{OURS}/items/count", json=body).json() == {"count": 1}
        for name in (shared.theirs.gallery, shared.theirs.alias):
            for sent in (body, None):
                answer = http.post(f"/v1/galleries/{name}/items/count?gallery={OURS}", json=sent)
                assert_problem(answer, 403, "forbidden", f"'{name}'")


def test_without_a_key_nothing_is_counted(shared: Shared) -> None:
    with httpx.Client(base_url=shared.server.url) as nobody:
        ready = nobody.get("/readyz")
        assert set(ready.json()) == {"status", "version", "warnings"}
        for path in ("/healthz", "/livez", "/version", "/openapi.json", "/problems/not-ready", "/nothing", "/v1/jobs"):
            answer = nobody.get(path)
            assert not [secret for secret in shared.secrets if secret in answer.text]
