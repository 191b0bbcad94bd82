"""`askew key` in a DATA directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import call_askew


def test_keys_are_created_listed_and_revoked_in_a_data_directory(tmp_path: Path) -> None:
    made = call_askew(
        "key", "create", "museum app", "--scope", "search", "--gallery", "museum", "--requests-per-second", "5",
        "--expires", "2100-01-31", "--data", tmp_path,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    identity = key.split("_")[1]
    assert "only time" in made.stderr
    listed = call_askew("key", "list", "--data", tmp_path)
    assert f"{identity}  museum app  (search; only museum; 5 requests a second; until 2100-01-31" in listed.stdout
    assert key not in listed.stdout
    as_json = json.loads(call_askew("key", "list", "--json", "--data", tmp_path).stdout)
    assert as_json["keys"][0]["galleries"] == ["museum"]
    assert call_askew("key", "revoke", identity, "--data", tmp_path, "--yes").returncode == 0
    assert "no keys" in call_askew("key", "list", "--data", tmp_path).stderr


def test_a_key_is_printed_as_json_for_programs(tmp_path: Path) -> None:
    made = call_askew("key", "create", "x", "--scope", "write", "--scope", "search", "--json", "--data", tmp_path)
    created = json.loads(made.stdout)
    assert created["key"].startswith(f"ask_{created['id']}_")
    assert created["scopes"] == ["search", "write"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "x", "--scope", "read"), "--scope: expected one of 'search', 'write' or 'admin', got 'read'"),
        (("create", "x", "--scope", "search", "--expires", "soon"), "Expected --expires as a date such as 2027-01-31"),
        (("create", "x", "--scope", "search", "--gallery", "No Name"), "Expected a gallery name of 1 to 63 lower-case"),
        (
            ("create", "x", "--scope", "search", "--requests-per-second", "0"),
            "--requests-per-second: expected a number above 0",
        ),
        (
            ("create", "", "--scope", "search"),
            "NAME: expected a name of 1 to 100 characters, none of them a control character, got ''",
        ),
        (("revoke", "nobody", "--yes"), "There is no key with the id 'nobody'"),
    ],
)
def test_an_error_on_the_command_line_is_a_sentence(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = call_askew("key", *arguments, "--data", tmp_path)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
