"""A training that is killed goes on from its checkpoint and comes to the same weights; a full disk loses nothing."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.learn.pupils import QUICK, arrays, changed, images, one_signature, samples, teach
from tfopt.errors import InvalidSamples, OutputError, UsageError
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Model
from tfopt.passes.needs.teaching import Plan, Taught
from tfopt.processes import import_path

Built = Callable[[Callable[[Path], Path]], Path]
FILE = "training.npz"


@pytest.fixture(scope="module")
def teacher(built: Built) -> Model:
    return one_signature(read_saved_model(built(models.classifier)))


def plan(directory: Path | None, steps: int = 40) -> Plan:
    """A checkpoint behind every step."""
    return replace(QUICK, steps=steps, checkpoint=directory, checkpoint_seconds=0.0)


def taught(teacher: Model, given: Plan) -> Taught:
    return teach(changed(teacher), teacher, samples(teacher, image=images()), given)


def main() -> None:
    """What is killed: teaches the model that it is given in a file, until its second checkpoint is in place. The first
    is written before the first step."""
    source, directory, steps = sys.argv[1:]
    renamed = []

    def kill(event: str, arguments: tuple[object, ...]) -> None:
        if len(renamed) == 2 and event == "open":
            os.kill(os.getpid(), signal.SIGKILL)
        if event == "os.rename" and str(arguments[1]).endswith(FILE):
            renamed.append(arguments[1])

    sys.addaudithook(kill)
    os.fsync = lambda _: None  # checkpoints are farther apart where a disk is slow
    taught(one_signature(read_saved_model(Path(source))), plan(Path(directory), int(steps)))


def test_what_is_killed_goes_on_to_the_same_weights(built: Built, teacher: Model, tmp_path: Path) -> None:
    steps = 1500
    command = [sys.executable, "-m", "tests.learn.test_checkpoints", str(built(models.classifier)), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": import_path()}
    killed = subprocess.run([*command, str(steps)], env=environment, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL
    told: list[str] = []
    going_on = replace(plan(tmp_path, steps), checkpoint_seconds=30.0)
    resumed = teach(changed(teacher), teacher, samples(teacher, image=images()), going_on, told=told)
    assert told[0].startswith("going on behind step ") and 0 < int(told[0].split()[-1]) < steps
    whole = taught(teacher, plan(None, steps))
    assert resumed.steps == whole.steps
    assert resumed.after == whole.after
    for name, array in arrays(whole.model).items():
        np.testing.assert_array_equal(arrays(resumed.model)[name], array)


def test_a_finished_training_is_not_done_again(teacher: Model, tmp_path: Path) -> None:
    first = taught(teacher, plan(tmp_path))
    written = (tmp_path / FILE).stat().st_mtime_ns
    told: list[str] = []
    again = teach(changed(teacher), teacher, samples(teacher, image=images()), plan(tmp_path), told=told)
    assert told == ["going on behind step 40"]
    assert (again.steps, again.after) == (first.steps, first.after)
    assert (tmp_path / FILE).stat().st_mtime_ns == written
    for name, array in arrays(first.model).items():
        np.testing.assert_array_equal(arrays(again.model)[name], array)


def test_the_checkpoint_of_another_training_is_refused(teacher: Model, tmp_path: Path) -> None:
    taught(teacher, plan(tmp_path, 3))
    with pytest.raises(UsageError, match="another training"):
        taught(teacher, plan(tmp_path, 4))
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:1000])
    with pytest.raises(InvalidSamples, match="no checkpoint"):
        taught(teacher, plan(tmp_path, 3))


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(teacher: Model, tmp_path: Path) -> None:
    taught(teacher, plan(tmp_path, 3))
    before = (tmp_path / FILE).read_bytes()
    larger = changed(teacher)
    with files_no_larger_than(2000), pytest.raises(OutputError, match=r"training\.npz\.new: cannot be written"):
        teach(larger, teacher, samples(teacher, image=images()), plan(tmp_path / "new"))
    assert not list((tmp_path / "new").iterdir())
    assert (tmp_path / FILE).read_bytes() == before


if __name__ == "__main__":
    main()
