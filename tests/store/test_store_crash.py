"""Publishers that die at any moment, disks that fill up, many publishers at once: the base path stays whole."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfopt.store import Store, scan, verify_files
from tfopt.store.manifest import MANIFEST_PATH

#: Does everything a store can do, for ever; every version's payload is unique, and its manifest says what it must be.
WORKER = """
import itertools, random, sys, uuid
from pathlib import Path
from tfopt.errors import TfoptError
from tfopt.store import Manifest, Store, write_manifest

store = Store(Path(sys.argv[1]))
choice = random.Random(int(sys.argv[2]))
print("ready", flush=True)
for _ in itertools.repeat(None):
    with store.stage() as staged:
        (staged / "variables").mkdir()
        (staged / "variables" / "data").write_text(str(uuid.uuid4()) * 2000)
        (staged / "saved_model.pb").write_text(str(uuid.uuid4()))
        write_manifest(staged, Manifest())
        number = store.commit(staged, hold=choice.random() < 0.2)
    numbers = [entry.number for entry in store.versions()]
    for change in (
        lambda: store.label("canary", choice.choice(numbers)),
        lambda: store.promote(choice.choice(numbers)),
        lambda: store.rollback(),
        lambda: store.delete(choice.choice(numbers), force=choice.random() < 0.1),
        lambda: store.label("canary", None),
        lambda: len(numbers) > 12 and store.keep_newest(4),
    ):
        try:
            change()
        except TfoptError:
            pass  # e.g. the version that it chose is gone: told, and nothing has changed
"""


def start(base: Path, seed: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(base), str(seed)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


class Watcher:
    """Holds what must be true of a base path whenever anybody looks."""

    def __init__(self, base: Path) -> None:
        self.store = Store(base)
        self.contents: dict[int, str] = {}
        self.private = base / ".tfopt"

    def check(self) -> None:
        """Nobody is writing: every version is whole, no number was given twice, the bookkeeping can be read."""
        numbers = [entry.number for entry in self.store.versions()]
        assert len(numbers) == len(set(numbers))
        for entry in self.store.versions():
            manifest = verify_files(entry.path)
            assert manifest is not None
            digest = manifest.files["saved_model.pb"]
            assert self.contents.setdefault(entry.number, digest) == digest, "a number was given twice"
        assert set(self.store.labels()) <= {"canary"}
        assert set(self.store.labels().values()) <= set(numbers)

    def sweep(self) -> None:
        with self.store.stage():
            pass
        assert list((self.private / "staging").iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_store_killed_at_random_moments_stays_consistent(tmp_path: Path, how: signal.Signals) -> None:
    base = tmp_path / "cnn"
    base.mkdir()
    watcher = Watcher(base)
    moments = random.Random(7)
    for seed in range(25):
        process = start(base, seed)
        time.sleep(moments.uniform(0, 0.15))
        process.send_signal(how)
        assert process.wait(timeout=20) != 0
        watcher.check()
    watcher.sweep()
    assert len(watcher.contents) > 5


PUBLISH_ONE = """
import sys, uuid
from pathlib import Path
from tfopt.store import Manifest, Store, write_manifest

store = Store(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    with store.stage() as staged:
        (staged / "saved_model.pb").write_text(str(uuid.uuid4()))
        write_manifest(staged, Manifest())
        print(store.commit(staged))
"""


def test_publishers_side_by_side_get_different_numbers_without_a_gap(tmp_path: Path) -> None:
    base = tmp_path / "a" / "base"
    processes = [
        subprocess.Popen([sys.executable, "-c", PUBLISH_ONE, str(base), "10"], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    numbers = [int(line) for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(1, 41))
    assert [entry.number for entry in Store(base).versions()] == sorted(numbers)


def test_a_reader_never_sees_half_of_a_version(tmp_path: Path) -> None:
    base = tmp_path / "cnn"
    base.mkdir()
    command = [sys.executable, "-c", PUBLISH_ONE, str(base), "80"]
    latest: set[int] = set()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as publisher:
        while publisher.poll() is None:
            for number, path in list(scan(base).items())[-1:]:
                manifest = verify_files(path)
                assert manifest is not None
                files = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
                assert files == {*manifest.files, MANIFEST_PATH}
                latest.add(number)
    assert publisher.returncode == 0
    assert len(latest) > 5


LIMITED = """
import json, resource, signal, sys
from pathlib import Path
from tfopt.errors import OutputError
from tfopt.store import Store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = Store(Path(sys.argv[1]))
try:
    with store.stage() as staged:
        from tfopt.store.disk import copy_tree
        copy_tree(Path(sys.argv[2]), staged)
        store.commit(staged)
except OutputError as error:
    print(json.dumps([error.what, error.where, error.hint]))
"""


def test_a_file_that_the_disk_does_not_take_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "saved_model.pb").write_bytes(b"x" * 200_000)
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "new" / "cnn"), str(source)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
    what, where, hint = json.loads(done.stdout)
    assert "cannot be written: File too large" in what
    assert where.endswith("saved_model.pb")
    assert "ulimit" in hint
    assert not (tmp_path / "new").exists()
