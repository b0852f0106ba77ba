"""Checks of several processes under torchrun: whether they meet, see the same files, and agree on the time.

Each process has checked its own machine. The main one gets the results of all, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from mtmoe.diagnosis.check import Check
from mtmoe.system.torchrun import place_of_process

_PATIENCE = timedelta(seconds=60)
_ROUNDS = 5
# torch elastic takes a node for dead whose heartbeat is 15 s old by its own clock.
_SKEW_WARNING_SECONDS, _SKEW_ERROR_SECONDS = 1.0, 10.0


class Report(NamedTuple):
    """Results of one process on its machine."""

    host: str
    rank: int
    local_rank: int
    checks: list[Check]


def own_report(checks: list[Check]) -> Report:
    """Return this process's report.

    Raises:
        UserError: torchrun's variables are incomplete or wrong.
    """
    place = place_of_process()
    return Report(socket.gethostname(), place.rank, place.local_rank, checks)


def gather_reports(own: Report, directory: Path) -> tuple[list[Report], list[Check]]:
    """Return the reports of all processes, and the checks that take all of them. All processes must call it.

    If the processes do not meet, that is a check, too, and there is this process's own report alone.
    """
    import torch.distributed as dist

    try:
        dist.init_process_group("gloo", timeout=_PATIENCE)
    except Exception as problem:
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        first_line = (str(problem).splitlines() or [""])[0]
        found = f"process {own.rank} does not find the others at {address}: {first_line}"
        advice = "open the port between the nodes; GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name the network to take"
        return [own], [Check("processes", "error", found, advice)]
    try:
        reports = [_report(told) for told in all_gather_json(own._asdict())]
        together = [*_same_software(reports), *_shared_files(directory, own, reports), *_clocks(reports)]
        return reports, together
    finally:
        with contextlib.suppress(Exception):
            dist.destroy_process_group()


def _report(told: dict[str, Any]) -> Report:
    """Return a report from its JSON."""
    return Report(**told | {"checks": [Check(*check) for check in told["checks"]]})


def all_gather_json(value: Any) -> list[Any]:
    """Gather a JSON value from each process; return them by rank."""
    import torch
    import torch.distributed as dist

    own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([own.numel()]))
    longest = int(max(sizes))
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: own.numel()] = own
    parts = [torch.zeros(longest, dtype=torch.uint8) for _ in sizes]
    dist.all_gather(parts, padded)
    return [json.loads(bytes(part[: int(size)].tolist())) for part, size in zip(parts, sizes, strict=True)]


def _same_software(reports: list[Report]) -> Iterator[Check]:
    """Yield whether all processes have the same versions of Python, torch and NCCL."""
    versions: dict[str, list[str]] = {}
    for report in reports:
        of_host = "; ".join(f"{c.name} {c.found}" for c in report.checks if c.name in ("Python", "torch", "NCCL"))
        versions.setdefault(of_host, []).append(report.host)
    if len(versions) == 1:
        yield Check("same software", "ok", f"on all {len(reports)} processes")
        return
    found = " | ".join(f"{', '.join(sorted(set(hosts)))}: {which}" for which, hosts in versions.items())
    yield Check("same software", "error", found, "install the same versions on all nodes (constraints.txt)")


def _shared_files(directory: Path, own: Report, reports: list[Report]) -> Iterator[Check]:
    """Yield whether all processes see the file with a random name that the main one writes."""
    told = {"name": f".mtmoe-doctor-{secrets.token_hex(8)}", "problem": ""}
    if own.rank == 0:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / told["name"]).write_text(told["name"], encoding="utf-8")
        except OSError as problem:
            told["problem"] = f"{directory}: {problem.strerror}"
    written = all_gather_json(told)[0]
    sees = (directory / written["name"]).exists()
    seen_by = all_gather_json(sees)
    if own.rank == 0:
        (directory / written["name"]).unlink(missing_ok=True)
    if written["problem"]:
        yield Check("shared files", "error", written["problem"], "give a directory that the main process may write to")
    elif all(seen_by):
        yield Check("shared files", "ok", f"all {len(reports)} processes see the same {directory}")
    else:
        blind = sorted({report.host for report, seen in zip(reports, seen_by, strict=True) if not seen})
        yield Check(
            "shared files", "error", f"{directory} of {', '.join(blind)} is not that of {reports[0].host}",
            "put RUN_DIR and the prepared text on a file system that all nodes share (NFS, Lustre)",
        )  # fmt: skip


def _clocks(reports: list[Report]) -> Iterator[Check]:
    """Yield how far the clocks of the machines are apart.

    They are read after the same barrier. Of several rounds the one that agrees best has waited least.
    """
    import torch.distributed as dist

    rounds = []
    for _ in range(_ROUNDS):
        dist.barrier()
        times = all_gather_json(time.time())
        rounds.append([t - times[0] for t in times])
    skews = [min((one[rank] for one in rounds), key=abs) for rank in range(len(reports))]
    worst = max(range(len(reports)), key=lambda rank: abs(skews[rank]))
    found = f"at most {abs(skews[worst]):.2f} s apart ({reports[worst].host} from {reports[0].host})"
    if abs(skews[worst]) < _SKEW_WARNING_SECONDS:
        yield Check("clocks", "ok", found)
    else:
        state = "error" if abs(skews[worst]) > _SKEW_ERROR_SECONDS else "warning"
        yield Check("clocks", state, found, "let NTP set them: timedatectl set-ntp true")  # type: ignore[arg-type]
