"""The server's settings: command-line options of `askew serve`, or environment variables `ASKEW_<NAME>`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from askew_client.contract.schemas import GalleryName
from askew_client.photos import MAX_PIXELS


class Settings(BaseSettings):
    """What a server is started with. Byte limits are per request body."""

    model_config = SettingsConfigDict(env_prefix="ASKEW_", extra="ignore")

    data: Path = Path("askew-data")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    default_gallery: GalleryName = "default"
    allow_missing_space: bool = False
    photo_search: bool = False
    listen_publicly: bool = False
    max_body_bytes: int = Field(default=32_000_000, ge=1_024)
    max_encoder_bytes: int = Field(default=400_000_000, ge=1_024)
    max_photo_pixels: int = Field(default=MAX_PIXELS, ge=1_024)
    max_waiting: int = Field(default=256, ge=1)
    max_waiting_photos: int = Field(default=16, ge=1)
