"""The public names of the package."""

from __future__ import annotations

import askew_client

PUBLIC = [
    "AskewError",
    "AsyncClient",
    "AsyncSearchClient",
    "AsyncWriteClient",
    "Client",
    "Encoder",
    "Manifest",
    "SearchClient",
    "WriteClient",
]


def test_all_names_the_public_members() -> None:
    assert askew_client.__all__ == PUBLIC


def test_each_member_is_there_under_its_name() -> None:
    for name in PUBLIC:
        assert getattr(askew_client, name).__name__ == name
        assert name in dir(askew_client)
    assert not hasattr(askew_client, "Nothing")


def test_the_parts_of_a_client_build_on_each_other() -> None:
    assert issubclass(askew_client.Client, askew_client.WriteClient)
    assert issubclass(askew_client.WriteClient, askew_client.SearchClient)
    assert issubclass(askew_client.AsyncClient, askew_client.AsyncWriteClient)
    assert issubclass(askew_client.AsyncWriteClient, askew_client.AsyncSearchClient)
