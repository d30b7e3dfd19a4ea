"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from tfopt import __version__

#: Instruction sets that the kernels of TensorFlow (oneDNN, Eigen) and LiteRT (XNNPACK) choose by.
FLAGS: Final = (
    "sse4_1", "avx", "fma", "f16c", "avx2", "avx_vnni", "avx_vnni_int8",
    "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip
LIBRARIES: Final = ("numpy", "tensorflow", "ai-edge-litert", "onnxruntime", "grpcio")
#: Settings of the libraries that change which kernels run, or on how many threads.
SETTINGS: Final = ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
_CPUINFO: Final = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """`cores` are those this process may use; `load` is the 1-minute load average before measuring began."""

    cpu: str
    cores: int
    flags: tuple[str, ...]
    memory_bytes: int | None
    system: str
    python: str
    libraries: Mapping[str, str]
    settings: Mapping[str, str]
    load: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Machine:
        return cls(**{**data, "flags": tuple(data["flags"])})


def describe_machine() -> Machine:
    """Facts of this machine, its libraries and its load right now."""
    model, flags = parse_cpuinfo(_CPUINFO.read_text()) if _CPUINFO.exists() else (None, ())
    return Machine(
        cpu=model or platform.processor() or platform.machine(),
        cores=available_cores(),
        flags=flags,
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        libraries={"tfopt": __version__, **_installed(LIBRARIES)},
        settings={name: os.environ[name] for name in SETTINGS if name in os.environ},
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def available_cores() -> int:
    """The cores this process may use, not those the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse_cpuinfo(text: str) -> tuple[str | None, tuple[str, ...]]:
    """The first processor's name and those of its FLAGS that matter (x86 `flags`, ARM `Features`)."""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    has = set(facts.get("flags", facts.get("Features", "")).split())
    return facts.get("model name"), tuple(flag for flag in FLAGS if flag in has)


def _memory_bytes() -> int | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _installed(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
