"""Which versions of a base path are served, and when it is looked at.

By case the tests of TensorFlow Serving's file_system_storage_path_source_test.cc. Of these ChangeSetOfServables,
MultipleServables and ChangeVersionPolicy stand in test_registry.py; AttemptToChangePollingPeriod has nothing to attempt
it with.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serve.asking import eventually
from tests.serve.engines import Multiplier, load_multiplier, ones, write_multiplier
from tfopt.errors import Code
from tfopt.runtimes.base import Runtime
from tfopt.serve.versions import wholeness
from tfopt.serve.versions.loading import Loaded
from tfopt.serve.versions.model import ModelVersions, Rules
from tfopt.serve.versions.policies import NEWEST, All, Latest, Policy, Specific
from tfopt.serve.versions.retries import Retries
from tfopt.serve.versions.sources import BasePath
from tfopt.serve.versions.statuses import State

Watch = Callable[..., ModelVersions]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    return tmp_path / "m"


@pytest.fixture
def watch(base: Path) -> Iterator[Watch]:
    before = set(Multiplier.alive)
    made = []

    def start(
        policy: Policy = NEWEST,
        *,
        rules: Rules | None = None,
        poll_interval: float = 0.01,
        load: Callable[[Path], Runtime] = load_multiplier,
        at: Path = base,
    ) -> ModelVersions:
        model = ModelVersions(
            "m", BasePath(at), lambda path: Loaded(load(path)), policy=policy, rules=rules, poll_interval=poll_interval
        )
        made.append(model)
        model.start()
        assert model.started.wait(5)
        return model

    yield start
    for model in made:
        model.stop()
    assert Multiplier.alive == before, "a version was left loaded"


def put(base: Path, *numbers: int | str) -> None:
    for number in numbers:
        write_multiplier(base / str(number), int(number))


def serving(model: ModelVersions) -> dict[int, float]:
    """What each available version multiplies by."""
    found = {}
    for number in model.snapshot.servables:
        servable = model.acquire(number)
        if servable is not None:
            found[number] = float(servable.run("serving_default", ones())["y"][0])
            servable.release()
    return found


# -- policies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (NEWEST, {17}),
        (Latest(1), {17}),
        (Latest(2), {17, 5}),
        (Latest(9), {17, 5, 3}),
        (All(), {17, 5, 3}),
        (Specific((3, 17, 99)), {3, 17}),
        (Specific((5,)), {5}),
        (Specific((99,)), set()),
        (Specific(()), set()),
    ],
)
def test_policies(base: Path, watch: Watch, policy: Policy, expected: set[int]) -> None:
    put(base, 3, 5, 17)
    assert serving(watch(policy)).keys() == expected


def test_names_of_versions(base: Path, watch: Watch) -> None:
    put(base, "00000123", "20170111173521")
    for name in ("non_numerical_child", "5.tmp", "tmp-5", "2.denied"):
        write_multiplier(base / name, 1)
    (base / "7").write_text("no directory")
    assert serving(watch(All())) == {123: 123, 20170111173521: 20170111173521}
    assert serving(watch(Specific((123,)))) == {123: 123}


def test_of_two_names_for_a_version_the_last_counts(base: Path, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    write_multiplier(base / "1", 2)
    write_multiplier(base / "001", 1)
    assert serving(watch(All())) == {1: 2}
    time.sleep(0.1)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["m: 001 is passed over for another directory of that number"], "once"


def test_a_failing_version_leaves_the_others_of_a_policy(base: Path, watch: Watch) -> None:
    put(base, 1, 2, 4)
    write_multiplier(base / "3", "broken")
    for policy, expected in ((All(), {1, 2, 4}), (Latest(3), {1, 2, 4}), (Specific((2, 3)), {2})):
        model = watch(policy)
        assert serving(model).keys() == expected
        status = model.statuses.get(3)
        assert status is not None and (status.state, status.code) == (State.END, Code.DATA_LOSS)


# -- when it is looked at ---------------------------------------------------------------------------------------------


def test_versions_appear_after_the_start(base: Path, watch: Watch) -> None:
    model = watch(Latest(2))
    assert serving(model) == {}
    put(base, 1)
    eventually(lambda: serving(model) == {1: 1})
    put(base, 2, 3)
    eventually(lambda: serving(model) == {2: 2, 3: 3})


def test_a_base_path_appears_after_the_start(base: Path, watch: Watch) -> None:
    model = watch(at=base / "later")
    assert "cannot be read" in str(model.problem)
    put(base / "later", 4)
    eventually(lambda: serving(model) == {4: 4})


def test_a_base_path_is_listed_once(base: Path, watch: Watch) -> None:
    put(base, 1)
    model = watch(poll_interval=0)
    put(base, 2)
    time.sleep(0.3)
    assert serving(model) == {1: 1}
    model.configure(BasePath(base), All(), None)
    eventually(lambda: serving(model) == {1: 1, 2: 2})


def test_what_was_listed_once_is_still_tried_again(base: Path, watch: Watch) -> None:
    put(base, 1)
    attempts = []

    def fails_once(path: Path) -> Runtime:
        attempts.append(path)
        if len(attempts) == 1:
            raise RuntimeError("injected error")
        return load_multiplier(path)

    model = watch(poll_interval=0, load=fails_once, rules=Rules(Retries(limit=1, interval=0.05)))
    eventually(lambda: serving(model) == {1: 1})


def test_a_base_path_is_never_looked_at(base: Path, watch: Watch) -> None:
    put(base, 1)
    model = watch(poll_interval=-1)
    assert serving(model) == {} and "is never looked at" in str(model.problem)


def test_the_last_version_may_be_kept(base: Path, watch: Watch) -> None:
    put(base, 1)
    kept, dropped = watch(rules=Rules(on_empty="keep")), watch()
    shutil.rmtree(base / "1")
    eventually(lambda: serving(dropped) == {})
    eventually(lambda: "there is no version to serve" in str(kept.problem))
    assert serving(kept) == {1: 1}
    put(base, 2)
    eventually(lambda: serving(kept) == {2: 2})


def test_a_version_goes_away_and_comes_back(base: Path, watch: Watch) -> None:
    put(base, 1, 2)
    model = watch()
    (base / "2").rename(base / "2.away")
    eventually(lambda: serving(model) == {1: 1})
    (base / "2.away").rename(base / "2")
    eventually(lambda: serving(model) == {2: 2})


# -- what changes in place --------------------------------------------------------------------------------------------


def test_a_version_overwritten_in_place_is_loaded_again(base: Path, watch: Watch) -> None:
    put(base, 1)
    model = watch()
    seen = set()
    (base / "1" / "model.tflite").write_text("10")

    def has_changed() -> bool:
        seen.add(serving(model)[1])
        return 10.0 in seen

    eventually(has_changed)
    assert seen <= {1.0, 10.0} and len(Multiplier.alive) == 1, "the old one served until then, and has gone"


def test_a_version_overwritten_by_a_broken_one_serves_on(base: Path, watch: Watch) -> None:
    put(base, 1)
    model = watch()
    (base / "1" / "model.tflite").write_text("broken")
    eventually(lambda: (status := model.statuses.get(1)) is not None and status.message)
    assert serving(model) == {1: 1}
    (base / "1" / "model.tflite").write_text("3")
    eventually(lambda: serving(model) == {1: 3})
    status = model.statuses.get(1)
    assert status is not None and not status.message


def test_a_link_that_is_swapped(base: Path, watch: Watch, tmp_path: Path) -> None:
    for name, factor in (("blue", 1), ("green", 2)):
        write_multiplier(tmp_path / "builds" / name, factor)
    (base / "1").symlink_to(tmp_path / "builds" / "blue")
    model = watch()
    assert serving(model) == {1: 1}
    (base / "next").symlink_to(tmp_path / "builds" / "green")
    os.replace(base / "next", base / "1")  # noqa: PTH105 - the one rename of a link over another
    eventually(lambda: serving(model) == {1: 2})


def test_retries_end_and_new_files_begin_anew(base: Path, watch: Watch) -> None:
    put(base, 1)
    attempts: list[float] = []

    def broken(path: Path) -> Runtime:
        attempts.append(time.monotonic())
        if (path / "model.tflite").read_text() == "5":
            return load_multiplier(path)
        raise RuntimeError("injected error")

    model = watch(load=broken, rules=Rules(Retries(limit=2, interval=0.05)))
    eventually(lambda: model.has_given_up)
    time.sleep(0.2)
    assert len(attempts) == 3 and attempts[2] - attempts[1] >= 0.05
    (base / "1" / "model.tflite").write_text("5")
    eventually(lambda: serving(model) == {1: 5})


# -- what is not whole ------------------------------------------------------------------------------------------------


def test_an_empty_version_is_waited_for(base: Path, watch: Watch) -> None:
    put(base, 1)
    model = watch()
    (base / "2").mkdir()
    eventually(lambda: (status := model.statuses.get(2)) is not None and status.state is State.START)
    status = model.statuses.get(2)
    assert status is not None and status.code is Code.OK and "there is no SavedModel" in status.message
    assert serving(model) == {1: 1}
    (base / "2" / "model.tflite").write_text("2")
    eventually(lambda: serving(model) == {2: 2})
    (base / "3").mkdir()
    eventually(lambda: model.statuses.get(3) is not None)
    (base / "3").rmdir()
    eventually(lambda: model.statuses.get(3) is None)


def test_what_stays_half_is_an_error(base: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wholeness, "PATIENCE", 0.1)
    (base / "2").mkdir()
    model = watch()
    eventually(lambda: (status := model.statuses.get(2)) is not None and status.state is State.END)
    assert "is not whole: there is no SavedModel" in str(model.problem)
    assert model.decided.wait(5)
    (base / "2" / "model.tflite").write_text("2")
    eventually(lambda: serving(model) == {2: 2})
