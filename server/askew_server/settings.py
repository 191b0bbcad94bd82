"""The server's settings: options of `askew serve`, or environment variables `ASKEW_<NAME>`.

Each setting describes itself. The help of `askew serve` and the table in docs/server.md (`make settings`) are made from
these descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from askew_client.contract.common import GalleryName
from askew_client.errors import AskewError
from askew_client.wording import expectation
from askew_server.index.gpu.options import GpuLayout, GpuOptions
from askew_server.observability.logs import LogFormat, LogLevel

ENVIRONMENT_PREFIX = "ASKEW_"

Origin = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s*]+$")]
"""A web page's origin as browsers send it: scheme, host and optional port, no path."""

RootPath = Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9._~-]+)*$", max_length=200)]
"""A path prefix: empty, or segments that are the same whether they are percent-encoded or not, without a slash at the end."""

GpuDevices = Annotated[str, StringConstraints(pattern=r"^(cpu(,cpu)*|\d+(,\d+)*)$")]


def _max_pixels() -> int:
    # Reading photos takes Pillow and NumPy, which the help of `askew serve` does without.
    from askew_client.encoding.photos import MAX_PIXELS

    return MAX_PIXELS


class Settings(BaseSettings):
    """The settings of one server. An option takes precedence over its environment variable.

    Raises ValidationError; `read_settings` raises AskewError instead.
    """

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="ignore")

    data: Path = Field(
        default=Path("askew-data"),
        description="The DATA directory.",
        json_schema_extra={"option": "--data"},
    )
    host: str = Field(
        default="127.0.0.1",
        description="The address to listen on.",
        json_schema_extra={"option": "--host"},
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65_535,
        description="The port to listen on; 0 picks a free one.",
        json_schema_extra={"option": "--port"},
    )
    default_gallery: GalleryName = Field(
        default="default",
        description="The gallery that `POST /search` searches.",
        json_schema_extra={"option": "--gallery"},
    )
    root_path: RootPath = Field(
        default="",
        description="The path prefix under which a proxy offers the server, such as `/askew`. Requests with and without it "
        "are answered; it is needed only if the proxy does not remove the prefix (docs/deploy.md).",
        json_schema_extra={
            "option": "--root-path",
            "expected": "a path such as /askew, whose parts are letters, digits, ., _, ~ and -",
        },
    )
    photo_search: bool = Field(
        default=False,
        description="Describe query photos on the server too (`/search/photo`). The web app asks before it sends one.",
        json_schema_extra={"option": "--photo-search"},
    )
    allow_missing_space: bool = Field(
        default=False,
        description="Answer queries that name no space.",
        json_schema_extra={"option": "--allow-missing-space"},
    )
    listen_publicly: bool = Field(
        default=False,
        description="Listen beyond loopback even while the server has no keys.",
        json_schema_extra={"option": "--listen-publicly"},
    )
    tls_certificate: Path | None = Field(
        default=None,
        description="Serve TLS with this certificate (PEM, with its chain).",
        json_schema_extra={"option": "--tls-certificate"},
    )
    tls_key: Path | None = Field(
        default=None,
        description="The certificate's private key (PEM), if it is in another file.",
        json_schema_extra={"option": "--tls-key"},
    )
    cors_origins: Annotated[list[Origin], NoDecode] = Field(
        default=[],
        description="Origins whose pages may use the server from a browser, separated by commas.",
        json_schema_extra={"expected": "origins such as https://museum.example, separated by commas"},
    )
    cross_origin_isolation: bool = Field(
        default=False,
        description="Isolate the web app (COOP and COEP), so that it may try several threads.",
    )
    metrics_without_key: bool = Field(
        default=False,
        description="Answer `GET /metrics` without a key.",
    )

    follow: str | None = Field(
        default=None,
        description="Be a read replica of the primary at this address, such as `https://primary:8080` (docs/replicas.md).",
        json_schema_extra={"option": "--follow"},
    )
    follow_key_file: Path | None = Field(
        default=None,
        description="A file with an admin key of the primary, if that has keys.",
        json_schema_extra={"option": "--follow-key-file"},
    )
    ready_staleness: float = Field(
        default=60.0,
        gt=0,
        description="How long ago a replica may have had everything of its primary, in seconds; beyond that `/readyz` answers "
        "503. Searches are answered all the same.",
        json_schema_extra={"option": "--ready-staleness"},
    )

    max_body_bytes: int = Field(
        default=32_000_000,
        ge=1_024,
        description="Largest request body, in bytes; encoders, snapshots and photos for a job have their own limits.",
    )
    max_encoder_bytes: int = Field(
        default=400_000_000,
        ge=1_024,
        description="Largest encoder file that is uploaded, in bytes.",
    )
    max_snapshot_bytes: int = Field(
        default=1_000_000_000_000,
        ge=1_024,
        description="Largest snapshot file that is uploaded, in bytes; it is received onto the disk.",
    )
    max_bodies_bytes: int = Field(
        default=1_000_000_000,
        ge=1_024,
        description="All request bodies in memory together, in bytes; beyond that 429 `overloaded`.",
    )
    max_answer_bytes: int = Field(
        default=64_000_000,
        ge=65_536,
        description="Largest answer with payloads and vectors (hits, items), in bytes; beyond that 422 `answer-too-large`. "
        "At least as large as the largest payload, or that item cannot be read.",
    )
    max_answers_bytes: int = Field(
        default=256_000_000,
        ge=65_536,
        description="All answers larger than 256 kB that are being read or sent together, in bytes; beyond that 429 "
        "`overloaded`.",
    )
    max_photo_pixels: int = Field(
        default_factory=_max_pixels,
        ge=1_024,
        description="Largest photo, in pixels (width × height), checked before it is decoded.",
    )
    max_header_bytes: int = Field(
        default=32_768,
        ge=1_024,
        description="Largest URL and headers of a request together, in bytes; beyond that 431 `headers-too-large`.",
    )
    max_connections: int = Field(
        default=1_000,
        ge=1,
        description="Open connections; the next 256 get 429 `overloaded` with `Retry-After`, further ones are dropped.",
    )
    header_seconds: float = Field(
        default=10,
        gt=0,
        description="Time for a request's headers to arrive, in seconds; beyond that 408 `request-timeout`.",
    )
    receive_seconds: float = Field(
        default=30,
        gt=0,
        description="Time for a request's body to arrive, in seconds, plus one second for each 16 kB of it; beyond that 408 "
        "`request-timeout`.",
    )
    request_seconds: float = Field(
        default=120,
        gt=0,
        description="Time from the end of a request's body to its answer, in seconds (admissions have 900); beyond that 503 "
        "`too-slow`.",
    )
    keep_alive_seconds: int = Field(
        default=30,
        ge=1,
        description="Time that an idle connection stays open, in seconds.",
    )
    drain_seconds: float = Field(
        default=0,
        ge=0,
        description="Time after SIGTERM, in seconds, during which `/readyz` answers 503 and all other requests are still "
        "served, so that a load balancer can look away.",
    )

    max_waiting: int = Field(
        default=256,
        ge=1,
        description="Requests that may wait for one gallery; beyond that 429 `overloaded` with `Retry-After`.",
    )
    max_waiting_photos: int = Field(
        default=16,
        ge=1,
        description="Photos that may wait to be described; beyond that 429 `overloaded` with `Retry-After`.",
    )
    photo_seconds: float = Field(
        default=100,
        gt=0,
        description="Time that describing one photo may take, in seconds, once it is its turn; beyond that it is stopped and "
        "refused (422 `unreadable-photo`).",
    )
    photo_processor_seconds: float = Field(
        default=300,
        gt=0,
        description="Processor time that describing one photo may take, of all cores together, in seconds.",
    )
    photo_memory_bytes: int = Field(
        default=3_000_000_000,
        ge=1_000_000,
        description="Memory that describing one photo may take, in bytes, the encoder included where it is not open yet.",
    )
    check_seconds: float = Field(
        default=840,
        gt=0,
        description="Time that checking an uploaded encoder file may take, in seconds: it describes three pictures, and a "
        "student up to 200 photos of the gallery.",
    )
    check_processor_seconds: float = Field(
        default=600,
        gt=0,
        description="Processor time that checking an uploaded encoder file may take, in seconds.",
    )
    build_seconds: float = Field(
        default=86_400,
        gt=0,
        description="Time that building an index, or making an offline pack, may take, in seconds.",
    )
    gpu_python: Path | None = Field(
        default=None,
        description="The Python interpreter of an environment with a GPU build of FAISS and this version of `askew-server`; by "
        "default, the server's own (docs/gpu.md).",
    )
    gpu_devices: GpuDevices = Field(
        default="0",
        description="The GPUs that search galleries whose index is `gpu-exact`: numbers in PCI order, separated by commas, as "
        "`nvidia-smi` shows them. `cpu` tries the same processes without a GPU.",
        json_schema_extra={"expected": "numbers such as 0 or 0,1, or cpu"},
    )
    gpu_layout: GpuLayout = Field(
        default="shard",
        description="How several GPUs share a gallery: `shard`: each holds a part of its vectors; `replica`: each holds all of "
        "them and answers some of the queries.",
    )
    gpu_answer_seconds: float = Field(
        default=0.5,
        gt=0,
        description="Time that a search waits for the GPU, in seconds; then the index on the CPU answers it.",
    )
    max_jobs: int = Field(
        default=32,
        ge=1,
        description="Jobs that may wait or run; beyond that 429 `overloaded` with `Retry-After`.",
    )
    max_job_photos: int = Field(
        default=10_000,
        ge=1,
        description="Photos in one job.",
    )
    max_job_bytes: int = Field(
        default=8_000_000_000,
        ge=1_024,
        description="Largest form of photos for a job, in bytes; it is received onto the disk.",
    )

    log_format: LogFormat = Field(
        default="auto",
        description="Format of log lines: `json`, `console` (for people), or `auto`: `console` on a terminal, else `json`.",
    )
    log_level: LogLevel = Field(
        default="info",
        description="Least severe log lines that are written: `debug`, `info`, `warning` or `error`.",
    )
    slow_request_seconds: float = Field(
        default=1.0,
        gt=0,
        description="Time from which on a request is logged as slow, as a warning, in seconds.",
    )
    tracing: bool = Field(
        default=False,
        description="Send OpenTelemetry traces; needs the extra `tracing`.",
    )

    @property
    def gpu(self) -> GpuOptions:
        """How GPUs are used."""
        return GpuOptions(self.gpu_python, tuple(self.gpu_devices.split(",")), self.gpu_layout, self.gpu_answer_seconds)

    @field_validator("root_path", mode="before")
    @classmethod
    def _between_slashes(cls, value: object) -> object:
        """`askew/`, `/askew/` and `/askew` are the same prefix, and `/` is none."""
        if not isinstance(value, str):
            return value
        path = value.strip().rstrip("/")
        return path if not path or path.startswith("/") else f"/{path}"

    @field_validator("root_path")
    @classmethod
    def _unambiguous(cls, value: str) -> str:
        """Browsers resolve dots. Below `/v1`, a path with the prefix could also be one without it."""
        if {".", ".."} & set(value.split("/")):
            raise ValueError("expected a path without . and .. as its parts")
        if value == "/v1" or value.startswith("/v1/"):
            raise ValueError("expected another path than /v1, below which the API itself lies")
        return value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        """In the environment a list is text: origins separated by commas."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


@dataclass(frozen=True)
class SettingDescription:
    """One setting, for the help of `askew serve`, the documentation and error messages."""

    name: str
    field: FieldInfo

    @property
    def environment(self) -> str:
        """Its environment variable."""
        return f"{ENVIRONMENT_PREFIX}{self.name.upper()}"

    @property
    def option(self) -> str | None:
        """Its option of `askew serve`, such as "--port"; None if it has only its environment variable."""
        return self._mark("option")

    @property
    def text(self) -> str:
        """One sentence of Markdown, with the unit."""
        return self.field.description or ""

    @property
    def default(self) -> object:
        """Its value unless it is set."""
        return self.field.get_default(call_default_factory=True)

    @property
    def expected(self) -> str | None:
        """Which texts are allowed, in words; None where pydantic's own message says it."""
        return self._mark("expected")

    def _mark(self, key: str) -> str | None:
        marks = self.field.json_schema_extra
        value = marks.get(key) if isinstance(marks, dict) else None
        return None if value is None else str(value)


def describe_settings() -> dict[str, SettingDescription]:
    """All settings by name, in the order in which they are declared."""
    return {name: SettingDescription(name, field) for name, field in Settings.model_fields.items()}


def read_settings(given: Mapping[str, object]) -> Settings:
    """Read the settings of a server. Each comes from `given`, else from the environment, else it is the default.

    Raises AskewError for a value that is not allowed.
    """
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise AskewError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    setting = describe_settings()[str(first["loc"][0])]
    names = " or ".join(filter(None, (setting.option, setting.environment)))
    expected = setting.expected if first["type"] == "string_pattern_mismatch" else None
    return f"Setting {setting.name} ({names}): expected {expected or expectation(error)}, got {str(first['input'])[:80]!r}."
