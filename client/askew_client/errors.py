"""Everything that can go wrong, in one tree.

    AskewError
    ├── PhotoError                 a photo that cannot be described
    │   ├── UnreadablePhoto        not a photo, truncated, empty, or in a format that Askew does not read
    │   ├── PhotoTooLarge          more pixels than allowed
    │   └── PhotoTooThin           its shorter side would be below 32 px
    ├── EncoderError               a file that cannot serve as an encoder
    │   ├── NotAnEncoder           not an ONNX file, or one without a manifest
    │   ├── DamagedEncoder         its digest does not match its bytes, or it does not compute its golden vectors
    │   ├── UnknownManifest        written by a newer Askew
    │   ├── EncoderFailed          the engine failed while it described a photo
    │   └── EngineMissing          no onnxruntime is installed, or two are
    ├── WireError                  a vector that cannot be sent or read: wrong length, dtype or norm, NaN
    ├── DamagedSnapshot            a snapshot file that cannot be read, or has not the digest that the server states
    ├── DamagedPack                an offline pack that is damaged or cut, or another kind of file
    ├── ClientMisused              a closed client, an AsyncClient outside of its event loop, a text that cannot be a key
    └── ServerError                talking to a server failed
        ├── ServerUnreachable      no connection, or no answer in time
        ├── JobFailed              a job ended without a result (`.job`): it failed or was cancelled
        ├── JobUnfinished          a job was not finished within the time to wait for it (`.job`)
        └── ProblemError           the server answered with a problem (`.problem`, `.status`)
            ├── Unauthorised       401: no key, or one that the server does not know
            ├── Forbidden          403: the key may not do that
            ├── SpaceMismatch      409: the query names another space than the gallery's
            ├── NotFound           404: unknown gallery, item, encoder, job, …
            ├── EncoderRefused     422: the admission gate refused the encoder
            └── Overloaded         429 or 503: try again after `.retry_after` seconds
                └── RateLimited    429: this key makes more requests than it may

The message of each says what was expected, what came, and what to do. All can be pickled.
"""

from __future__ import annotations

from askew_client.contract.errors import (
    AskewError,
    ClientMisused,
    DamagedEncoder,
    DamagedPack,
    DamagedSnapshot,
    EncoderError,
    EncoderFailed,
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
    "DamagedPack",
    "DamagedSnapshot",
    "EncoderError",
    "EncoderFailed",
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
