"""The whole campaign, and a table of what it found: ``python -m tests.campaign [--seed N] [--count N]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.campaign import damage, inputs, scarcity, settings
from tests.campaign.harness import Verdict, run_cases, shown, table
from tests.campaign.setup import Sound

PARTS = {"inputs": inputs.cases, "settings": settings.cases, "damage": damage.cases, "scarcity": scarcity.cases}
_SHARES = {"inputs": 0.36, "settings": 0.32, "damage": 0.27, "scarcity": 0.05}


def main(words: Sequence[str] | None = None) -> int:
    """Return 0 if nothing was found. ``words``: the arguments; None for those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="another one spoils other things")
    parser.add_argument("--count", type=int, default=3400, help="cases in all")
    parser.add_argument("--part", choices=PARTS, action="append", help="these alone")
    parser.add_argument("--only", default="", help="the case of this name alone")
    parser.add_argument("--sound", type=Path, help="where what is sound is kept for the next time")
    arguments = parser.parse_args(words)
    verdicts: list[Verdict] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mtmoe-sound-") as temporary:
        sound = Sound(arguments.sound or Path(temporary))
        if not sound.lm.is_dir():
            sound.make()
        parts = arguments.part or list(PARTS)
        total = sum(_SHARES[part] for part in parts)
        before = sound.digests()
        for part in parts:
            count = max(1, round(arguments.count * _SHARES[part] / total))
            chosen = (c for c in PARTS[part](sound, arguments.seed, count) if arguments.only in ("", c.name))
            for verdict in run_cases(chosen):
                verdicts.append(verdict)
                if verdict.findings:
                    print(shown(verdict), flush=True)
        harmed = sorted(name for name, digest in before.items() if sound.digests().get(name) != digest)
    print(table(verdicts))
    if harmed:
        print(f"changed, though nobody was asked to: {', '.join(harmed)}")
    print(f"seed {arguments.seed}, {time.monotonic() - began:.0f} s")
    return int(bool(harmed) or any(verdict.findings for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
