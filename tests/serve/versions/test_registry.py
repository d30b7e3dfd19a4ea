"""Models that a running server is told to serve: what is refused, what changes, and that nothing else does.

By case the tests of TensorFlow Serving's server_core_test.cc. Not here: PreLoadHook, StoragePathPrefixOption and the
platforms of other servables, which its binary has no flags for; VersionLabelsNotAllowed, which none can turn off.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serve.asking import eventually
from tests.serve.engines import Multiplier, load_multiplier, ones, write_multiplier
from tfopt.errors import Code, RequestError
from tfopt.runtimes.base import Runtime
from tfopt.serve.plane import ModelSpec, Plane
from tfopt.serve.versions.config import ModelConfig
from tfopt.serve.versions.loading import Loaded
from tfopt.serve.versions.model import ModelVersions, Rules
from tfopt.serve.versions.policies import All, Latest, Specific
from tfopt.serve.versions.registry import Models
from tfopt.serve.versions.retries import Retries
from tfopt.serve.versions.statuses import State

Build = Callable[..., Models]


@pytest.fixture
def build() -> Iterator[Build]:
    """`build(*configs)` starts to serve them; all that was loaded must be closed at the end."""
    before = set(Multiplier.alive)
    made = []

    def start(
        *configs: ModelConfig,
        load: Callable[[Path], Runtime] = load_multiplier,
        rules: Rules | None = None,
        poll_interval: float = 0.01,
    ) -> Models:
        rules = rules or Rules()

        def make(config: ModelConfig) -> ModelVersions:
            return ModelVersions(
                config.name,
                config.source,
                lambda path: Loaded(load(path)),
                policy=config.policy,
                labels=config.labels,
                poll_interval=poll_interval,
                rules=rules,
            )

        models = Models(configs, make, unavailable_labels=rules.unavailable_labels)
        made.append(models)
        models.start()
        for model in models.values():
            assert model.started.wait(5)
        return models

    yield start
    for models in made:
        models.stop(5)
    assert Multiplier.alive == before, "a version was left loaded"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A base path with versions 1 and 2, which multiply by 1 and 2."""
    for number in (1, 2):
        write_multiplier(tmp_path / "two" / str(number), number)
    return tmp_path / "two"


def answer(models: Models, name: str = "m", version: int | None = None, label: str | None = None) -> float:
    with Plane(models, ended=models.ended).servable(ModelSpec(name, version, label)) as servable:
        return float(servable.run("serving_default", ones())["y"][0])


def refusal(models: Models, *configs: ModelConfig) -> RequestError:
    with pytest.raises(RequestError) as caught:
        models.reconfigure(configs, timeout=5)
    return caught.value


# -- what changes -----------------------------------------------------------------------------------------------------


def test_a_reload_waits_until_new_models_are_available(build: Build, two: Path) -> None:
    def slowly(path: Path) -> Runtime:
        time.sleep(0.2)
        return load_multiplier(path)

    models = build(load=slowly)
    assert not models
    models.reconfigure([ModelConfig("m", two)])
    assert answer(models) == 2 and list(models) == ["m"]


def test_a_reload_unloads_what_it_does_not_list(build: Build, two: Path) -> None:
    models = build(ModelConfig("m", two), ModelConfig("n", two))
    models.reconfigure([ModelConfig("n", two)])
    with pytest.raises(RequestError, match=r"Servable not found for request: Latest\(m\)"):
        answer(models)
    assert answer(models, "n") == 2
    plane = Plane(models, ended=models.ended)
    assert [status.state for status in plane.statuses(ModelSpec("m"))] == [State.END]
    models.reconfigure([ModelConfig("m", two)])
    assert answer(models) == 2, "what was unloaded can be loaded again"
    assert plane.statuses(ModelSpec("m", 2))[0].state is State.AVAILABLE


