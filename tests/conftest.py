"""What holds for every test."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def processes_hear_ctrl_c() -> Iterator[None]:
    """Also where the tests run in the background: a shell makes what it starts there, and all that comes of it, deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
