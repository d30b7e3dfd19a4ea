"""What the processor tells of requirements before anything is loaded."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tfopt import requirements
from tfopt.requirements import ONEDNN, VNNI, surely_unmet

Processor = Callable[..., None]


@pytest.fixture
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processor]:
    """`processor("avx2 fma")` is what this machine's can do, as Linux tells it."""
    for name in requirements._LIMITS:
        monkeypatch.delenv(name, raising=False)

    def pretend(flags: str, machine: str = "x86_64", key: str = "flags") -> None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: any\n{key}\t\t: fpu {flags}\nbugs\t\t:\n")
        monkeypatch.setattr(requirements, "_CPUINFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(platform, "machine", lambda: machine)
        requirements._x86_flags.cache_clear()

    yield pretend
    requirements._x86_flags.cache_clear()


@pytest.mark.parametrize("flags", ["avx2 avx512f avx512_vnni", "avx2 avx_vnni"])
def test_with_vnni_only_trying_tells_more(processor: Processor, flags: str) -> None:
    processor(flags)
    assert surely_unmet([ONEDNN, VNNI]) is None


def test_without_vnni(processor: Processor) -> None:
    processor("avx2 avx512f avx512bw")
    assert surely_unmet([ONEDNN, VNNI]) == "it requires VNNI, and this processor has none"
    assert surely_unmet([ONEDNN]) is None, "7-bit weights are right here"
    assert surely_unmet(["ONNX opset 17"]) is None


def test_other_machines_tell_nothing(processor: Processor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    processor("asimd asimddp", machine="aarch64", key="Features")
    assert surely_unmet([VNNI]) is None
    processor("avx2")
    monkeypatch.setattr(requirements, "_CPUINFO", tmp_path / "nothing")
    assert surely_unmet([VNNI]) is None


@pytest.mark.parametrize(("name", "value"), [("ONEDNN_MAX_CPU_ISA", "avx2"), ("DNNL_MAX_CPU_ISA", "AVX512_CORE")])
def test_a_limit_for_onednn(processor: Processor, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    processor("avx2 avx512_vnni")
    monkeypatch.setenv(name, value)
    assert surely_unmet([VNNI]) == f"it requires VNNI, and {name}={value} keeps oneDNN from using that"
    assert surely_unmet([ONEDNN]) is None
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")
    assert surely_unmet([VNNI]) is None
