"""`askew gallery pack` on a DATA directory, and on a server."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from askew_client.offline.pack import Pack
from askew_server.storage.items import SqliteItemStore
from tests.support.running_server import RunningServer, run_askew

PACK = ("gallery", "pack", "objects")


@pytest.mark.slow
def test_a_pack_is_made_described_written_and_withdrawn_without_a_server(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "objects.pack"
    at = ("--data", data)
    for arguments in ((), ("--describe",), ("--withdraw",)):
        refused = run_askew(*PACK, *arguments, *at)
        assert refused.returncode == 1
        assert "no offline pack is allowed" in refused.stderr
    made = run_askew(*PACK, "--fields", "kind, title", "--thumbnails", "64", "--out", out, *at)
    assert made.returncode == 0, made.stderr
    assert "49 items as of change 49" in made.stdout
    assert "recall@10" in made.stdout
    pack = Pack.open(out)
    assert (pack.header.fields, pack.header.thumbnail_size, len(pack)) == (["kind", "title"], 64, 49)
    described = json.loads(run_askew(*PACK, "--describe", "--json", *at).stdout)
    assert (described["is_current"], described["size"]) == (True, out.stat().st_size)
    other = tmp_path / "copy.pack"
    assert run_askew(*PACK, "--describe", "--out", other, *at).returncode == 0
    assert other.read_bytes() == out.read_bytes()
    with closing(SqliteItemStore(data / "galleries/objects")) as store:
        store.delete([pack.item(0)[0]])
    again = json.loads(run_askew(*PACK, "--json", *at).stdout)
    assert (again["items"], again["trained"], again["thumbnails"]) == (48, False, 48)
    ids_alone = run_askew(*PACK, "--fields", "", "--out", out, *at)
    assert ids_alone.returncode == 0, ids_alone.stderr
    assert Pack.open(out).item(0)[1] == {}
    withdrawn = run_askew(*PACK, "--withdraw", *at)
    assert "may not be taken offline any more" in withdrawn.stdout
    assert not (data / "galleries/objects/offline").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--withdraw", "--fields", "a"), "--withdraw alone"),
        (("--describe", "--fields", "a"), "got both"),
        (("--thumbnails", "64"), "--fields with --thumbnails"),
        (("--refresh-minutes", "5"), "--fields with --refresh-minutes"),
        (("--describe", "--bytes", "64"), "--fields with --bytes"),
        (("--withdraw", "--thumbnails", "64"), "--withdraw alone"),
        (("--fields", "a", "--refresh-minutes", "-1"), "--refresh-minutes: expected a number of at least 0"),
        (("--fields", "a,a"), "--fields: expected every field once, got 'a' twice"),
        (("--fields", "a", "--bytes", "3"), "--bytes: expected a number of at least 64"),
        (("--fields", "a", "--thumbnails", "5"), "--thumbnails: expected 0 (no thumbnails) or a size from 32 to 512"),
        (("--fields", "a,,b"), "--fields"),
    ],
)
def test_options_that_do_not_fit_are_refused(data: Path, arguments: tuple[str, ...], sentence: str) -> None:
    refused = run_askew(*PACK, *arguments, "--data", data)
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert not (data / "galleries/objects/offline").exists()


@pytest.mark.slow
def test_the_same_on_a_server(server: RunningServer, tmp_path: Path) -> None:
    out = tmp_path / "objects.pack"
    at = ("--server", server.url)
    made = run_askew(*PACK, "--fields", "kind", "--out", out, *at)
    assert made.returncode == 0, made.stderr
    assert Pack.open(out).header.fields == ["kind"]
    described = json.loads(run_askew(*PACK, "--describe", "--json", *at).stdout)
    assert described["sha256"] == server.http.get("/v1/galleries/objects/offline-pack").json()["sha256"]
    assert run_askew(*PACK, *at).returncode == 0
    assert run_askew(*PACK, "--withdraw", *at).returncode == 0
    refused = run_askew(*PACK, "--describe", *at)
    assert (refused.returncode, "no offline pack is allowed" in refused.stderr) == (1, True)