def test_a_request_under_way_keeps_a_model_that_goes(build: Build, two: Path) -> None:
    gate = threading.Event()
    models = build(ModelConfig("m", two), load=lambda path: Multiplier(2, gate))
    answers: list[float] = []
    request = threading.Thread(target=lambda: answers.append(answer(models)))
    request.start()
    eventually(lambda: models["m"].snapshot.servables[2].users)
    models.reconfigure([])
    assert not answers and models.ended["m"].get(2) is not None
    gate.set()
    request.join(5)
    assert answers == [2.0]
    eventually(lambda: models.ended["m"].newest_first()[0].state is State.END)


def test_a_base_path_changes_without_a_gap(build: Build, two: Path, tmp_path: Path) -> None:
    write_multiplier(tmp_path / "one" / "2", 20)
    models = build(ModelConfig("m", two))
    stop, answers, failures = threading.Event(), set(), []

    def hammer() -> None:
        while not stop.is_set():
            try:
                answers.add(answer(models))
            except RequestError as error:
                failures.append(error)

    thread = threading.Thread(target=hammer)
    thread.start()
    for base in (tmp_path / "one", two, tmp_path / "one"):
        models.reconfigure([ModelConfig("m", base)])
        assert answer(models) == (20 if base.name == "one" else 2), "the same number from another base path"
        answers.clear()
        eventually(lambda: answers)
    stop.set()
    thread.join(5)
    assert not failures


def test_a_base_path_that_is_not_there_leaves_what_serves(build: Build, two: Path, tmp_path: Path) -> None:
    models = build(ModelConfig("m", two))
    models.reconfigure([ModelConfig("m", tmp_path / "later")])
    assert answer(models) == 2 and "cannot be read" in str(models["m"].problem)
    write_multiplier(tmp_path / "later" / "7", 7)
    eventually(lambda: answer(models) == 7)


def test_a_policy_changes_without_a_gap(build: Build, two: Path) -> None:
    write_multiplier(two / "3", 3)
    models = build(ModelConfig("m", two))

    def serving(policy: Latest | All | Specific) -> set[int]:
        models.reconfigure([ModelConfig("m", two, policy)])
        return set(models["m"].snapshot.servables)

    assert set(models["m"].snapshot.servables) == {3}
    third = models["m"].snapshot.servables[3]
    assert serving(Latest(2)) == {2, 3}
    assert serving(All()) == {1, 2, 3}
    assert models["m"].snapshot.servables[3] is third, "what serves is not loaded again"
    assert serving(Specific((1,))) == {1}
    assert serving(Latest(1)) == {3}


def test_the_same_config_again_changes_nothing(build: Build, two: Path) -> None:
    models = build(ModelConfig("m", two))
    model, servable = models["m"], models["m"].snapshot.servables[2]
    models.reconfigure([ModelConfig("m", two)])
    assert models["m"] is model and model.snapshot.servables[2] is servable


# -- what is refused, and what fails ----------------------------------------------------------------------------------


def test_what_is_refused_changes_nothing(build: Build, two: Path) -> None:
    models = build(ModelConfig("m", two))
    good = ModelConfig("new", two)
    for config, code, said in (
        (good, Code.INVALID_ARGUMENT, "Illegal to list model new multiple times in config list"),
        (
            ModelConfig("r", "models/r"),
            Code.INVALID_ARGUMENT,
            "Expected model r to have an absolute path or URI; got base_path()=models/r",
        ),
        (
            ModelConfig("e", ""),
            Code.INVALID_ARGUMENT,
            "Expected model e to have an absolute path or URI; got base_path()=",
        ),
        (
            ModelConfig("u", two, platform="caffe"),
            Code.INVALID_ARGUMENT,
            "Model u requests unsupported platform caffe",
        ),
        (
            ModelConfig("m", two, platform="other"),
            Code.INVALID_ARGUMENT,
            "Model m requests unsupported platform other",
        ),
        (
            ModelConfig("p", two, platform=""),
            Code.INVALID_ARGUMENT,
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is p",
        ),
        (
            ModelConfig("g", "gs://bucket/g"),
            Code.UNIMPLEMENTED,
            "Model g cannot be read from gs://bucket/g: there is no file system for gs://",
        ),
        (ModelConfig("", two), Code.INVALID_ARGUMENT, f"a model has no name; its base path is {str(two)!r}"),
    ):
        error = refusal(models, good, config)
        assert (error.status, error.what) == (code, said)
        assert list(models) == ["m"] and answer(models) == 2 and [config.name for config in models.configs] == ["m"]


