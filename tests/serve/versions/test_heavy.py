"""Importing TensorFlow beside requests."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc
from tfopt.serve.process import dedicate_process
from tfopt.serve.versions.heavy import import_heavy
if {dedicated}:
    dedicate_process()
import_heavy("tfopt.runtimes.tensorflow")
import sys
assert "tensorflow" in sys.modules and gc.isenabled()
print(gc.get_freeze_count())
"""


def frozen(dedicated: bool) -> int:
    script = SCRIPT.format(dedicated=dedicated)
    return int(subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True).stdout)


def test_what_the_import_makes_is_looked_through_no_more() -> None:
    assert frozen(dedicated=True) > 100_000


def test_a_process_that_is_somebody_elses_is_left_alone() -> None:
    assert frozen(dedicated=False) == 0
