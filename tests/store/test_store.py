from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tfopt.errors import InvalidModel, NotFound, OutputError, OutputExists, UsageError
from tfopt.store import Store
from tfopt.store.lock import locked


def publish(store: Store, content: str = "model", *, hold: bool = False) -> int:
    with store.stage() as staged:
        (staged / "saved_model.pb").write_text(content)
        return store.commit(staged, hold=hold)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "base" / "cnn")


@pytest.fixture
def three(store: Store) -> Store:
    for _ in range(3):
        publish(store)
    return store


def state(store: Store) -> list[str]:
    return [f"{entry.number}{'h' if entry.held else ''}" for entry in store.versions()]


def everything(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


# -- a new version ------------------------------------------------------------------------------------------------


def test_versions_are_numbered_from_one_and_whole(store: Store) -> None:
    assert [publish(store, text) for text in "ab"] == [1, 2]
    assert store.latest() == 2
    assert (store.base / "2" / "saved_model.pb").read_text() == "b"
    assert everything(store.base) == [
        ".tfopt", ".tfopt/last_number", ".tfopt/lock", ".tfopt/staging",
        "1", "1/saved_model.pb", "2", "2/saved_model.pb",
    ]  # fmt: skip


def test_staging_is_on_the_filesystem_of_the_base_path_and_no_version(store: Store) -> None:
    with store.stage() as staged:
        assert staged.stat().st_dev == store.base.stat().st_dev
        assert store.versions() == []


def test_a_published_version_can_be_read_by_other_users(store: Store) -> None:
    publish(store)
    probe = store.base / "probe"
    probe.mkdir()
    assert (store.base / "1").stat().st_mode == probe.stat().st_mode


@pytest.mark.parametrize(
    ("there", "following"),
    [("00000123", 124), ("20170111173521", 20170111173522), ("7.held", 8), ("9.tmp", 10), ("-4", 1), ("x", 1)],
)
def test_the_next_number_is_above_everything_that_is_there(store: Store, there: str, following: int) -> None:
    (store.base / there).mkdir(parents=True)
    assert publish(store) == following


def test_a_plain_file_holds_its_number_too(store: Store) -> None:
    store.base.mkdir(parents=True)
    (store.base / "4").touch()
    assert publish(store) == 5


def test_the_numbers_of_int64_can_be_used_up(store: Store) -> None:
    (store.base / str(2**63 - 1)).mkdir(parents=True)
    with pytest.raises(OutputError, match="int64"):
        publish(store)


def test_the_number_of_a_deleted_version_is_not_given_again(three: Store) -> None:
    three.delete(3, force=True)
    assert publish(three) == 4


def test_the_number_of_a_version_that_somebody_copied_in_and_tfopt_deleted_is_not_given_again(three: Store) -> None:
    (three.base / "8").mkdir()
    three.delete(8, force=True)
    assert publish(three) == 9


def test_a_version_can_be_published_out_of_service(three: Store) -> None:
    assert publish(three, hold=True) == 4
    assert state(three) == ["1", "2", "3", "4h"]
    assert three.latest() == 3


def test_what_fails_while_it_is_staged_leaves_nothing(three: Store) -> None:
    before = everything(three.base)
    with pytest.raises(KeyboardInterrupt), three.stage() as staged:
        (staged / "half").touch()
        raise KeyboardInterrupt
    assert everything(three.base) == before


def test_a_first_version_that_fails_takes_its_directories_along(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), store.stage() as staged:
        (staged / "half").touch()
        raise ZeroDivisionError
    assert everything(tmp_path) == []


def test_a_first_version_that_fails_leaves_the_directories_to_others_that_use_them(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.stage():
        with store.stage() as other:
            (other / "saved_model.pb").touch()
            store.commit(other)
        raise ZeroDivisionError
    assert state(store) == ["1"]


def test_a_base_path_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(ZeroDivisionError), Store(tmp_path / "base").stage():
        raise ZeroDivisionError
    assert everything(tmp_path) == ["base"]


def test_a_file_in_the_way_of_the_base_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "base").touch()
    with pytest.raises(OutputError, match="base"), Store(tmp_path / "base" / "cnn").stage():
        pytest.fail("staged below a file")


def test_a_broken_last_number_is_named(three: Store) -> None:
    (three.base / ".tfopt" / "last_number").write_text("three")
    with pytest.raises(InvalidModel, match="last_number"):
        publish(three)
    assert state(three) == ["1", "2", "3"]


def test_the_slots_of_the_dead_are_swept_and_those_of_the_living_are_not(three: Store) -> None:
    staging = three.base / ".tfopt" / "staging"
    code = (
        "import os, signal, sys; from pathlib import Path; from tfopt.store import Store\n"
        "with Store(Path(sys.argv[1])).stage() as staged:\n"
        "    (staged / 'half').touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(three.base)], check=False, timeout=60)
    assert len(list(staging.iterdir())) == 1
    with three.stage() as living:
        assert list(staging.iterdir()) == [living.parent]
        with three.stage():
            assert living.is_dir()
    assert list(staging.iterdir()) == []


# -- what is in service -------------------------------------------------------------------------------------------


def test_rollback_holds_the_latest(three: Store) -> None:
    assert three.rollback() == 2
    assert state(three) == ["1", "2", "3h"]
    assert three.rollback() == 1
    assert publish(three) == 4


def test_rollback_needs_an_earlier_version_in_service(three: Store) -> None:
    three.rollback()
    three.rollback()
    with pytest.raises(NotFound, match="no earlier version"):
        three.rollback()
    assert state(three) == ["1", "2h", "3h"]


def test_promote_holds_what_is_higher_and_brings_back_what_is_held(three: Store) -> None:
    three.promote(1)
    assert state(three) == ["1", "2h", "3h"]
    three.promote(2)
    assert state(three) == ["1", "2", "3h"]
    three.promote(3)
    assert state(three) == ["1", "2", "3"]
    three.promote(3)
    assert three.latest() == 3


def test_promote_keeps_the_spelling_of_a_number(store: Store) -> None:
    for name in ("007", "00008"):
        (store.base / name).mkdir(parents=True)
    store.promote(7)
    store.promote(8)
    assert sorted(path.name for path in store.base.glob("0*")) == ["00008", "007"]


def test_promote_of_an_unknown_version_lists_the_known_ones(three: Store) -> None:
    with pytest.raises(NotFound, match="versions here: 1, 2, 3"):
        three.promote(9)


def test_a_version_that_is_both_in_service_and_held_is_told_and_left(three: Store) -> None:
    (three.base / "3.held" / "x").mkdir(parents=True)
    with pytest.raises(OutputExists):
        three.promote(2)
    assert three.latest() == 3


@pytest.mark.parametrize("change", [Store.rollback, lambda store: store.promote(1), lambda store: store.delete(1)])
def test_a_missing_base_path_is_not_made(store: Store, change: Callable[[Store], object]) -> None:
    with pytest.raises(NotFound, match="base path"):
        change(store)
    assert not store.base.exists()


def test_a_poller_only_ever_sees_the_old_or_the_new_latest(store: Store) -> None:
    """What a server polls while a version is promoted down over others in between, and another back up."""
    for _ in range(6):
        publish(store)
    seen: set[int | None] = set()
    done = threading.Event()

    def poll() -> None:
        while not done.is_set():
            seen.add(store.latest())

    poller = threading.Thread(target=poll)
    poller.start()
    for _ in range(15):
        store.promote(1)
        store.promote(6)
        for number in (5, 4, 3, 2):
            (store.base / f"{number}.held").rename(store.base / str(number))
    done.set()
    poller.join()
    assert seen <= {1, 6}, "a version in between was the latest for a moment, or none was"


# -- labels -------------------------------------------------------------------------------------------------------


def test_labels_move_and_go(three: Store) -> None:
    three.label("stable", 2)
    three.label("canary", 3)
    three.label("stable", 3)
    assert three.labels() == {"canary": 3, "stable": 3}
    three.label("canary", None)
    assert three.labels() == {"stable": 3}


def test_a_label_points_at_a_version_in_service(three: Store) -> None:
    three.rollback()
    with pytest.raises(UsageError, match="held"):
        three.label("canary", 3)
    with pytest.raises(NotFound, match="no version 9"):
        three.label("canary", 9)
    with pytest.raises(NotFound, match="no label canary"):
        three.label("canary", None)
    assert three.labels() == {}


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a b", "a\n", "\0"])
def test_a_label_fits_a_url(three: Store, name: str) -> None:
    with pytest.raises(UsageError, match="label"):
        three.label(name, 1)


# -- the end of a version -----------------------------------------------------------------------------------------


def test_delete_refuses_what_is_needed(three: Store) -> None:
    three.label("stable", 1)
    with pytest.raises(UsageError, match="labelled stable"):
        three.delete(1)
    with pytest.raises(UsageError, match="is the latest"):
        three.delete(3)
    three.delete(2)
    assert state(three) == ["1", "3"]


def test_delete_by_force_takes_the_labels_along(three: Store) -> None:
    three.label("stable", 3)
    three.label("old", 1)
    three.delete(3, force=True)
    assert state(three) == ["1", "2"]
    assert three.labels() == {"old": 1}
    assert list((three.base / ".tfopt" / "staging").iterdir()) == []


def test_a_held_version_can_be_deleted(three: Store) -> None:
    three.rollback()
    three.delete(3)
    assert state(three) == ["1", "2"]


def test_keep_newest_spares_the_latest_and_the_labelled(store: Store) -> None:
    for _ in range(6):
        publish(store)
    store.label("stable", 2)
    store.promote(4)
    assert store.keep_newest(1) == (1, 3, 5)
    assert state(store) == ["2", "4", "6h"]
    assert store.keep_newest(5) == ()
    with pytest.raises(UsageError):
        store.keep_newest(0)


# -- the lock -----------------------------------------------------------------------------------------------------


def test_a_lock_ends_with_its_killed_holder(three: Store) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tfopt.store.lock import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    path = three.base / ".tfopt" / "lock"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(OutputExists, match="another process"), locked(path, patience=0.1):
            pytest.fail("two holders")
        holder.kill()
    start = time.monotonic()
    assert publish(three) == 4
    assert time.monotonic() - start < 5


def test_a_lock_file_that_is_replaced_does_not_let_two_in(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        path.unlink()
        with locked(path), pytest.raises(OutputExists), locked(path, patience=0.05):
            pytest.fail("two holders")
