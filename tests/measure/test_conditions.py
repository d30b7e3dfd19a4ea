"""What went on beside the measuring, from texts as Linux writes them and from the machine that runs the tests."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tfopt.measure.conditions import (
    Conditions,
    Reading,
    between,
    cgroup_files,
    complaints,
    parse_stat,
    parse_throttled,
    together,
)

STAT = "cpu  1000 200 300 9000 500 10 20 70 4 0\ncpu0 500 100 150 4500 250 5 10 35 2 0\nintr 1\n"
QUIET = Conditions(10.0, 0.0, 0.0, 0.0, 12, 0, (2000.0, 2000.0))
BEFORE = Reading(10.0, 4.0, 100.0, 1.0, 0.5, 7, 3, (3000.0, 2900.0))

needs_proc = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not tell")


def test_work_is_all_but_idle_and_waiting() -> None:
    worked, stolen = parse_stat(STAT, 100)
    assert worked == pytest.approx((1000 + 200 + 300 + 10 + 20 + 70) / 100)
    assert stolen == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("usage_usec 9\nnr_periods 4\nnr_throttled 2\nthrottled_usec 1500000\n", 1.5),
        ("nr_periods 0\nnr_throttled 0\nthrottled_time 2000000000\n", 2.0),
        ("usage_usec 9\n", None),
        ("", None),
    ],
)
def test_time_held_back_by_a_limit(text: str, seconds: float | None) -> None:
    assert parse_throttled(text) == seconds


def test_where_the_limit_is_told() -> None:
    two = cgroup_files("0::/user.slice/a.scope\n")
    assert two[0] == Path("/sys/fs/cgroup/user.slice/a.scope/cpu.stat")
    one = cgroup_files("9:memory:/x\n4:cpu,cpuacct:/docker/b\n")
    assert Path("/sys/fs/cgroup/cpu,cpuacct/docker/b/cpu.stat") in one
    assert Path("/sys/fs/cgroup/cpu/cpu.stat") in one
    assert not any("memory" in str(file) for file in one)


def test_what_others_used_is_the_rest() -> None:
    after = Reading(12.0, 5.0, 104.0, 1.2, 0.7, 9, 4, (3100.0, 2500.0))
    assert between(BEFORE, after) == Conditions(
        2.0, pytest.approx(1.5), pytest.approx(0.1), pytest.approx(0.2), 2, 1, (2500.0, 3100.0)
    )


def test_ticks_are_coarse_but_nothing_is_negative() -> None:
    assert between(BEFORE, replace(BEFORE, wall=12.0, own=8.0, machine=103.9)).other_cores == 0.0


def test_what_the_system_does_not_tell_stays_unknown() -> None:
    silent = Reading(10.0, 4.0, None, None, None, 0, None, ())
    found = between(silent, replace(silent, wall=11.0))
    assert found == Conditions(1.0, None, None, None, 0, None, None)
    assert complaints(found, 2) == []


def test_stretches_add_up() -> None:
    busy = Conditions(30.0, 1.0, 0.4, 3.0, 8, 1, (1000.0, 2500.0))
    assert together([QUIET, busy]) == Conditions(40.0, 0.75, pytest.approx(0.3), 3.0, 20, 1, (1000.0, 2500.0))
    assert together([busy]) == busy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"other_cores": 0.9}, "kept 0.9 of 2 cores busy"),
        ({"stolen": 0.3}, "steal time"),
        ({"throttled": 1.0}, "held the process back for 1.0 s"),
        ({"overheated": 3}, "slowed itself down 3 times"),
        ({"megahertz": (1200.0, 2600.0)}, "between 1200 and 2600 MHz"),
    ],
)
def test_what_disturbs_is_told(change: dict[str, object], words: str) -> None:
    (told,) = complaints(replace(QUIET, **change), 2)  # type: ignore[arg-type]  # each name has its type above
    assert words in told


def test_a_quiet_machine_is_no_matter() -> None:
    assert complaints(QUIET, 2) == []


def test_conditions_travel_as_json() -> None:
    for conditions in (QUIET, replace(QUIET, megahertz=None, stolen=None)):
        assert Conditions.from_dict(json.loads(json.dumps(conditions.to_dict()))) == conditions


@needs_proc
def test_another_process_at_work_is_seen_and_our_own_work_is_not() -> None:
    def measured(seconds: float) -> float:
        before = Reading.now()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        others = between(before, Reading.now()).other_cores
        assert others is not None
        return others

    spin = "import time; end = time.perf_counter() + 60\nwhile time.perf_counter() < end: pass"
    with subprocess.Popen([sys.executable, "-c", spin]) as process:
        try:
            assert measured(1.5) > 0.3
        finally:
            process.kill()
