"""For all tests: on a machine that does other things, too, the time of a single example says nothing."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# A suite in the background of a script inherits that SIGINT is ignored, and so would the commands that it interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