def test_a_file_uri_is_a_path(build: Build, two: Path) -> None:
    assert answer(build(ModelConfig("m", f"file://{two}"))) == 2


def test_a_new_model_that_fails_is_told_and_the_others_come(build: Build, two: Path, tmp_path: Path) -> None:
    write_multiplier(tmp_path / "bad" / "4", "broken")
    models = build()
    error = refusal(
        models, ModelConfig("bad", tmp_path / "bad"), ModelConfig("gone", tmp_path / "gone"), ModelConfig("m", two)
    )
    assert error.status is Code.UNKNOWN
    assert error.what.startswith(
        "2 model(s) did not become available: {{{name: bad version: 4} due to error: DATA_LOSS"
    )
    assert "'broken' is no number" in error.what and "{name: gone} due to error: NOT_FOUND" in error.what
    assert answer(models) == 2, "the others are served"
    write_multiplier(tmp_path / "gone" / "1", 9)
    eventually(lambda: models["gone"].snapshot.latest == 1)


def test_a_model_that_does_not_load_in_time_does_not_hold_up_the_reload(build: Build, two: Path) -> None:
    gate = threading.Event()

    def stuck(path: Path) -> Runtime:
        gate.wait(20)
        return load_multiplier(path)

    models = build(load=stuck)
    start = time.monotonic()
    with pytest.raises(RequestError, match=r"1 model\(s\) did not become available: \{\{\{name: m version: 2\}"):
        models.reconfigure([ModelConfig("m", two)], timeout=0.1)
    models.reconfigure([], timeout=5)
    assert time.monotonic() - start < 5 and not models
    gate.set()


