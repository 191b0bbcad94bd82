"""Calls about encoders, their admission, and the probes that the gate shows them."""

from __future__ import annotations

from pathlib import Path

from numpy.typing import ArrayLike

from askew_client.calls.bodies import PhotoFile, file_body
from askew_client.calls.call import BINARY, JSON, Call, StreamedBody, gallery_path, json_body, query_parameters, segment
from askew_client.calls.forms import photo_form
from askew_client.calls.items import vector_fields
from askew_client.contract.encoders import EncoderDescription, EncoderList, Probe, ProbeList, ProbeRemoved, Runtime
from askew_client.contract.errors import NotAnEncoder
from askew_client.contract.manifest import Manifest

ADMISSION_TIMEOUT = 600.0
"""Seconds: the gate may describe hundreds of photos before it answers."""


def admit(encoder: str | Path, *, gallery: str) -> Call[EncoderDescription]:
    """Ask a gallery to admit a student. Raises NotAnEncoder if its file cannot be read."""
    body = encoder_file(encoder)
    path = f"{gallery_path(gallery)}/encoders"
    return Call("POST", path, EncoderDescription, headers=BINARY, body=body, timeout=ADMISSION_TIMEOUT, repeats=True)


def retire(encoder_id: str, *, gallery: str) -> Call[EncoderDescription]:
    """Retire a student."""
    return Call("DELETE", f"{gallery_path(gallery)}/encoders/{segment(encoder_id)}", EncoderDescription)


def set_default(encoder_id: str, runtime: Runtime, *, gallery: str) -> Call[EncoderDescription]:
    """Make an encoder the default of a runtime."""
    path = f"{gallery_path(gallery)}/encoders/{segment(encoder_id)}/default"
    return Call("PUT", path, EncoderDescription, headers=JSON, body=json_body({"runtime": runtime}))


def encoders() -> Call[EncoderList]:
    """All encoders."""
    return Call("GET", "/v1/encoders", EncoderList)


def best(
    *, gallery: str | None, runtime: Runtime | None, max_bytes: int | None, max_milliseconds: float | None
) -> Call[EncoderDescription]:
    """The best encoder that fits a device."""
    wanted = {"gallery": gallery, "runtime": runtime, "max_bytes": max_bytes, "max_milliseconds": max_milliseconds}
    return Call("GET", "/v1/encoders/best", EncoderDescription, params=query_parameters(wanted))


def encoder(encoder_id: str, *, gallery: str | None) -> Call[EncoderDescription]:
    """One encoder."""
    return Call("GET", _path(encoder_id), EncoderDescription, params=query_parameters({"gallery": gallery}))


def manifest(encoder_id: str, *, gallery: str | None) -> Call[Manifest]:
    """The manifest of an encoder."""
    params = query_parameters({"gallery": gallery})
    return Call("GET", f"{_path(encoder_id)}/manifest", Manifest, params=params)


def file(encoder_id: str, *, gallery: str | None) -> Call[bytes]:
    """The file of an encoder."""
    return Call("GET", f"{_path(encoder_id)}/file", bytes, params=query_parameters({"gallery": gallery}))


def put_probe(
    probe_id: str, photo: PhotoFile, *, gallery: str, vector: ArrayLike | None, space: str | None
) -> Call[Probe]:
    """Add a photo to the probe set. Raises UnreadablePhoto, WireError."""
    headers, body = photo_form(photo, vector_fields(vector, space))
    return Call("PUT", _probe_path(gallery, probe_id), Probe, headers=headers, body=body)


def probes(*, gallery: str) -> Call[ProbeList]:
    """The probe set of a gallery."""
    return Call("GET", f"{gallery_path(gallery)}/probes", ProbeList)


def delete_probe(probe_id: str, *, gallery: str) -> Call[ProbeRemoved]:
    """Remove a photo from the probe set."""
    return Call("DELETE", _probe_path(gallery, probe_id), ProbeRemoved)


def encoder_file(path: str | Path) -> StreamedBody:
    """An encoder file as a body. Raises NotAnEncoder if it cannot be read."""
    try:
        with Path(path).open("rb"):
            return file_body(Path(path))
    except OSError as error:
        raise NotAnEncoder(f"Expected an encoder file, but {path} cannot be read: {error.strerror}.") from None


def _path(encoder_id: str) -> str:
    return f"/v1/encoders/{segment(encoder_id)}"


def _probe_path(gallery: str, probe_id: str) -> str:
    return f"{gallery_path(gallery)}/probes/{segment(probe_id)}"
