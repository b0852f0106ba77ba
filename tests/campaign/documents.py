"""Generated documents in all made-up translations: ``python -m tests.campaign.documents [--seed N] [--count N]``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.documents.generated import KINDS, problems_of


def main() -> int:
    """Return 0 if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default="1", help="another one makes other fragments")
    parser.add_argument("--count", type=int, default=10_000, help="fragments in all")
    parser.add_argument("--format", choices=KINDS, action="append", help="these alone")
    arguments = parser.parse_args()
    began = time.process_time()
    kinds = arguments.format or list(KINDS)
    num_found = 0
    for number in range(arguments.count):
        kind = kinds[number % len(kinds)]
        seed = f"{arguments.seed} {number}"
        try:
            found = list(problems_of(kind, seed))
        except Exception:
            found = [f"{kind} {seed}: {traceback.format_exc()}"]
        num_found += len(found)
        for problem in found:
            print(problem, flush=True)
    seconds = time.process_time() - began
    print(f"{arguments.count} fragments ({', '.join(kinds)}), {num_found} findings, {seconds:.0f} s of one core")
    return int(num_found > 0)


if __name__ == "__main__":
    sys.exit(main())
