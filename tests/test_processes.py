"""What a process holds, told by the system, whatever the process that started it holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfopt.processes import lifeline, peak_resident_bytes

linux = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell")

PEAK = "from tfopt.processes import peak_resident_bytes; print(peak_resident_bytes())"


GROWING = """
import numpy as np
from tfopt.processes import peak_resident_bytes, resident_bytes
before = resident_bytes()
block = np.ones(64 << 20, np.uint8)
print(before, resident_bytes(), peak_resident_bytes(), block.nbytes)
"""


@linux
def test_memory_of_a_process_grows_with_what_it_holds() -> None:
    """In one of its own: a process that has done much gives back memory whenever it likes."""
    printed = subprocess.run([sys.executable, "-c", GROWING], capture_output=True, text=True, check=True).stdout
    before, after, peak, size = map(int, printed.split())
    assert size * 0.9 < after - before < size * 1.5
    assert peak >= after * 0.99


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
