"""What several test folders share: small encoder files, and photos."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.paths import DEMO
from tests.support.running_server import end_commands
from tests.support.small_encoders import make_encoder

# A slow machine is not a failure, and a test that fails now and then is ignored.
settings.register_profile("askew", deadline=None, derandomize=True)
settings.load_profile("askew")


def pytest_configure() -> None:
    """Tests report nothing to anybody.

    A shell that starts a job in the background has it ignore Ctrl-C, and every process that the tests start, too.
    """
    # Some open ONNX Runtime by themselves, to compare.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    end_commands()


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("teacher") / "teacher.onnx", role="teacher")


@pytest.fixture(scope="session")
def student_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that lands in the teacher's space: cosines near 0.99, another photo size."""
    folder = tmp_path_factory.mktemp("student")
    return make_encoder(folder / "student.onnx", role="student", noise=0.1, photo_size=96)


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    """Some real photos of the demo gallery, by name."""
    return sorted((DEMO / "gallery").glob("object-*.jpg"))[:12]
