#!/usr/bin/env python3
"""Resident memory of a long translation, at rest after so many lines.

    resident_memory.py RUN LINES [OPTION ...]

Feeds the lines of the file LINES to `mtmoe translate RUN OPTION ...` through a pipe that stays open, 1,024 at first and
then 4,096 at a time; waits for the answers; and prints lines, megabytes resident and the peak so far. Linux only.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

FIRST_LINES = 1024
NEXT_LINES = 4096
SECONDS_AT_REST = 2


def main() -> None:
    """Translate LINES and print the memory of the process after each part."""
    if len(sys.argv) < 3 or sys.argv[1] in ("-h", "--help"):
        print(__doc__, file=sys.stdout if sys.argv[1:2] in (["-h"], ["--help"]) else sys.stderr)
        sys.exit(0 if sys.argv[1:2] in (["-h"], ["--help"]) else 2)
    run, path, *options = sys.argv[1:]
    lines = Path(path).read_bytes().split(b"\n")[:-1]
    command = ["mtmoe", "translate", run, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError
        print("lines", "MB resident", "MB at the peak so far", sep="\t")
        num_done = 0
        for size in itertools.chain([FIRST_LINES], itertools.repeat(NEXT_LINES)):
            part = lines[num_done : num_done + size]
            if not part:
                break
            # In a thread: the answers of the first lines may fill the pipe while the last ones are still written.
            writer = threading.Thread(target=write, args=(process.stdin, part))
            writer.start()
            for _ in part:
                process.stdout.readline()
            writer.join()
            num_done += len(part)
            time.sleep(SECONDS_AT_REST)
            print(
                num_done, *(f"{megabytes(process.pid, name):.0f}" for name in ("VmRSS", "VmHWM")), sep="\t", flush=True
            )
        process.stdin.close()


def write(pipe: object, lines: list[bytes]) -> None:
    """Write lines into a pipe and flush it."""
    pipe.write(b"".join(line + b"\n" for line in lines))
    pipe.flush()


def megabytes(process_id: int, name: str) -> float:
    """Return a size from the status of a process in MB: VmRSS is resident now, VmHWM the most so far."""
    status = Path(f"/proc/{process_id}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1000 if found else float("nan")


if __name__ == "__main__":
    main()
