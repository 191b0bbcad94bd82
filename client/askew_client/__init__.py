"""Askew on the query side: describe a photo in a teacher's space, and search a gallery with the vector."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from askew_client._async.client import AsyncClient
    from askew_client._async.search_client import AsyncSearchClient
    from askew_client._async.write_client import AsyncWriteClient
    from askew_client._sync.client import Client
    from askew_client._sync.search_client import SearchClient
    from askew_client._sync.write_client import WriteClient
    from askew_client.contract.encoders import AdmissionReport, EncoderDescription
    from askew_client.contract.galleries import GalleryDescription
    from askew_client.contract.items import Item, ItemPage
    from askew_client.contract.jobs import Job
    from askew_client.contract.manifest import Manifest
    from askew_client.contract.problems import Problem, ProblemKind
    from askew_client.contract.search import BatchHits, BatchSearchAnswer, Hit, SearchAnswer
    from askew_client.encoding.encoder import Encoder
    from askew_client.errors import (
        AskewError,
        CannotDescribe,
        ClientMisused,
        Conflict,
        DamagedEncoder,
        DamagedPack,
        DamagedSnapshot,
        EncoderError,
        EncoderFailed,
        EncoderNotAdmitted,
        EncoderRefused,
        EngineMissing,
        Forbidden,
        GalleryDamaged,
        InsufficientStorage,
        InvalidRequest,
        JobFailed,
        JobUnfinished,
        NoEncoderFits,
        NoOfflinePack,
        NotAnEncoder,
        NotFound,
        Overloaded,
        PhotoError,
        PhotoSearchOff,
        PhotoTooLarge,
        PhotoTooThin,
        ProblemError,
        RateLimited,
        ServerError,
        ServerFailed,
        ServerUnreachable,
        SpaceMismatch,
        Unauthorised,
        UnknownAlias,
        UnknownEncoder,
        UnknownGallery,
        UnknownItem,
        UnknownJob,
        UnknownKey,
        UnknownManifest,
        UnknownProbe,
        UnknownSnapshot,
        UnreadablePhoto,
        WireError,
    )

    __version__: str

__all__ = [
    "AdmissionReport",
    "AskewError",
    "AsyncClient",
    "AsyncSearchClient",
    "AsyncWriteClient",
    "BatchHits",
    "BatchSearchAnswer",
    "CannotDescribe",
    "Client",
    "ClientMisused",
    "Conflict",
    "DamagedEncoder",
    "DamagedPack",
    "DamagedSnapshot",
    "Encoder",
    "EncoderDescription",
    "EncoderError",
    "EncoderFailed",
    "EncoderNotAdmitted",
    "EncoderRefused",
    "EngineMissing",
    "Forbidden",
    "GalleryDamaged",
    "GalleryDescription",
    "Hit",
    "InsufficientStorage",
    "InvalidRequest",
    "Item",
    "ItemPage",
    "Job",
    "JobFailed",
    "JobUnfinished",
    "Manifest",
    "NoEncoderFits",
    "NoOfflinePack",
    "NotAnEncoder",
    "NotFound",
    "Overloaded",
    "PhotoError",
    "PhotoSearchOff",
    "PhotoTooLarge",
    "PhotoTooThin",
    "Problem",
    "ProblemError",
    "ProblemKind",
    "RateLimited",
    "SearchAnswer",
    "SearchClient",
    "ServerError",
    "ServerFailed",
    "ServerUnreachable",
    "SpaceMismatch",
    "Unauthorised",
    "UnknownAlias",
    "UnknownEncoder",
    "UnknownGallery",
    "UnknownItem",
    "UnknownJob",
    "UnknownKey",
    "UnknownManifest",
    "UnknownProbe",
    "UnknownSnapshot",
    "UnreadablePhoto",
    "WireError",
    "WriteClient",
    "__version__",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: importing the HTTP client takes 0.2 s, and few commands need it."""
    if name == "__version__":
        return str(import_module("importlib.metadata").version("askew-client"))
    modules = {
        "AdmissionReport": "contract.encoders",
        "AskewError": "errors",
        "AsyncClient": "_async.client",
        "AsyncSearchClient": "_async.search_client",
        "AsyncWriteClient": "_async.write_client",
        "BatchHits": "contract.search",
        "BatchSearchAnswer": "contract.search",
        "CannotDescribe": "errors",
        "Client": "_sync.client",
        "ClientMisused": "errors",
        "Conflict": "errors",
        "DamagedEncoder": "errors",
        "DamagedPack": "errors",
        "DamagedSnapshot": "errors",
        "Encoder": "encoding.encoder",
        "EncoderDescription": "contract.encoders",
        "EncoderError": "errors",
        "EncoderFailed": "errors",
        "EncoderNotAdmitted": "errors",
        "EncoderRefused": "errors",
        "EngineMissing": "errors",
        "Forbidden": "errors",
        "GalleryDamaged": "errors",
        "GalleryDescription": "contract.galleries",
        "Hit": "contract.search",
        "InsufficientStorage": "errors",
        "InvalidRequest": "errors",
        "Item": "contract.items",
        "ItemPage": "contract.items",
        "Job": "contract.jobs",
        "JobFailed": "errors",
        "JobUnfinished": "errors",
        "Manifest": "contract.manifest",
        "NoEncoderFits": "errors",
        "NoOfflinePack": "errors",
        "NotAnEncoder": "errors",
        "NotFound": "errors",
        "Overloaded": "errors",
        "PhotoError": "errors",
        "PhotoSearchOff": "errors",
        "PhotoTooLarge": "errors",
        "PhotoTooThin": "errors",
        "Problem": "contract.problems",
        "ProblemError": "errors",
        "ProblemKind": "contract.problems",
        "RateLimited": "errors",
        "SearchAnswer": "contract.search",
        "SearchClient": "_sync.search_client",
        "ServerError": "errors",
        "ServerFailed": "errors",
        "ServerUnreachable": "errors",
        "SpaceMismatch": "errors",
        "Unauthorised": "errors",
        "UnknownAlias": "errors",
        "UnknownEncoder": "errors",
        "UnknownGallery": "errors",
        "UnknownItem": "errors",
        "UnknownJob": "errors",
        "UnknownKey": "errors",
        "UnknownManifest": "errors",
        "UnknownProbe": "errors",
        "UnknownSnapshot": "errors",
        "UnreadablePhoto": "errors",
        "WireError": "errors",
        "WriteClient": "_sync.write_client",
    }
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{modules[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
