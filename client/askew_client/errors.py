"""Everything that can go wrong, in one tree.

    AskewError
    ├── PhotoError                 a photo that cannot be described
    │   ├── UnreadablePhoto        no photo, truncated, empty, or of a format that is not admitted
    │   ├── PhotoTooLarge          more pixels than the bound
    │   └── PhotoTooThin           its shorter side falls under 32 px
    ├── EncoderError               a file that cannot serve as an encoder
    │   ├── NotAnEncoder           no ONNX file, or one without a manifest
    │   ├── DamagedEncoder         its digest does not fit its bytes, or its golden vectors do not come out
    │   ├── UnknownManifest        written by a newer Askew
    │   └── EngineMissing          no onnxruntime is installed, or two are
    ├── WireError                  a vector that cannot be sent or read: wrong length, dtype, norm, NaN
    ├── DamagedSnapshot            a snapshot file that cannot be read, or has not the digest that the server states
    ├── ClientMisused              a client that was closed, an AsyncClient outside of its event loop, no key at all
    └── ServerError                talking to a server failed
        ├── ServerUnreachable      no connection, or no answer in time
        ├── JobFailed              a job ended without its result (`.job`): failed, or cancelled
        ├── JobUnfinished          a job was still at work when the time to wait was over (`.job`)
        └── ProblemError           the server answered with a problem (`.problem`, `.status`)
            ├── Unauthorised       401: no key, or one that the server does not know
            ├── Forbidden          403: the key may not do that
            ├── SpaceMismatch      409: the query names another space than the gallery's
            ├── NotFound           404: unknown gallery, item, encoder, job, …
            ├── EncoderRefused     422: the admission gate said no
            └── Overloaded         429 or 503: try again after `.retry_after` seconds
                └── RateLimited    429: this key asks more often than it may

The text of each is one sentence or two for a person: what was expected, what came, what to do.
"""

from __future__ import annotations

from askew_client.contract.errors import (
    AskewError,
    ClientMisused,
    DamagedEncoder,
    DamagedSnapshot,
    EncoderError,
    EncoderRefused,
    EngineMissing,
    Forbidden,
    JobFailed,
    JobUnfinished,
    NotAnEncoder,
    NotFound,
    Overloaded,
    PhotoError,
    PhotoTooLarge,
    PhotoTooThin,
    ProblemError,
    RateLimited,
    ServerError,
    ServerUnreachable,
    SpaceMismatch,
    Unauthorised,
    UnknownManifest,
    UnreadablePhoto,
    WireError,
    sentence_of,
)

__all__ = [
    "AskewError",
    "ClientMisused",
    "DamagedEncoder",
    "DamagedSnapshot",
    "EncoderError",
    "EncoderRefused",
    "EngineMissing",
    "Forbidden",
    "JobFailed",
    "JobUnfinished",
    "NotAnEncoder",
    "NotFound",
    "Overloaded",
    "PhotoError",
    "PhotoTooLarge",
    "PhotoTooThin",
    "ProblemError",
    "RateLimited",
    "ServerError",
    "ServerUnreachable",
    "SpaceMismatch",
    "Unauthorised",
    "UnknownManifest",
    "UnreadablePhoto",
    "WireError",
    "sentence_of",
]
