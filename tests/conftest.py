"""For all tests: on a machine that does other things, too, the time of a single example says nothing."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
