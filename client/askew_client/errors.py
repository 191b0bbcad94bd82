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
    ├── ClientMisused              a closed client, an AsyncClient outside of its event loop, an unusable key, proxy or certificate
    └── ServerError                talking to a server failed
        ├── ServerUnreachable      no connection, or no answer in time
        ├── JobFailed              a job ended without a result (`.job`): it failed or was cancelled
        ├── JobUnfinished          a job was not finished within the time to wait for it (`.job`)
        └── ProblemError           the server answered with a problem (`.problem`, `.status`)
            ├── Unauthorised       401: no key, or one that the server does not know
            ├── Forbidden          403: the key may not do that
            │   └── PhotoSearchOff     the server describes no query photos
            ├── NotFound           404: UnknownGallery, UnknownItem, UnknownEncoder, UnknownJob, UnknownAlias, UnknownKey,
            │                      UnknownSnapshot, UnknownProbe, NoEncoderFits, NoOfflinePack
            ├── Conflict           409: what was asked does not agree with what there is
            │   ├── SpaceMismatch      the query names another space than the gallery's
            │   ├── EncoderNotAdmitted the query's encoder is not admitted, or is retired
            │   └── CannotDescribe     no encoder of the gallery can describe the photo
            ├── InvalidRequest     400, 405, 408, 413, 415, 422, 431
            │   └── EncoderRefused     the admission gate refused the encoder
            ├── InsufficientStorage 507: not enough disk or memory
            ├── ServerFailed       500
            │   └── GalleryDamaged     503: the gallery on the disk is damaged
            └── Overloaded         429 or 503: try again after `.retry_after` seconds
                └── RateLimited    429: this key makes more requests than it may

The message of each says what was expected, what came, and what to do. All can be pickled.
"""

from __future__ import annotations

from askew_client.contract.errors import (
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
    sentence_of,
)

__all__ = [
    "AskewError",
    "CannotDescribe",
    "ClientMisused",
    "Conflict",
    "DamagedEncoder",
    "DamagedPack",
    "DamagedSnapshot",
    "EncoderError",
    "EncoderFailed",
    "EncoderNotAdmitted",
    "EncoderRefused",
    "EngineMissing",
    "Forbidden",
    "GalleryDamaged",
    "InsufficientStorage",
    "InvalidRequest",
    "JobFailed",
    "JobUnfinished",
    "NoEncoderFits",
    "NoOfflinePack",
    "NotAnEncoder",
    "NotFound",
    "Overloaded",
    "PhotoError",
    "PhotoSearchOff",
    "PhotoTooLarge",
    "PhotoTooThin",
    "ProblemError",
    "RateLimited",
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
    "sentence_of",
]
