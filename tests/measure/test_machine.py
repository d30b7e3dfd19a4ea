"""Facts of the machine, from texts as Linux writes them and from the machine that runs the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfopt import __version__
from tfopt.measure.machine import CpuClock, describe_machine, other_cores, parse_cpuinfo, parse_stat

X86 = """\
processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9B14
flags\t\t: fpu vme sse4_1 avx avx2 fma avx512_vnni avx512f rdpid

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd asimddp i8mm atomics\nCPU implementer\t: 0x41\n"
STAT = "cpu  1000 200 300 9000 500 10 20 70 4 0\ncpu0 500 100 150 4500 250 5 10 35 2 0\nintr 1\n"

needs_proc = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not tell")


def test_cpuinfo_of_x86() -> None:
    assert parse_cpuinfo(X86) == ("AMD EPYC 9B14", ("sse4_1", "avx", "fma", "avx2", "avx512f", "avx512_vnni"))


def test_cpuinfo_of_arm_has_features_and_no_model() -> None:
    assert parse_cpuinfo(ARM) == (None, ("asimd", "asimddp", "i8mm"))


def test_work_is_all_but_idle_and_waiting() -> None:
    assert parse_stat(STAT, 100) == pytest.approx((1000 + 200 + 300 + 10 + 20 + 70) / 100)


def test_what_others_used_is_the_rest() -> None:
    before = CpuClock(wall=10.0, own=4.0, machine=100.0)
    assert other_cores(before, CpuClock(wall=12.0, own=5.0, machine=104.0)) == pytest.approx(1.5)
    assert other_cores(before, CpuClock(wall=12.0, own=8.0, machine=103.9)) == 0.0, "ticks are coarse: never negative"
    assert other_cores(before, CpuClock(wall=12.0, own=5.0, machine=None)) is None


@needs_proc
def test_another_process_at_work_is_seen_and_our_own_work_is_not() -> None:
    def measured(seconds: float) -> float:
        before = CpuClock.now()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        others = other_cores(before, CpuClock.now())
        assert others is not None
        return others

    spin = "import time; end = time.perf_counter() + 60\nwhile time.perf_counter() < end: pass"
    with subprocess.Popen([sys.executable, "-c", spin]) as process:
        try:
            assert measured(1.5) > 0.3
        finally:
            process.kill()


def test_this_machine_can_be_described() -> None:
    machine = describe_machine()
    assert machine.cpu
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.libraries["tfopt"] == __version__
    assert "numpy" in machine.libraries
    assert json.loads(json.dumps(machine.to_dict()))["cpu"] == machine.cpu


def test_settings_that_change_kernels_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    settings = describe_machine().settings
    assert settings["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert "OMP_NUM_THREADS" not in settings
