"""`askew serve`: its options are made from the settings, and it says which one is not valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_server.settings import describe_settings, read_settings
from tests.support.command_line import call_askew

OPTIONS = {
    "data": "--data",
    "host": "--host",
    "port": "--port",
    "default_gallery": "--gallery",
    "root_path": "--root-path",
    "photo_search": "--photo-search",
    "allow_missing_space": "--allow-missing-space",
    "listen_publicly": "--listen-publicly",
    "tls_certificate": "--tls-certificate",
    "tls_key": "--tls-key",
    "follow": "--follow",
    "follow_key_file": "--follow-key-file",
    "ready_staleness": "--ready-staleness",
}


def test_the_options_are_these() -> None:
    assert {name: each.option for name, each in describe_settings().items() if each.option} == OPTIONS


def test_the_help_describes_each_option_with_its_variable_and_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(call_askew("serve", "--help").stdout.replace("│", " ").split())
    for name, option in OPTIONS.items():
        described = describe_settings()[name].text.replace("`", "")
        default = {"data": "; askew-data", "host": "; 127.0.0.1", "port": "; 8000", "default_gallery": "; default"}
        assert f"{option} " in text
        assert f"{described} [ASKEW_{name.upper()}{default.get(name, '')}]" in text


@pytest.mark.parametrize(
    ("options", "environment", "sentence"),
    [
        (("--port", "70000"), {}, "Setting port (--port or ASKEW_PORT): expected a number of at most 65535"),
        ((), {"ASKEW_PORT": "x"}, "Setting port (--port or ASKEW_PORT): expected a whole number"),
        (("--gallery", "No Name"), {}, "expected a gallery name of 1 to 63 lower-case letters"),
        ((), {"ASKEW_CORS_ORIGINS": "museum.example"}, "(ASKEW_CORS_ORIGINS): expected origins such as https://"),
        ((), {"ASKEW_DRAIN_SECONDS": "-1"}, "(ASKEW_DRAIN_SECONDS): expected a number of at least 0"),
        (("--root-path", "/a b"), {}, "(--root-path or ASKEW_ROOT_PATH): expected a path such as /askew"),
        (("--root-path", "/../a"), {}, "(--root-path or ASKEW_ROOT_PATH): expected a path without . and .."),
        (("--root-path", "/v1/x"), {}, "(--root-path or ASKEW_ROOT_PATH): expected another path than /v1"),
    ],
)
def test_an_invalid_setting_is_named_with_its_value(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = call_askew("serve", *options)
    assert done.returncode == 1
    assert sentence in done.stderr
    given = (*options, *environment.values())[-1]
    assert f"got '{given}'." in done.stderr


def test_an_option_of_the_wrong_type_is_a_wrong_call() -> None:
    done = call_askew("serve", "--port", "x")
    assert done.returncode == 2
    assert "--port" in done.stderr


def test_an_option_takes_precedence_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PORT": "1234", "PHOTO_SEARCH": "1", "CORS_ORIGINS": "https://a.example, http://b:81"}.items():
        monkeypatch.setenv(f"ASKEW_{name}", value)
    settings = read_settings({"port": 5678})
    assert (settings.port, settings.photo_search, settings.host) == (5678, True, "127.0.0.1")
    assert settings.cors_origins == ["https://a.example", "http://b:81"]


def test_an_odd_table_of_keys_keeps_the_server_from_starting(tmp_path: Path) -> None:
    (tmp_path / "askew.db").write_bytes(b"no database at all, but for its length" * 100)
    done = call_askew("serve", "--data", tmp_path, "--port", "0")
    assert done.returncode == 1
    assert "askew.db cannot be used" in done.stderr