def test_reloads_at_once_end_in_one_of_them(build: Build, two: Path) -> None:
    models = build()
    names = ["a", "b", "c", "d"]

    failures: list[RequestError] = []

    def reload(name: str) -> None:
        for _ in range(5):
            try:
                models.reconfigure([ModelConfig(name, two), ModelConfig("m", two)])
            except RequestError as error:
                failures.append(error)

    threads = [threading.Thread(target=reload, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a deadlock"
    assert not failures and len(models) == 2 and answer(models) == 2


def test_reading_while_models_change(build: Build, two: Path) -> None:
    models = build(ModelConfig("m", two), ModelConfig("n", two))
    values, items = iter(models.values()), iter(models.items())
    assert next(values) is next(items)[1]
    models.reconfigure([ModelConfig("m", two)])
    assert len(list(values)) == len(list(items)) == 1, "what was there when the reading began"


def test_a_stopped_server_takes_no_config(build: Build, two: Path) -> None:
    models = build(ModelConfig("m", two))
    models.stop(5)
    assert refusal(models, ModelConfig("n", two)).status is Code.UNAVAILABLE


# -- labels -----------------------------------------------------------------------------------------------------------

UNAVAILABLE = "Request to assign label to version {} of model m, which is not currently available for inference"


def test_labels_of_available_versions(build: Build, two: Path) -> None:
    models = build(ModelConfig("m", two, All()))
    models.reconfigure([ModelConfig("m", two, All(), {"A": 1, "B": 2})])
    assert answer(models, label="A") == 1 and answer(models, label="B") == 2
    with pytest.raises(RequestError, match="Unrecognized servable version label: nonexistent"):
        answer(models, label="nonexistent")
    models.reconfigure([ModelConfig("m", two, All(), {"B": 1})])
    assert answer(models, label="B") == 1
    with pytest.raises(RequestError, match="Unrecognized servable version label: A"):
        answer(models, label="A")


def test_a_label_of_an_unavailable_version_is_refused(build: Build, two: Path) -> None:
    models = build(ModelConfig("m", two, All(), {"A": 1}))
    error = refusal(models, ModelConfig("m", two, All(), {"nice try": 777}))
    assert (error.status, error.what) == (Code.FAILED_PRECONDITION, UNAVAILABLE.format(777))
    assert answer(models, label="A") == 1


def test_a_new_label_of_an_unavailable_version_may_be_allowed(build: Build, two: Path) -> None:
    models = build(ModelConfig("m", two, All(), {"A": 1}), rules=Rules(unavailable_labels="new"))
    models.reconfigure([ModelConfig("m", two, All(), {"A": 1, "new": 777})])
    with pytest.raises(RequestError, match=r"Servable not found for request: Specific\(m, 777\)") as caught:
        answer(models, label="new")
    assert caught.value.status is Code.NOT_FOUND
    write_multiplier(two / "777", 7)
    eventually(lambda: models["m"].snapshot.latest == 777)
    assert answer(models, label="new") == 7
    error = refusal(models, ModelConfig("m", two, All(), {"A": 778}))
    assert (error.status, error.what) == (Code.FAILED_PRECONDITION, UNAVAILABLE.format(778)), "it is in use"


def test_any_label_may_be_allowed(build: Build, two: Path) -> None:
    models = build(ModelConfig("m", two, All(), {"A": 1}), rules=Rules(unavailable_labels="any"))
    models.reconfigure([ModelConfig("m", two, All(), {"A": 777})])
    with pytest.raises(RequestError, match=r"Servable not found for request: Specific\(m, 777\)"):
        answer(models, label="A")


def test_labels_at_a_start_wait_for_their_versions(build: Build, two: Path) -> None:
    """In TensorFlow Serving they fail it (its issue 1608)."""
    models = build(ModelConfig("m", two, All(), {"A": 2, "later": 3}))
    assert answer(models, label="A") == 2
    with pytest.raises(RequestError, match="Unrecognized servable version label: later"):
        answer(models, label="later")
    write_multiplier(two / "3", 3)
    eventually(lambda: "later" in models["m"].snapshot.labels)
    assert answer(models, label="later") == 3
    models.reconfigure([ModelConfig("n", two, Specific((1,)), {"first": 1})])
    assert answer(models, "n", label="first") == 1


# -- starts -----------------------------------------------------------------------------------------------------------


def test_a_patient_start_waits_for_retries_and_then_tells(build: Build, two: Path, tmp_path: Path) -> None:
    attempts: list[str] = []

    def fails_at_first(path: Path) -> Runtime:
        attempts.append(path.parent.name)
        if path.parent == two and attempts.count("two") > 2:
            return load_multiplier(path)
        raise RuntimeError("injected error")

    rules = Rules(Retries(limit=2, interval=0.01))
    models = build(ModelConfig("m", two, Specific((1,))), load=fails_at_first, rules=rules)
    models.await_start(patient=True)
    assert answer(models) == 1 and len(attempts) == 3
    write_multiplier(tmp_path / "bad" / "1", 1)
    models = build(ModelConfig("bad", tmp_path / "bad"), load=fails_at_first, rules=rules)
    with pytest.raises(RequestError) as caught:
        models.await_start(patient=True)
    assert caught.value.what.startswith("1 servable(s) did not become available: {{{name: bad version: 1} due to error")
    assert "injected error" in caught.value.what and attempts.count("bad") == 3, "one attempt and two retries"


def test_a_patient_start_does_not_wait_for_base_paths(build: Build, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    models = build(ModelConfig("gone", tmp_path / "gone"), ModelConfig("empty", tmp_path / "empty"))
    models.await_start(patient=True)
    write_multiplier(tmp_path / "gone" / "1", 1)
    write_multiplier(tmp_path / "empty" / "1", 1)
    eventually(lambda: answer_or_none(models, "gone") == 1 and answer_or_none(models, "empty") == 1)
    build().await_start(patient=False)


def answer_or_none(models: Models, name: str) -> float | None:
    try:
        return answer(models, name)
    except RequestError:
        return None
