"""TensorFlow Serving's own requests: predict, status, metadata, preflight."""

from __future__ import annotations

from tfopt.errors import Code, RequestError
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.serve import inference
from tfopt.serve.plane import Plane
from tfopt.serve.rest.codec import PredictBody
from tfopt.serve.rest.describe import metadata_text, status_text
from tfopt.serve.rest.forms import ArrayBody, Form, answer_form, form_of
from tfopt.serve.rest.messages import Answer, Request


def predict(plane: Plane, request: Request) -> Answer:
    """Raises RequestError, ExecutionError."""
    form = form_of(request)
    body = PredictBody(request.body) if form is Form.JSON else ArrayBody(request, form)
    signature = body.signature or DEFAULT_SIGNATURE
    with plane.servable(request.route.spec) as servable:
        request.seen.version, request.seen.signature = servable.number, signature
        info = servable.signatures.get(signature)
        if info is None:
            raise RequestError(f'Serving signature name: "{signature}" not found in signature def')
        inputs, answer = body.arrays(info.inputs), answer_form(request, is_row=body.is_row)
        del body  # Python's numbers take ten times the memory of the arrays: not while the engine runs
        check = plane.check_method_names
        outputs = inference.predict(servable, signature, inputs, timeout=request.timeout, check_method_name=check)
    return answer(outputs)


def status(plane: Plane, request: Request) -> Answer:
    return Answer(status_text(plane.statuses(request.route.spec)))


def metadata(plane: Plane, request: Request) -> Answer:
    spec = request.route.spec
    with plane.servable(spec) as servable:
        return Answer(metadata_text(spec.name, servable.number, servable.signatures))


def preflight(plane: Plane, request: Request) -> Answer:
    """TensorFlow Serving looks at the origin alone, whether or not it allows others to read its answers."""
    origin = request.header(b"origin").lower()
    return Answer(code=Code.OK if b"http://" in origin or b"https://" in origin else Code.FAILED_PRECONDITION)
