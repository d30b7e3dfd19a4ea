"""What a process holds, told by the system, whatever the process that started it holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfopt.processes import lifeline, peak_resident_bytes, resident_bytes

linux = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell")

PEAK = "from tfopt.processes import peak_resident_bytes; print(peak_resident_bytes())"


@linux
def test_memory_of_this_process_grows_with_what_it_holds() -> None:
    before, size = resident_bytes(), 64 << 20
    block = np.ones(size, np.uint8)
    after, peak = resident_bytes(), peak_resident_bytes()
    assert before is not None
    assert after is not None
    assert peak is not None
    assert size * 0.9 < after - before < size * 1.5
    assert peak >= after * 0.99
    assert block[-1] == 1


@linux
def test_the_peak_of_a_child_does_not_hold_its_parents() -> None:
    block = np.ones(512 << 20, np.uint8)
    printed = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout
    assert 0 < int(printed) < block.nbytes / 2


def test_a_process_that_is_gone_holds_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert peak_resident_bytes(child.pid) is None


def test_a_child_ends_with_its_lifeline() -> None:
    script = "import time; from tfopt.processes import end_with_parent; end_with_parent(); time.sleep(600)"
    with lifeline() as stdin:
        child = subprocess.Popen([sys.executable, "-c", script], stdin=stdin)
    assert child.wait(60) == 1
