"""Signatures, shapes and batches that all artifacts of a bench can be given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.measure import artifacts
from tfopt.data import Samples, batching
from tfopt.errors import NotFound, UsageError
from tfopt.ir.types import UNKNOWN_SHAPE, DType, Shape, TensorType
from tfopt.measure.inputs import Opened, choose_signature, common_inputs, make_batches, narrow, parse_shape, settle
from tfopt.runtimes.load import open_artifact

Built = Callable[[Callable[[Path], Path]], Path]


def floats(*dims: int | None) -> TensorType:
    return TensorType(DType.FLOAT32, Shape(dims))


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    with closing(open_artifact(path, threads=1)) as runtime:
        yield Opened(path.name, path, runtime)


def test_the_default_signature_is_chosen_and_defaults_are_left_to_the_model(built: Built) -> None:
    with opened(built(models.two_signatures)) as model:
        assert choose_signature(None, [model]) == "serving_default"
        assert choose_signature("score", [model]) == "score"
        assert common_inputs("serving_default", [model]) == {"x": floats(None, 5)}


def test_a_signature_that_is_missing_is_named_with_the_nearest_one(built: Built) -> None:
    with opened(built(models.two_signatures)) as model, opened(built(models.linear)) as other:
        with pytest.raises(NotFound, match="two_signatures: no signature scor; did you mean score"):
            choose_signature("scor", [model])
        with pytest.raises(NotFound, match="linear: no signature score"):
            choose_signature("score", [model, other])


def test_a_choice_between_signatures_is_the_callers(built: Built) -> None:
    with opened(built(artifacts.unnamed_signatures)) as model:
        with pytest.raises(UsageError, match="--signature: decode, encode"):
            choose_signature(None, [model])
        assert choose_signature("encode", [model]) == "encode"


def test_a_saved_model_and_its_tflite_have_common_inputs(built: Built) -> None:
    with opened(built(models.classifier)) as model, opened(built(artifacts.classifier_tflite)) as other:
        assert common_inputs("serving_default", [model, other]) == {"image": floats(None, 8, 8, 3)}


def test_other_inputs_cannot_be_compared(built: Built) -> None:
    with opened(built(models.linear)) as model:
        with (
            opened(built(models.classifier)) as other,
            pytest.raises(UsageError, match=r"linear and classifier: .* the inputs x in one and image in the other"),
        ):
            common_inputs("serving_default", [model, other])
        with (
            opened(built(models.nested)) as other,
            pytest.raises(UsageError, match=r"linear and nested: input x is float32\[\?,3\] in one and .*\[\?,4\]"),
        ):
            common_inputs("serving_default", [model, other])


def test_the_narrower_shape_counts(built: Built) -> None:
    with opened(built(models.linear)) as model, opened(built(artifacts.batch_of_four)) as fixed:
        assert common_inputs("serving_default", [model, fixed]) == {"x": floats(4, 3)}
    with opened(built(artifacts.any_rank)) as free, opened(built(models.linear)) as model:
        assert common_inputs("serving_default", [free, model]) == {"x": floats(None, 3)}


@pytest.mark.parametrize(
    ("text", "name", "sizes"),
    [
        ("image=1,224,224,3", "image", (1, 224, 224, 3)),
        ("x=?,7", "x", (None, 7)),
        ("a=b=2, 3", "a=b", (2, 3)),
    ],
)
def test_shapes_are_parsed(text: str, name: str, sizes: tuple[int | None, ...]) -> None:
    assert parse_shape(text) == (name, sizes)


@pytest.mark.parametrize("text", ["", "image", "=1,2", "image=", "image=1,0", "image=1,-2", "image=1,x", "image=1,,2"])
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no shape; write it as"):
        parse_shape(text)


def test_open_dimensions_are_one_and_a_note_says_so() -> None:
    settled, notes = settle({"x": floats(None, None, 3), "y": floats(None, 4)})
    assert settled == {"x": floats(None, 1, 3), "y": floats(None, 4)}
    assert notes == ["input x is [?,?,3], it ran as [?,1,3]: set it with --shape x=1,1,3"]


def test_a_given_shape_narrows() -> None:
    types = {"x": floats(None, None, 3), "y": TensorType(DType.INT32, UNKNOWN_SHAPE)}
    assert narrow(types, {"x": (1, 7, 3), "y": (None, 2)}) == {
        "x": floats(None, 7, 3),
        "y": TensorType(DType.INT32, Shape.of(None, 2)),
    }


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1, 7, 3)}, "no input is called z; there are x"),
        ({"x": (1, 7, 4)}, r"input x is \[\?,\?,3\], and \[1,7,4\] does not fit it"),
        ({"x": (1, 7)}, "does not fit"),
        ({"x": (8, 7, 3)}, "--batch-size sets"),
    ],
)
def test_a_given_shape_that_does_not_fit_is_refused(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(UsageError, match=f"--shape: .*{message}|{message}"):
        narrow({"x": floats(None, None, 3)}, shapes)


def test_an_unknown_rank_needs_a_shape() -> None:
    with pytest.raises(UsageError, match="input x has no known shape; give it one, such as --shape x="):
        settle({"x": TensorType(DType.FLOAT32)})


def samples(count: int, types: dict[str, TensorType]) -> Samples:
    arrays = {name: np.arange(count, dtype=np.float32) for name in types}
    return Samples(arrays, "file", "numbers", batching(types))


def test_batches_differ_and_are_few() -> None:
    numbers = samples(100, {"x": floats(None)})
    batches = make_batches(numbers, 4)
    assert len(batches) == 8
    assert np.concatenate([batch["x"] for batch in batches]).tolist() == list(range(32))
    assert [len(make_batches(numbers, size)) for size in (40, 100)] == [2, 1]


def test_few_samples_fill_a_batch_by_being_used_again() -> None:
    (batch,) = make_batches(samples(3, {"x": floats(None)}), 8)
    assert batch["x"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_what_has_no_batch_axis_goes_in_whole() -> None:
    mixed = samples(6, {"x": floats(None), "threshold": floats()})
    batches = make_batches(mixed, 3)
    assert [batch["x"].tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5]]
    assert [float(batch["threshold"]) for batch in batches] == [0, 3]
    assert all(batch["threshold"].shape == () for batch in batches)


@pytest.mark.parametrize(("type_", "fixed"), [(floats(4), 4), (floats(), 1)])
def test_a_batch_that_the_model_fixes_is_the_only_one(type_: TensorType, fixed: int) -> None:
    numbers = samples(8, {"x": type_})
    assert all(len(np.atleast_1d(batch["x"])) == fixed for batch in make_batches(numbers, fixed))
    with pytest.raises(UsageError, match=f"takes batches of {fixed} alone, not 2; --batch-size {fixed}"):
        make_batches(numbers, 2)
