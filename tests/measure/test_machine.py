"""Facts of the machine, from texts as Linux writes them and from the machine that runs the tests."""

from __future__ import annotations

import json
import os

import pytest

from tfopt import __version__
from tfopt.measure.machine import Machine, describe_machine, parse_cpuinfo

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


def test_cpuinfo_of_x86() -> None:
    assert parse_cpuinfo(X86) == ("AMD EPYC 9B14", ("sse4_1", "avx", "fma", "avx2", "avx512f", "avx512_vnni"))


def test_cpuinfo_of_arm_has_features_and_no_model() -> None:
    assert parse_cpuinfo(ARM) == (None, ("asimd", "asimddp", "i8mm"))


def test_this_machine_can_be_described() -> None:
    machine = describe_machine()
    assert machine.cpu
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.libraries["tfopt"] == __version__
    assert "numpy" in machine.libraries
    assert Machine.from_dict(json.loads(json.dumps(machine.to_dict()))) == machine


def test_settings_that_change_kernels_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    settings = describe_machine().settings
    assert settings["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert "OMP_NUM_THREADS" not in settings
