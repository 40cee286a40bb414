"""What all tests share: property tests that draw the same examples in every run and have no deadline of their own, and
processes that hear Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def processes_hear_ctrl_c() -> Iterator[None]:
    """Also where the tests run in the background: a shell makes what it starts there, and all that comes of it, deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
