from __future__ import annotations

import os
import subprocess
import sys

from tfopt.formats.native_stderr import captured_stderr


def test_what_is_written_past_python_is_caught() -> None:
    with captured_stderr() as outer:
        os.write(2, b"one\n")
        with captured_stderr() as inner:
            os.write(2, b"two\n")
        os.write(2, b"three\n")
    assert (outer.text, inner.text) == ("one\nthree\n", "two\n")


def test_an_error_inside_is_raised_and_the_descriptor_given_back() -> None:
    script = """
import os
from tfopt.formats.native_stderr import captured_stderr
try:
    with captured_stderr() as captured:
        os.write(2, b"caught")
        raise ValueError("inside")
except ValueError as error:
    os.write(2, f"{error} {captured.text}".encode())
"""
    assert run(script) == "inside caught"


def test_python_still_reaches_the_terminal() -> None:
    script = """
import os, sys
from tfopt.formats.native_stderr import captured_stderr
with captured_stderr() as captured:
    os.write(2, b"noise")
    print("progress", file=sys.stderr, end="")
print("", captured.text, "after", file=sys.stderr, end="")
"""
    assert run(script) == "progress noise after"


def test_a_log_that_is_opened_inside_goes_on_afterwards() -> None:
    script = """
import logging
from tfopt.formats.native_stderr import captured_stderr
with captured_stderr():
    logging.basicConfig(format="%(message)s")
    logging.warning("inside")
logging.warning("after")
"""
    assert run(script) == "inside\nafter\n"


def test_only_noise_is_dropped() -> None:
    script = """
import os, re
from tfopt.formats.native_stderr import without_lines
with without_lines(re.compile("INFO")):
    os.write(2, b"INFO: created\\nERROR: INFO is kept here\\nINFO: again\\nend")
"""
    assert run(script) == "ERROR: INFO is kept here\nend"


def test_a_closed_descriptor_is_no_error() -> None:
    script = """
import os
os.close(2)
from tfopt.formats.native_stderr import captured_stderr
with captured_stderr() as captured:
    print("fine")
assert captured.text == ""
"""
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "fine\n"


def run(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr
