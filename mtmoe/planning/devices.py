"""Data sheets of GPUs: peak rates, which no program reaches."""

from __future__ import annotations

from typing import NamedTuple

from mtmoe.errors import UserError

_GIB = 1 << 30
_TERA, _GIGA = 1e12, 1e9
_ASSUMED_NETWORK = "network: 10 Gb/s Ethernet for each GPU (assumed)"


class Gpu(NamedTuple):
    """One kind of GPU in the node that it is usually sold in. Rates are for one GPU and one direction.

    flops: FLOP/s by precision, dense, multiply-adds counted twice. Without "bf16" the GPU has no instructions for it.
    memory_bandwidth, node_bandwidth (to the other GPUs of the node), network_bandwidth (to other nodes): bytes/s.
    node_memory: bytes of main memory; 0 if not known. is_supported: whether current versions of torch run on it.
    reserved: bytes of its memory that are not for tensors: CUDA's context, its libraries, NCCL (assumed).
    """

    name: str
    memory: float
    flops: dict[str, float]
    memory_bandwidth: float
    node_bandwidth: float
    network_bandwidth: float
    gpus_per_node: int
    node_memory: float
    is_supported: bool
    sources: tuple[str, ...]
    reserved: float = 1e9


def _gpu(
    name: str,
    *,
    gib: float,
    fp32: float,
    fp16: float = 0.0,
    bf16: float = 0.0,
    memory: float,
    node: float,
    network: float,
    node_gb: float,
    sources: tuple[str, ...],
    supported: bool = True,
    reserved_gb: float = 1.0,
) -> Gpu:
    """Return a GPU from the numbers of its data sheet.

    gib: memory in GiB. fp32, fp16, bf16: TFLOP/s. memory, node, network: GB/s. node_gb, reserved_gb: GB.
    """
    flops = {name: rate * _TERA for name, rate in (("fp32", fp32), ("fp16", fp16), ("bf16", bf16)) if rate}
    rates = (memory * _GIGA, node * _GIGA, network * _GIGA)
    return Gpu(name, gib * _GIB, flops, *rates, 8, node_gb * _GIGA, supported, sources, reserved_gb * _GIGA)


_HOPPER_NODE = "node: NVIDIA DGX H100/H200 data sheet (8 GPUs, 8 x 400 Gb/s, 2 TB of memory)"
GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu(
            "h200", gib=141, fp32=67, fp16=989, bf16=989, memory=4800, node=450, network=50, node_gb=2000,
            sources=("NVIDIA H200 data sheet, SXM (NVLink 900 GB/s in both directions)", _HOPPER_NODE),
        ),
        _gpu(
            "h100", gib=80, fp32=67, fp16=989, bf16=989, memory=3350, node=450, network=50, node_gb=2000,
            sources=("NVIDIA H100 data sheet, SXM (NVLink 900 GB/s in both directions)", _HOPPER_NODE),
        ),
        _gpu(
            "a100", gib=80, fp32=19.5, fp16=312, bf16=312, memory=2039, node=300, network=25, node_gb=2000,
            sources=("NVIDIA A100 80GB data sheet, SXM (NVLink 600 GB/s in both directions)",
                     "node: NVIDIA DGX A100 data sheet (8 GPUs, 8 x 200 Gb/s, 2 TB of memory)"),
        ),
        _gpu(
            "a100-40gb", gib=40, fp32=19.5, fp16=312, bf16=312, memory=1555, node=300, network=25, node_gb=1000,
            sources=("NVIDIA A100 40GB data sheet, SXM (NVLink 600 GB/s in both directions)",
                     "node: NVIDIA DGX A100 data sheet (8 GPUs, 8 x 200 Gb/s, 1 TB of memory)"),
        ),
        _gpu(
            "v100", gib=32, fp32=15.7, fp16=125, memory=900, node=150, network=6.25, node_gb=512,
            sources=("NVIDIA V100 data sheet, SXM2 32 GB (NVLink 300 GB/s in both directions)",
                     "node: NVIDIA DGX-1 data sheet (8 GPUs, 4 x 100 Gb/s, 512 GB of memory)"),
        ),
        _gpu(
            "l40s", gib=48, fp32=91.6, fp16=362, bf16=362, memory=864, node=32, network=1.25, node_gb=0,
            sources=("NVIDIA L40S data sheet (PCIe 4.0 x16, 64 GB/s in both directions)",
                     _ASSUMED_NETWORK),
        ),
        _gpu(
            "t4", gib=16, fp32=8.1, fp16=65, memory=320, node=16, network=1.25, node_gb=0,
            sources=("NVIDIA T4 data sheet (PCIe 3.0 x16, 32 GB/s in both directions)",
                     _ASSUMED_NETWORK),
        ),
        _gpu(
            "k40", gib=11.25, fp32=4.29, memory=288, node=15.75, network=1.25, node_gb=0, supported=False,
            reserved_gb=0.3,  # CUDA 8 took less than today's
            sources=("NVIDIA Tesla K40 board specification: 12 GB, 11.25 of them with ECC; PCIe 3.0 x16",
                     _ASSUMED_NETWORK),
        ),
    )
}  # fmt: skip


def gpu_named(name: str) -> Gpu:
    """Return the GPU of that name, in any case of letters.

    Raises:
        UserError: there is none.
    """
    if name.lower() not in GPUS:
        raise UserError(
            f"--gpu {name}: not in the table, which has {', '.join(GPUS)}",
            fix="take the nearest one, and give what differs: --gpu-memory, --peak, --memory-bandwidth, ...",
        )
    return GPUS[name.lower()]
