"""The text that says what to serve, and following it while it changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.asking import eventually
from tests.serve.engines import load_multiplier, write_multiplier
from tfopt.errors import UsageError
from tfopt.serve.settings.config_file import ConfigFile
from tfopt.serve.settings.model_config import read_model_configs
from tfopt.serve.versions.config import ModelConfig, RequestLogging
from tfopt.serve.versions.loading import Loaded
from tfopt.serve.versions.model import ModelVersions
from tfopt.serve.versions.policies import All, Latest, Specific
from tfopt.serve.versions.registry import Models


def read(tmp_path: Path, text: str) -> list[ModelConfig]:
    (tmp_path / "models.config").write_text(text)
    return read_model_configs(tmp_path / "models.config")


def one(tmp_path: Path, more: str = "") -> ModelConfig:
    text = f'model_config_list {{ config {{ name: "m" base_path: "/models/m" model_platform: "tensorflow" {more} }} }}'
    (config,) = read(tmp_path, text)
    return config


def test_everything_a_model_may_say(tmp_path: Path) -> None:
    assert one(tmp_path) == ModelConfig("m", "/models/m")
    config = one(
        tmp_path,
        """
        # as TensorFlow Serving's guide writes it
        model_version_policy { specific { versions: 42 versions: 43 } }
        version_labels { key: 'stable' value: 42 }
        version_labels { key: 'canary' value: 43 }
        logging_config {
          log_collector_config { type: "file", filename_prefix: "/logs/m" }
          sampling_config { sampling_rate: 0.25 }
        }
        """,
    )
    assert config.policy == Specific((42, 43)) and config.labels == {"stable": 42, "canary": 43}
    assert config.logging == RequestLogging("file", "/logs/m", 0.25)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("all {}", All()),
        ("all: {}", All()),
        ("latest { num_versions: 3 }", Latest(3)),
        ("latest { num_versions: 0 }", Latest(1)),
        ("latest {}", Latest(1)),
        ("specific {}", Specific(())),
        ("", Latest(1)),
    ],
)
def test_policies(tmp_path: Path, text: str, policy: object) -> None:
    assert one(tmp_path, f"model_version_policy: {{ {text} }}").policy == policy


def test_no_models_are_a_config_too(tmp_path: Path) -> None:
    assert read(tmp_path, "") == read(tmp_path, "model_config_list {}") == []


def test_the_old_name_of_the_platform(tmp_path: Path) -> None:
    text = 'model_config_list { config { name: "m" base_path: "/m" model_type: TENSORFLOW } }'
    assert read(tmp_path, text) == [ModelConfig("m", "/m")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("improperly formatted file", "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:1 : "),
        ("model_config_list {", "Error parsing text-format tensorflow.serving.ModelServerConfig: "),
        ("model_config_list { config { nmae: 'm' } }", 'ModelConfig" has no field named "nmae"'),
        ("custom_model_config {}", "custom_model_config is not supported"),
        (
            "model_config_list { config { name: 'm' base_path: '/m' model_type: TENSORFLOW model_platform: 'a' } }",
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform",
        ),
        ("model_config_list { config { name: 'm' base_path: '/m' model_type: OTHER } }", "choice 2 not supported."),
        (
            "model_config_list { config { name: 'm' base_path: 'm' model_platform: 'tensorflow' } }",
            "Expected model m to have an absolute path or URI; got base_path()=m",
        ),
    ],
)
def test_what_is_no_config(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert said in caught.value.what and caught.value.where == str(tmp_path / "models.config")
    assert "\n" not in str(caught.value)


def test_hostile_config_files(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    with pytest.raises(UsageError, match="cannot be read: No such file or directory"):
        read_model_configs(path)
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_model_configs(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        read_model_configs(path)
    path.write_text("custom_model_config { " * 5000)
    with pytest.raises(UsageError, match="Error parsing text-format"):
        read_model_configs(path)


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Models]:
    """Nothing yet."""

    def make(config: ModelConfig) -> ModelVersions:
        load = lambda path: Loaded(load_multiplier(path))  # noqa: E731 - shorter than a function in a function
        return ModelVersions(config.name, config.source, load, policy=config.policy, poll_interval=0.01)

    made = Models([], make)
    yield made
    made.stop(5)


def test_a_config_file_is_followed(tmp_path: Path, models: Models, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("one", "two"):
        write_multiplier(tmp_path / name / "1", 1)
    path = tmp_path / "models.config"

    def tell(*names: str) -> None:
        entry = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}'
        text = " ".join(entry.format(name, tmp_path / name) for name in names)
        staged = path.with_suffix(".new")
        staged.write_text(f"model_config_list {{ {text} }}")
        staged.rename(path)

    follower = ConfigFile(path, models, 0.01)
    follower.start()
    tell("one")
    eventually(lambda: list(models) == ["one"] and models["one"].snapshot.latest == 1)
    with caplog.at_level(logging.ERROR, "tfopt.serve"):
        caplog.clear()
        path.write_text("improperly formatted file")
        eventually(lambda: caplog.records)
        time.sleep(0.1)
        assert len(caplog.records) == 1 and "Error parsing text-format" in caplog.text
        path.unlink()
        eventually(lambda: len(caplog.records) == 2)
    assert list(models) == ["one"]
    tell("two", "one")
    eventually(lambda: list(models) == ["two", "one"])
    models.reconfigure([ModelConfig("one", tmp_path / "one")])
    time.sleep(0.1)
    assert list(models) == ["one"], "a reload request holds until the file changes"
    tell("two")
    eventually(lambda: list(models) == ["two"])
    follower.stop()
