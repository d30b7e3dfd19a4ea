"""The files of a request log: whole records, bounded, oldest first to go."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tfopt.formats.tfrecord import decode_records
from tfopt.serve.request_log import files as log_files
from tfopt.serve.request_log.files import LogFiles


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def records(directory: Path) -> list[bytes]:
    return [record for path in sorted(directory.iterdir()) for record in decode_records(path.read_bytes(), str(path))]


def test_a_file_has_its_last_name_once_it_is_whole(tmp_path: Path) -> None:
    logs = LogFiles(10_000)
    assert logs.write(tmp_path / "new" / "m", b"one")
    (name,) = names(tmp_path / "new")
    assert name.startswith("m-") and name.endswith(f"-{os.getpid()}-0.tfrecord.open")
    logs.close()
    assert names(tmp_path / "new") == [name.removesuffix(".open")]
    assert records(tmp_path / "new") == [b"one"]


def test_all_of_them_stay_within_the_bound_and_the_oldest_go(tmp_path: Path) -> None:
    logs = LogFiles(10_000)
    largest = 0
    for number in range(200):
        assert logs.write(tmp_path / "ab"[number % 2], b"%03d" % number + bytes(200))
        largest = max(largest, sum(path.stat().st_size for path in tmp_path.iterdir()))
    logs.close()
    kept = sorted(int(record[:3]) for record in records(tmp_path))
    assert 5_000 < largest <= 10_000
    assert kept[-1] == 199 and kept[0] > 100 and len(kept) > 20
    assert all(path.stat().st_size <= 10_000 // 8 for path in tmp_path.iterdir())


def test_files_of_earlier_processes_count_and_those_of_others_do_not(tmp_path: Path) -> None:
    old = tmp_path / "m-20200101T000000-1-0.tfrecord"
    killed = tmp_path / "m-20200101T000000-2-0.tfrecord.open"
    foreign = [tmp_path / "m-precious.tfrecord", tmp_path / "mm-20200101T000000-1-0.tfrecord"]
    for path in (old, killed, *foreign):
        path.write_bytes(bytes(900))
        os.utime(path, (1, 1))
    logs = LogFiles(1_000)
    assert logs.write(tmp_path / "m", bytes(200))
    assert not old.exists() and not killed.exists()
    assert all(path.exists() for path in foreign)


def test_a_record_larger_than_all_is_left_out(tmp_path: Path) -> None:
    logs = LogFiles(1_000)
    assert not logs.write(tmp_path / "m", bytes(1_000))
    assert names(tmp_path) == []


def test_what_has_been_open_for_long_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = LogFiles(10_000)
    logs.write(tmp_path / "m", b"one")
    logs.close_old()
    assert names(tmp_path)[0].endswith(".open")
    monkeypatch.setattr(log_files, "OLDEST", -1.0)
    logs.close_old()
    assert names(tmp_path)[0].endswith(".tfrecord")


def test_a_directory_that_goes_comes_back(tmp_path: Path) -> None:
    logs = LogFiles(10_000)
    prefix = tmp_path / "logs" / "m"
    logs.write(prefix, b"one")
    for path in prefix.parent.iterdir():
        path.unlink()
    prefix.parent.rmdir()
    assert logs.write(prefix, b"two")
    assert records(prefix.parent) == [b"two"]


FULL = """
import resource, signal, sys
from pathlib import Path
from tfopt.serve.request_log.files import LogFiles
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
logs, prefix = LogFiles(1_000_000), Path(sys.argv[1])
for _ in range(3):
    logs.write(prefix, bytes(300))
try:
    logs.write(prefix, bytes(300))
except OSError as error:
    print(error.errno)
"""


def test_a_record_that_the_disk_cuts_off_is_taken_back(tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk that is full: it takes a part of the record."""
    assert resource.RLIM_INFINITY, "a Unix"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "m")], capture_output=True, text=True, check=True, timeout=30
    )
    assert int(done.stdout) in (errno.ENOSPC, errno.EFBIG)
    assert records(tmp_path) == [bytes(300)] * 3, "the file is whole"
