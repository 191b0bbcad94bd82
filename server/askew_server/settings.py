"""The server's settings: command-line options of `askew serve`, or environment variables `ASKEW_<NAME>`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from askew_client.contract.common import GalleryName
from askew_client.encoding.photos import MAX_PIXELS
from askew_server.observability.logs import LogFormat, LogLevel

Origin = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s*]+$")]
"""A web page's origin as browsers send it: scheme, host and perhaps port, no path."""


class Settings(BaseSettings):
    """What a server is started with. Byte limits are per request body, but for `max_bodies_bytes`: all together."""

    model_config = SettingsConfigDict(env_prefix="ASKEW_", extra="ignore")

    data: Path = Path("askew-data")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    default_gallery: GalleryName = "default"
    allow_missing_space: bool = False
    photo_search: bool = False
    listen_publicly: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    cors_origins: Annotated[list[Origin], NoDecode] = []
    metrics_without_key: bool = False
    max_body_bytes: int = Field(default=32_000_000, ge=1_024)
    max_encoder_bytes: int = Field(default=400_000_000, ge=1_024)
    max_bodies_bytes: int = Field(default=1_000_000_000, ge=1_024)
    max_header_bytes: int = Field(default=32_768, ge=1_024)
    max_connections: int = Field(default=1_000, ge=1)
    header_seconds: float = Field(default=10, gt=0)
    receive_seconds: float = Field(default=30, gt=0)
    request_seconds: float = Field(default=120, gt=0)
    keep_alive_seconds: int = Field(default=30, ge=1)
    drain_seconds: float = Field(default=0, ge=0)
    max_photo_pixels: int = Field(default=MAX_PIXELS, ge=1_024)
    max_waiting: int = Field(default=256, ge=1)
    max_waiting_photos: int = Field(default=16, ge=1)
    max_jobs: int = Field(default=32, ge=1)
    max_job_photos: int = Field(default=10_000, ge=1)
    max_snapshot_bytes: int = Field(default=1_000_000_000_000, ge=1_024)
    max_job_bytes: int = Field(default=8_000_000_000, ge=1_024)
    log_format: LogFormat = "auto"
    log_level: LogLevel = "info"
    slow_request_seconds: float = Field(default=1.0, gt=0)
    tracing: bool = False

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        """In the environment a list is text: origins parted by commas."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
