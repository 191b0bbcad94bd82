"""The public names of the package."""

from __future__ import annotations

from importlib import metadata

import askew_client
from askew_client import errors
from askew_client.contract import errors as contract_errors

CLIENTS = ["AsyncClient", "AsyncSearchClient", "AsyncWriteClient", "Client", "SearchClient", "WriteClient"]
MODELS = [
    *[
        "AdmissionReport",
        "BatchHits",
        "BatchSearchAnswer",
        "Encoder",
        "EncoderDescription",
        "GalleryDescription",
        "Hit",
    ],
    *["Item", "ItemPage", "Job", "Manifest", "Problem", "ProblemKind", "SearchAnswer"],
]


def test_all_names_the_public_members() -> None:
    every_error = [name for name in errors.__all__ if name != "sentence_of"]
    assert sorted(askew_client.__all__) == sorted([*CLIENTS, *MODELS, *every_error, "__version__"])


def test_each_member_is_there_under_its_name() -> None:
    for name in askew_client.__all__:
        assert name in dir(askew_client)
        if name != "__version__":
            assert getattr(askew_client, name).__name__ == name
    assert not hasattr(askew_client, "Nothing")


def test_the_version_is_that_of_the_installed_package() -> None:
    assert askew_client.__version__ == metadata.version("askew-client")


def test_every_error_is_exported() -> None:
    kinds = [each for each in vars(contract_errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert {each.__name__ for each in kinds} == set(errors.__all__) - {"sentence_of"}


def test_the_parts_of_a_client_build_on_each_other() -> None:
    assert issubclass(askew_client.Client, askew_client.WriteClient)
    assert issubclass(askew_client.WriteClient, askew_client.SearchClient)
    assert issubclass(askew_client.AsyncClient, askew_client.AsyncWriteClient)
    assert issubclass(askew_client.AsyncWriteClient, askew_client.AsyncSearchClient)
