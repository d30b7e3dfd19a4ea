"""The life of versions: picked up, switched, kept when the next one is broken, and let go when nobody uses them."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serve.asking import eventually
from tests.serve.engines import Multiplier, load_multiplier, ones, write_multiplier
from tfopt.errors import Code, ExecutionError, InvalidModel, NotFound
from tfopt.runtimes.base import Runtime
from tfopt.serve.versions import retries
from tfopt.serve.versions.loading import Loaded
from tfopt.serve.versions.model import ModelVersions
from tfopt.serve.versions.sources import BasePath, Listing, SingleVersion
from tfopt.serve.versions.statuses import State, Statuses, VersionStatus
from tfopt.store import Manifest, Store, write_manifest

Watch = Callable[..., ModelVersions]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """`watch()` watches tmp_path / "m"; all that was loaded must be closed at the end."""
    before = set(Multiplier.alive)
    made = []

    def start(load: Callable[[Path], Runtime] = load_multiplier) -> ModelVersions:
        model = ModelVersions("m", BasePath(tmp_path / "m"), lambda path: Loaded(load(path)), poll_interval=0.01)
        made.append(model)
        model.start()
        assert model.started.wait(5)
        return model

    yield start
    for model in made:
        model.stop()
    assert Multiplier.alive == before, "a version was left loaded"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    return tmp_path / "m"


def answer(model: ModelVersions, version: int | None = None, label: str | None = None) -> float | None:
    servable = model.acquire(version, label)
    if servable is None:
        return None
    try:
        return float(servable.run("serving_default", ones())["y"][0])
    finally:
        servable.release()


def states(model: ModelVersions) -> dict[int, State]:
    return {status.number: status.state for status in model.statuses.newest_first()}


def publish(base: Path, number: int, factor: object) -> None:
    """As `tfopt publish` does: whole, with a manifest, by a rename."""
    staged = write_multiplier(base / f"{number}.staged", factor)
    write_manifest(staged, Manifest())
    staged.rename(base / str(number))


def test_the_newest_version_is_served_and_no_other(base: Path, watch: Watch) -> None:
    for number in (1, 2, 10):
        write_multiplier(base / str(number), number)
    write_multiplier(base / "11.held", 11)
    model = watch()
    assert answer(model) == 10 and states(model) == {10: State.AVAILABLE}
    assert answer(model, 10) == 10 and answer(model, 2) is None


def test_a_new_version_takes_over_and_the_old_one_ends(base: Path, watch: Watch) -> None:
    publish(base, 1, 1)
    model = watch()
    publish(base, 2, 2)
    eventually(lambda: answer(model) == 2)
    eventually(lambda: states(model) == {2: State.AVAILABLE, 1: State.END})
    assert model.statuses.get(1) == VersionStatus(1, State.END)


def test_rollback_and_promote_are_followed(base: Path, watch: Watch) -> None:
    for number in (1, 2, 3):
        publish(base, number, number)
    model, store = watch(), Store(base)
    store.rollback()
    eventually(lambda: answer(model) == 2)
    store.promote(1)
    eventually(lambda: answer(model) == 1)
    store.promote(3)
    eventually(lambda: answer(model) == 3)
    eventually(lambda: states(model)[3] is State.AVAILABLE and states(model)[1] is State.END)


def test_labelled_versions_stay_beside_the_newest(base: Path, watch: Watch) -> None:
    for number in (1, 2, 3):
        publish(base, number, number)
    store = Store(base)
    store.label("stable", 1)
    model = watch()
    assert answer(model) == 3 and answer(model, label="stable") == 1 and answer(model, 1) == 1
    store.label("stable", 2)
    eventually(lambda: answer(model, label="stable") == 2)
    eventually(lambda: answer(model, 1) is None)
    store.label("stable", None)
    eventually(lambda: answer(model, 2) is None)
    assert model.acquire(label="stable") is None


def test_a_label_stays_where_it_was_while_its_new_version_is_broken(base: Path, watch: Watch) -> None:
    for number, factor in ((1, 1), (2, "broken"), (3, 3)):
        publish(base, number, factor)
    store = Store(base)
    store.label("stable", 1)
    model = watch()
    store.label("stable", 2)
    eventually(lambda: states(model).get(2) is State.END)
    assert answer(model, label="stable") == 1
    Store(base).delete(2, force=True)
    publish(base, 2, 2)
    store.label("stable", 2)
    eventually(lambda: answer(model, label="stable") == 2)


def test_the_old_version_serves_on_when_the_new_one_is_broken(base: Path, watch: Watch) -> None:
    publish(base, 1, 1)
    model = watch()
    publish(base, 2, "broken")
    eventually(lambda: states(model).get(2) is State.END)
    status = model.statuses.get(2)
    assert status is not None and status.code is Code.DATA_LOSS and "'broken' is no number" in status.message
    assert answer(model) == 1 and model.problem is None
    # A broken version that is mended in place is noticed by its files.
    (base / "2" / "model.tflite").write_text("2")
    eventually(lambda: answer(model) == 2)


def test_at_a_start_the_newest_version_that_loads_is_served(base: Path, watch: Watch) -> None:
    for number, factor in ((1, 1), (2, 2), (3, "broken")):
        publish(base, number, factor)
    model = watch()
    assert answer(model) == 2 and states(model) == {3: State.END, 2: State.AVAILABLE}


def test_a_broken_version_is_tried_again_after_a_delay(
    base: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "FIRST_DELAY", 0.05)
    publish(base, 1, 1)
    attempts: list[float] = []

    def fails_twice(path: Path) -> Runtime:
        attempts.append(time.monotonic())
        if len(attempts) < 3:
            raise InvalidModel("the disk is away", where=str(path))
        return load_multiplier(path)

    model = watch(fails_twice)
    assert answer(model) is None and "the disk is away" in str(model.problem)
    eventually(lambda: answer(model) == 1)
    first, second, third = attempts
    assert second - first >= 0.05 and third - second >= 0.1, "each wait is twice the one before"
    assert model.problem is None


def test_what_a_loader_raises_stops_no_model(base: Path, watch: Watch) -> None:
    publish(base, 1, 1)

    def raises(path: Path) -> Runtime:
        if path.name == "2":
            raise RuntimeError("a bug in an engine")
        return load_multiplier(path)

    model = watch(raises)
    publish(base, 2, 2)
    eventually(lambda: states(model).get(2) is State.END)
    publish(base, 3, 3)
    eventually(lambda: answer(model) == 3)
    status = model.statuses.get(2)
    assert status is not None and "a bug in an engine" in status.message


def test_a_version_without_a_manifest_is_left_alone_until_its_files_rest(base: Path, watch: Watch) -> None:
    write_multiplier(base / "1", 1)
    loaded: list[str] = []

    def remembers(path: Path) -> Runtime:
        loaded.append((path / "model.tflite").read_text())
        return load_multiplier(path)

    model = watch(remembers)
    growing = write_multiplier(base / "2", "") / "model.tflite"
    for _ in range(30):
        with growing.open("a") as file:
            file.write("2")
        time.sleep(0.002)
    eventually(lambda: answer(model) == float("2" * 30))
    assert len(loaded) <= 4, "a growing file was loaded again and again"


def test_a_request_under_way_keeps_its_version(base: Path, watch: Watch) -> None:
    gate = threading.Event()
    publish(base, 1, 1)
    model = watch(lambda path: Multiplier(float((path / "model.tflite").read_text()), gate))
    answers: list[float | None] = []
    request = threading.Thread(target=lambda: answers.append(answer(model)))
    request.start()
    publish(base, 2, 2)
    eventually(lambda: states(model).get(2) is State.AVAILABLE)
    eventually(lambda: states(model)[1] is State.UNLOADING)
    assert not answers
    gate.set()
    request.join(5)
    assert answers == [1.0] and answer(model) == 2
    eventually(lambda: states(model)[1] is State.END)


def test_no_request_is_lost_while_versions_come_and_go(base: Path, watch: Watch) -> None:
    publish(base, 1, 1)
    model = watch()
    stop, answers, failures = threading.Event(), [], []

    def hammer() -> None:
        while not stop.is_set():
            try:
                answers.append(answer(model))
            except ExecutionError as error:
                failures.append(error)

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    store = Store(base)
    for number in range(2, 8):
        publish(base, number, number)
        eventually(lambda number=number: model.snapshot.latest == number)
        store.rollback()
        eventually(lambda number=number: model.snapshot.latest == number - 1)
        store.promote(number)
        eventually(lambda number=number: model.snapshot.latest == number)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures and None not in answers
    assert set(answers) == {1, 2, 3, 4, 5, 6, 7}


def test_a_base_path_that_is_away_takes_nothing_out_of_service(base: Path, watch: Watch) -> None:
    publish(base, 1, 1)
    model = watch()
    base.rename(base.with_name("away"))
    eventually(lambda: isinstance(model.problem, NotFound))
    assert answer(model) == 1
    base.with_name("away").rename(base)
    eventually(lambda: model.problem is None)


def test_the_last_version_taken_out_of_service_is_unloaded(base: Path, watch: Watch) -> None:
    publish(base, 1, 1)
    model = watch()
    (base / "1").rename(base / "1.held")
    eventually(lambda: answer(model) is None)
    assert isinstance(model.problem, NotFound)
    (base / "1.held").rename(base / "1")
    eventually(lambda: answer(model) == 1)


def test_another_directory_under_the_same_number_is_loaded(base: Path, watch: Watch) -> None:
    publish(base, 1, 1)
    model = watch()
    (base / "1").rename(base / "old")
    publish(base, 1, 5)
    eventually(lambda: answer(model) == 5)
    shutil.rmtree(base / "old")


def test_a_broken_directory_under_the_same_number_changes_nothing(base: Path, watch: Watch) -> None:
    publish(base, 1, 1)
    model = watch()
    (base / "1").rename(base / "old")
    publish(base, 1, "broken")
    eventually(lambda: (status := model.statuses.get(1)) is not None and status.message)
    status = model.statuses.get(1)
    assert status is not None and (status.state, status.code) == (State.AVAILABLE, Code.DATA_LOSS)
    assert answer(model) == 1


def test_a_directory_that_may_not_be_read_ends_no_thread(base: Path) -> None:
    class Denied:
        path = base

        def list(self) -> Listing:
            raise PermissionError(13, "Permission denied", str(base / "1"))

    model = ModelVersions("m", Denied(), lambda path: Loaded(load_multiplier(path)), poll_interval=0.01)
    model.start()
    assert model.started.wait(5)
    assert str(model.problem) == f"{base}/1: cannot be read: Permission denied"
    model.stop()


def test_an_empty_base_path_waits_for_its_first_version(base: Path, watch: Watch) -> None:
    model = watch()
    assert answer(model) is None and "no version" in str(model.problem)
    publish(base, 1, 1)
    eventually(lambda: answer(model) == 1)


def test_a_single_version_is_served_under_its_number(base: Path) -> None:
    source = SingleVersion(write_multiplier(base / "7", 7), 7)
    model = ModelVersions("m", source, lambda path: Loaded(load_multiplier(path)), poll_interval=0.01)
    model.start()
    assert model.started.wait(5) and answer(model) == 7 and answer(model, 7) == 7
    model.stop()
    assert answer(model) is None


def test_ended_versions_are_remembered_up_to_a_limit() -> None:
    statuses = Statuses(remembered=3)
    for number in range(10):
        statuses.set(VersionStatus(number, State.END))
    statuses.set(VersionStatus(20, State.AVAILABLE))
    assert [status.number for status in statuses.newest_first()] == [20, 9, 8, 7]
