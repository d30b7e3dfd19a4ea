"""What an artifact may require of the machine that runs it, and what can be told of that before anything is loaded.

A manifest names requirements (`artifacts.saved_model.requires`). Whether one is met is known for sure when the runtime
has tried it out; that one is not met, the processor often tells at once.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

#: TensorFlow's kernels for integers, which are oneDNN's.
ONEDNN: Final = "oneDNN"
#: Instructions that add products of 8-bit numbers in 32 bits; without them they are added in 16, which saturates.
VNNI: Final = "VNNI"
#: What depends on the machine; everything else that may be required comes with the runtime.
OF_THE_MACHINE: Final = frozenset({ONEDNN, VNNI})

_CPUINFO: Final = Path("/proc/cpuinfo")
#: Instructions that multiply bfloat16 (oneDNN's guide, "bfloat16 Training").
_BFLOAT16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
_X86: Final = frozenset({"x86_64", "AMD64"})
_VNNI_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni"})
#: What oneDNN may be told to go no further than, the first name first (its guide, "CPU Dispatcher Control").
_LIMITS: Final = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_WITHOUT_VNNI: Final = frozenset({"SSE41", "AVX", "AVX2", "AVX512_CORE"})


def surely_unmet(requires: Iterable[str]) -> str | None:
    """Why this machine cannot run what requires this, where that is sure without trying it; None tells nothing."""
    return _why_no_vnni() if VNNI in requires else None


def _why_no_vnni() -> str | None:
    limit = next((f"{name}={os.environ[name]}" for name in _LIMITS if os.environ.get(name)), "")
    if limit.partition("=")[2].upper() in _WITHOUT_VNNI:
        return f"it requires VNNI, and {limit} keeps oneDNN from using that"
    if _x86_flags().isdisjoint(_VNNI_FLAGS) and _x86_flags():
        return "it requires VNNI, and this processor has none"
    return None


def computes_bfloat16() -> bool:
    """Does this processor multiply in bfloat16 itself, as far as it tells?"""
    return not _x86_flags().isdisjoint(_BFLOAT16_FLAGS)


@cache
def _x86_flags() -> frozenset[str]:
    """What an x86 processor can do, by Linux's names; empty where nothing tells."""
    if platform.machine() not in _X86 or not _CPUINFO.exists():
        return frozenset()
    lines = (line.partition(":") for line in _CPUINFO.read_text().splitlines())
    return frozenset(next((flags.split() for key, _, flags in lines if key.strip() == "flags"), ()))
