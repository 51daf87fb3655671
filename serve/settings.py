"""What an operator may set, by environment variables such as ``FOCUS_PICKER_MAX_REQUEST_BYTES``."""

import re
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from focus_picker.dataset.errors import InputError
from focus_picker.models import DEFAULT_MODEL

PREFIX = "FOCUS_PICKER_"
MIB = 2**20


class Settings(BaseSettings):
    """Settings of the service; every default is safe for a machine with 1 GiB of memory.

    Attributes
    ----------
    model
        ``focus_model.tflite``, ``baseline.txt`` or a run's folder.
    reference
        Profile that ``cli.py drift --save-profile`` wrote; ``/metrics`` then carries the drift from it.
    token
        Bearer token that scoring and metrics ask for; none by default, as the service binds to loopback by default.
    max_request_bytes, max_unpacked_bytes
        Of a request's body, and of what all zips in it unpack to.
    max_buffered_bytes
        Of the bodies of all requests that are being received or worked on.
    max_worker_bytes
        Memory that a worker process may take for one request, beyond what it needs at rest.
    max_files, max_stacks
        Images or slices of one stack or batch of images, and stacks of a batch of stacks, in one request.
    max_zip_ratio
        Unpacked by packed size of a zip entry; image files hardly compress.
    max_image_pixels, max_request_pixels
        Width times height of one image, and of all images of a request together.
    body_seconds, work_seconds
        Time to send a body, and to answer once it is there.
    max_in_flight, max_connections
        Requests worked on or waiting, and open connections; more are told to come back (503).
    workers
        Processes that decode and score, each with a model of its own. The second keeps single images going while the
        first is at a large stack.
    rolling_images
        Latest images that the rolling figures of ``/metrics`` are about.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    model: Path = DEFAULT_MODEL
    reference: Path | None = None
    token: SecretStr | None = None
    max_request_bytes: int = Field(default=64 * MIB, ge=1024)
    max_unpacked_bytes: int = Field(default=128 * MIB, ge=1024)
    max_buffered_bytes: int = Field(default=128 * MIB, ge=1024)
    max_worker_bytes: int = Field(default=320 * MIB, ge=64 * MIB)
    max_files: int = Field(default=200, ge=1)
    max_stacks: int = Field(default=100, ge=1)
    max_zip_ratio: float = Field(default=50, ge=1)
    max_image_pixels: int = Field(default=4_200_000, ge=1024)
    max_request_pixels: int = Field(default=24_000_000, ge=1024)
    body_seconds: float = Field(default=30, gt=0)
    work_seconds: float = Field(default=30, gt=0)
    max_head_bytes: int = Field(default=32 * 1024, ge=1024)
    head_seconds: float = Field(default=10, gt=0)
    write_seconds: float = Field(default=30, gt=0)
    max_in_flight: int = Field(default=64, ge=1)
    max_connections: int = Field(default=256, ge=8)
    max_connections_per_client: int = Field(default=192, ge=8)
    workers: int = Field(default=2, ge=1)
    rolling_images: int = Field(default=1000, ge=10)
    allowed_hosts: str = ""
    adapt: bool = False
    adapt_seconds: float = Field(default=1800, gt=0)

    @field_validator("token")
    @classmethod
    def _can_be_sent(cls, token: SecretStr | None) -> SecretStr | None:
        """Refuse a token that no client can send in a header, or that is soon guessed."""
        if token is not None and not re.fullmatch(r"[!-~]{8,512}", token.get_secret_value()):
            raise ValueError("8 to 512 letters, digits and signs of ASCII without spaces are needed")
        return token


def load_settings(**given: Any) -> Settings:
    """Read the environment; ``given`` goes before it, and None in it counts as not given.

    Raises InputError, naming the variable, for a value that cannot be used.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        fault = error.errors()[0]
        name = PREFIX + "_".join(str(part) for part in fault["loc"]).upper()
        raise InputError(f"{name} cannot be used ({fault['msg']}); correct or unset it") from None
