"""What http/protocol.py and http/server.py use of uvicorn without uvicorn documenting it.

uvicorn may change these names in any minor version, so server/pyproject.toml allows none beyond the one that is tested.
"""

from __future__ import annotations

import asyncio
import inspect
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from uvicorn import Config, Server
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from tests.support.paths import ROOT

MODULE = ("STATUS_LINE", "HttpToolsProtocol", "RequestResponseCycle")
CONFIG = ("backlog", "loaded_app")
PROTOCOL = (
    "app", "config", "connections", "cycle", "loop", "parser", "timeout_keep_alive", "timeout_keep_alive_task", "transport",
)  # fmt: skip
CYCLE = ("keep_alive", "response_complete", "response_started")
SERVER = ("config", "force_exit")
PROTOCOL_METHODS = {
    "connection_made": 1,
    "connection_lost": 1,
    "data_received": 1,
    "on_message_begin": 0,
    "on_url": 1,
    "on_header": 2,
    "on_headers_complete": 0,
    "on_body": 1,
    "on_message_complete": 0,
    "on_response_complete": 0,
    "pause_writing": 0,
    "resume_writing": 0,
    "timeout_keep_alive_handler": 0,
    "send_400_response": 1,
}
"""By name, the number of arguments."""


def missing(owner: object, called: str, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if not hasattr(owner, name):
            yield f"uvicorn's {called} has no attribute {name!r}"


def changed(owner: object, called: str, methods: dict[str, int]) -> Iterator[str]:
    for name, count in methods.items():
        method = getattr(owner, name, None)
        if method is None:
            yield f"uvicorn's {called} has no method {name!r}"
        elif len(inspect.signature(method).parameters) != count:
            yield f"uvicorn's {called}.{name} takes {inspect.signature(method)}, expected {count} arguments"


def assert_none(faults: Iterator[str]) -> None:
    first = next(faults, None)
    assert first is None, f"{first} (version {version('uvicorn')}). server/askew_server/http/ uses it: see {__name__}."


@pytest.fixture
def config() -> Config:
    config = Config(lambda scope, receive, send: None, ws="none", log_config=None)
    config.load()
    return config


def test_uvicorn_has_the_attributes_that_the_protocol_uses(config: Config) -> None:
    loop = asyncio.new_event_loop()
    try:
        protocol = httptools_impl.HttpToolsProtocol(config, ServerState(), {}, loop)
        assert_none(missing(httptools_impl, "module httptools_impl", MODULE))
        assert_none(missing(config, "Config", CONFIG))
        assert_none(missing(protocol, "HttpToolsProtocol", PROTOCOL))
        assert_none(changed(protocol, "HttpToolsProtocol", PROTOCOL_METHODS))
    finally:
        loop.close()
    parameters = dict.fromkeys(inspect.signature(httptools_impl.RequestResponseCycle).parameters)
    cycle = httptools_impl.RequestResponseCycle(**parameters)  # type: ignore[arg-type]
    assert_none(missing(cycle, "RequestResponseCycle", CYCLE))


def test_uvicorn_has_the_attributes_that_the_server_uses(config: Config) -> None:
    server = Server(config)
    assert_none(missing(server, "Server", SERVER))
    assert_none(changed(server, "Server", {"on_tick": 1}))


def test_a_missing_name_is_reported_in_a_sentence() -> None:
    with pytest.raises(AssertionError, match="uvicorn's Server has no attribute 'force_exit'"):
        assert_none(missing(SimpleNamespace(config=None), "Server", SERVER))
    with pytest.raises(AssertionError, match="uvicorn's Server has no method 'on_tick'"):
        assert_none(changed(SimpleNamespace(), "Server", {"on_tick": 1}))


def test_no_minor_version_beyond_the_tested_one_is_allowed() -> None:
    package = tomllib.loads((ROOT / "server/pyproject.toml").read_text())["project"]
    pinned = dict(
        line.split("==") for line in (ROOT / "requirements/constraints.txt").read_text().splitlines() if "==" in line
    )
    major, minor = pinned["uvicorn"].split(".")[:2]
    allowed = next(each for each in package["dependencies"] if each.startswith("uvicorn"))
    assert allowed.endswith(f",<{major}.{int(minor) + 1}")
