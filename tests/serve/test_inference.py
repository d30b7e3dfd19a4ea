"""What the calls mean, with an engine that answers what it is told to; the faces' tests have real ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tfopt.errors import Code, RequestError
from tfopt.ir import DType, Shape, Tensor, TensorType
from tfopt.runtimes.base import Closing, SignatureInfo, TensorInfo
from tfopt.serve.inference import (
    CLASSIFY,
    PREDICT,
    REGRESS,
    Classification,
    Task,
    classify,
    infer_all,
    predict,
    regress,
)
from tfopt.serve.versions.servable import Servable


class Told(Closing):
    """Answers `answers`, and remembers how it was asked."""

    kind = "saved_model"

    def __init__(self, signatures: Mapping[str, SignatureInfo], **answers: Any) -> None:
        self.signatures = signatures
        self.asked: list[dict[str, Any]] = []
        self._answers = {name: np.asarray(value) for name, value in answers.items()}

    def run(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        self.asked.append({"signature": signature, "inputs": dict(inputs), "outputs": outputs, "timeout": timeout})
        wanted = self.signatures[signature].outputs if outputs is None else outputs
        return {name: self._answers[name] for name in wanted}

    def close(self) -> None: ...


def signature(inputs: str, outputs: str, method: str = PREDICT, defaults: Collection[str] = ()) -> SignatureInfo:
    any_type = TensorType(DType.FLOAT32, Shape(None))
    return SignatureInfo(
        {name: TensorInfo(f"in_{name}:0", any_type) for name in inputs.split()},
        {name: TensorInfo(f"out_{name}:0", any_type) for name in outputs.split()},
        method,
        {name: Tensor(np.float32(1)) for name in defaults},
    )


def served(engine: Told) -> Servable:
    return Servable(1, (0, 0), engine)


def refused(call: Any, *arguments: Any, **options: Any) -> tuple[Code, str]:
    with pytest.raises(RequestError) as caught:
        call(*arguments, **options)
    return caught.value.status, caught.value.what


ONES = np.ones(2, np.float32)


def test_predict_runs_what_is_asked_for() -> None:
    engine = Told({"serving_default": signature("a b", "y z"), "other": signature("a", "y")}, y=[1], z=[2])
    assert predict(served(engine), "", {"a": ONES, "b": ONES}).keys() == {"y", "z"}
    assert predict(served(engine), "", {"a": ONES, "b": ONES}, outputs=["z"], timeout=0.5).keys() == {"z"}
    assert predict(served(engine), "other", {"a": [1, 2]}) == {"y": [1]}
    assert [(asked["signature"], asked["outputs"], asked["timeout"]) for asked in engine.asked] == [
        ("serving_default", None, None),
        ("serving_default", ["z"], 0.5),
        ("other", None, None),
    ]


def test_inputs_with_a_default_may_be_left_out() -> None:
    engine = Told({"serving_default": signature("a b c", "y", defaults=["b"])}, y=[1])
    assert predict(served(engine), "", {"a": ONES, "c": ONES}) == {"y": [1]}
    assert refused(predict, served(engine), "", {"a": ONES}) == (
        Code.INVALID_ARGUMENT,
        "Signature input alias: c(feed name: in_c:0) not found in request and no default value provided. "
        "Inputs expected to be in the request {a}, or default input alias set: b",
    )


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "code", "text"),
    [
        ("x", "a b", "", Code.FAILED_PRECONDITION, 'Serving signature key "x" not found.'),
        ("", "a", "", Code.INVALID_ARGUMENT, "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
         "Sent extra: {}. Missing but required: {b}."),
        ("", "c b a", "", Code.INVALID_ARGUMENT, "input size does not match signature: 3!=2 len({a,b,c}) != len("
         "{a,b}). Sent extra: {c}. Missing but required: {}."),
        ("", "", "", Code.INVALID_ARGUMENT, "input size does not match signature: 0!=2 len({}) != len({a,b}). "
         "Sent extra: {}. Missing but required: {a,b}."),
        ("", "a c", "", Code.INVALID_ARGUMENT,
         "input tensor alias not found in signature: c. Inputs expected to be in the set {a,b}."),
        ("", "a b", "q", Code.INVALID_ARGUMENT,
         "output tensor alias not found in signature: q Outputs expected to be in the set {y,z}."),
        ("", "a b", "y y", Code.INVALID_ARGUMENT, "duplicate output tensor alias: y"),
    ],
)  # fmt: skip
def test_predict_refuses(name: str, inputs: str, outputs: str, code: Code, text: str) -> None:
    engine = Told({"serving_default": signature("a b", "z y")})
    sent = dict.fromkeys(inputs.split(), ONES)
    assert refused(predict, served(engine), name, sent, outputs=outputs.split()) == (code, text)
    assert engine.asked == []


def test_what_was_sent_is_read_only_when_its_names_are_right() -> None:
    engine = Told({"serving_default": signature("a", "y")}, y=[1])
    read: list[str] = []

    def reading(name: str, sent: str) -> NDArray[Any]:
        read.append(f"{name}={sent}")
        return ONES

    refused(predict, served(engine), "", {"b": "no"}, read=reading)
    refused(predict, served(engine), "no", {"a": "no"}, read=reading)
    predict(served(engine), "", {"a": "yes"}, read=reading)
    assert read == ["a=yes"]


SCORES = np.array([[0.25, 0.75], [1, 0]], np.float32)
CLASSES = np.array([[b"a", b"b"], [b"c", b"d"]], object)


def test_classify_gives_labels_scores_or_both() -> None:
    engine = Told(
        {"serving_default": signature("inputs", "scores classes"), "s": signature("inputs", "scores other")},
        scores=SCORES,
        classes=CLASSES,
    )
    both = classify(served(engine), "", [b"1", b"2"], timeout=2.0)
    assert both.labels == [[b"a", b"b"], [b"c", b"d"]] and np.array_equal(np.asarray(both.scores), SCORES)
    assert len(both) == 2
    alone = classify(served(engine), "s", [b"1", b"2"])
    assert alone.labels is None and len(alone) == 2
    assert engine.asked[0]["inputs"]["inputs"].tolist() == [b"1", b"2"] and engine.asked[0]["timeout"] == 2.0
    assert engine.asked[1]["outputs"] == ("scores",), "nothing is computed that no answer holds"


@pytest.mark.parametrize("array", [ONES, ONES[:, None]], ids=["[batch]", "[batch, 1]"])
def test_regress_takes_either_shape(array: NDArray[Any]) -> None:
    engine = Told({"serving_default": signature("inputs", "outputs")}, outputs=array)
    assert regress(served(engine), "", [b"1", b"2"]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"scores": ONES}, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ({"classes": CLASSES[0]}, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ({"scores": SCORES.astype("f8")}, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ({"classes": SCORES}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ({"scores": SCORES[:1]}, "Expected scores output batch size of 2. Got: 1"),
        ({"classes": CLASSES[:1]}, "Expected classes output batch size of 2. Got: 1"),
        (
            {"classes": CLASSES[:, :1], "scores": SCORES},
            "Tensors class and score should match in dim_size(1). Got 1 vs. 2",
        ),
    ],
)
def test_classify_refuses_results(outputs: dict[str, Any], text: str) -> None:
    engine = Told({"serving_default": signature("inputs", " ".join(outputs))}, **outputs)
    assert refused(classify, served(engine), "", [b"1", b"2"]) == (Code.INVALID_ARGUMENT, text)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (SCORES, "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]"),
        (np.float32(1), "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []"),
        (ONES[:1], "Input batch size did not match output batch size: 2 vs. 1"),
        (ONES.astype("i4"), "Expected output Tensor of DT_FLOAT.  Got: DT_INT32"),
    ],
)
def test_regress_refuses_results(array: Any, text: str) -> None:
    engine = Told({"serving_default": signature("inputs", "outputs")}, outputs=array)
    assert refused(regress, served(engine), "", [b"1", b"2"]) == (Code.INVALID_ARGUMENT, text)


@pytest.mark.parametrize(
    ("call", "inputs", "outputs", "text"),
    [
        (classify, "inputs more", "scores", "Expected one input Tensor."),
        (classify, "inputs", "a b c", "Expected one or two output Tensors, found 3"),
        (classify, "x", "scores", "No classification inputs found in SignatureDef: inputs {"),
        (classify, "inputs", "y", 'Expected classification signature outputs to contain at least one of "classes" or '
         '"scores". Signature was: inputs {'),
        (regress, "inputs more", "outputs", "Expected one input Tensor."),
        (regress, "inputs", "outputs more", "Expected one output Tensor."),
        (regress, "x", "outputs", "No regression inputs found in SignatureDef: inputs {"),
        (regress, "inputs", "y", "No regression outputs found in SignatureDef: inputs {"),
    ],
)  # fmt: skip
def test_signatures_that_are_no_classifier_and_no_regressor(call: Any, inputs: str, outputs: str, text: str) -> None:
    engine = Told({"serving_default": signature(inputs, outputs)})
    code, said = refused(call, served(engine), "", [b"1"])
    assert code is Code.INVALID_ARGUMENT and said.startswith(text)
    if said != text:
        assert 'name: "in_' in said and "dtype: DT_FLOAT" in said, "the signature is shown"


@pytest.mark.parametrize("call", [classify, regress])
def test_examples_and_their_signature_have_to_be_there(call: Any) -> None:
    engine = served(Told({"serving_default": signature("inputs", "outputs"), "c": signature("inputs", "scores")}))
    assert refused(call, engine, "x", [b"1"])[1] == "No signature was found with the name: x"
    assert refused(call, engine, "c" if call is classify else "", [])[1] == "Input is empty."


def test_method_names_count_only_when_asked() -> None:
    engine = served(
        Told(
            {
                "serving_default": signature("inputs", "scores", "mine"),
                "c": signature("inputs", "scores", CLASSIFY),
                "r": signature("inputs", "outputs", REGRESS),
            },
            scores=SCORES,
            outputs=ONES,
        )
    )
    two, on = [b"1", b"2"], {"check_method_name": True}
    predict(engine, "", {"inputs": two})
    classify(engine, "", two)
    classify(engine, "c", two, **on)
    regress(engine, "r", two, **on)
    predict(engine, "r", {"inputs": two}, **on)
    assert refused(predict, engine, "", {"inputs": two}, **on) == (
        Code.INTERNAL,
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: mine",
    )
    classifier = "Expected classification signature method_name to be tensorflow/serving/classify. Was: mine"
    assert refused(classify, engine, "", two, **on)[1] == classifier
    regressor = "Expected regression signature method_name to be tensorflow/serving/regress. Was: "
    assert refused(regress, engine, "c", two, **on)[1] == regressor + CLASSIFY


MANY = {"serving_default": signature("inputs", "outputs"), "c": signature("inputs", "scores classes")}


def test_several_answers_of_the_same_examples() -> None:
    engine = Told(MANY, outputs=ONES, scores=SCORES, classes=CLASSES)
    tasks = [Task("m", "", REGRESS), Task("m", "c", CLASSIFY)]
    values, classes = infer_all(served(engine), tasks, [b"1", b"2"], timeout=1.5)
    assert not isinstance(values, Classification) and values.tolist() == [1, 1]
    assert isinstance(classes, Classification) and classes.labels == CLASSES.tolist()
    assert [(asked["signature"], asked["timeout"]) for asked in engine.asked] == [("serving_default", 1.5), ("c", 1.5)]


@pytest.mark.parametrize(
    ("tasks", "code", "text"),
    [
        ([("", "", REGRESS)], Code.INVALID_ARGUMENT, "Found ModelSpec with an empty model name."),
        ([("m", "", REGRESS), ("n", "c", CLASSIFY)], Code.INVALID_ARGUMENT,
         "All ModelSpecs in a MultiInferenceRequest must access the same model name."),
        ([("m", "", REGRESS), ("m", "serving_default", REGRESS)], Code.INVALID_ARGUMENT,
         "Duplicate evaluation of signature: serving_default"),
        ([("m", "x", REGRESS)], Code.INVALID_ARGUMENT, "Requested signature not found in model graph: x"),
        ([("m", "", PREDICT)], Code.UNIMPLEMENTED, f"Unsupported signature method_name: {PREDICT}"),
        ([("m", "", REGRESS), ("m", "c", REGRESS)], Code.INVALID_ARGUMENT, "Expected one output Tensor."),
    ],
)  # fmt: skip
def test_tasks_that_do_not_go_together(tasks: list[tuple[str, str, str]], code: Code, text: str) -> None:
    engine = Told(MANY)
    assert refused(infer_all, served(engine), [Task(*task) for task in tasks], [b"1"]) == (code, text)
    assert engine.asked == [], "nothing runs before all is checked"
