"""What all tests share: property tests that draw the same examples in every run and have no deadline of their own."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("repeatable")
