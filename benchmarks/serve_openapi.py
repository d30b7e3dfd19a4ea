"""Requests that schemathesis makes of a server's own OpenAPI description, right and wrong ones, and whether the answers
are what the description says: status, media type, headers and schema, and no 500.

    python -m benchmarks.serve_openapi http://127.0.0.1:8501 [examples an operation] [seed]
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from benchmarks.report import print_table

#: What a request must or must not be answered with depends on the model, which the description does not know; and
#: TensorFlow Serving answers a wrong method with 400, not 405.
CHECKS = [
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.status_code_conformance,
]
TIMEOUT = 20.0


def hold_to_description(url: str, examples: int = 10, number: int = 0, skip: tuple[str, ...] = ()) -> Counter[int]:
    """Ask `url` for `examples` of each operation that has none of `skip` in its path, and count the statuses.

    Raises AssertionError (schemathesis' FailureGroup) with the request as a curl command for an answer that is not as
    described. `number` seeds what is asked.
    """
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", wait_for_schema=TIMEOUT)
    models = [model["name"] for model in requests.get(f"{url}/tfopt/v1/models", timeout=TIMEOUT).json()["models"]]
    statuses: Counter[int] = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()
        if any(part in operation.path for part in skip):
            continue
        cases = operation.as_strategy(GenerationMode.POSITIVE) | operation.as_strategy(GenerationMode.NEGATIVE)

        @seed(number)
        @settings(
            max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=cases, model=st.none() | st.sampled_from(models))
        def ask(case: Any, model: str | None) -> None:
            if model is not None and "{model}" in case.path:
                case.path_parameters["model"] = model
            response = case.call(base_url=url, timeout=TIMEOUT)
            statuses[response.status_code] += 1
            assert response.status_code != 500, f"an internal error: {case.as_curl_command()}"
            if _is_empty_refusal(case, response):
                return
            case.validate_response(response, checks=CHECKS)

        ask()
    return statuses


def _is_empty_refusal(case: Any, response: Any) -> bool:
    """A version beyond 64 bits: TensorFlow Serving's answer has no body."""
    version = str((case.path_parameters or {}).get("version", ""))
    return version.isdigit() and int(version) >= 2**63 and response.status_code == 400 and not response.content


def main(url: str, examples: int = 100, number: int = 0) -> None:
    statuses = hold_to_description(url, examples, number)
    print_table(
        "Answers to requests made of the description",
        ["status", "answers"],
        [[str(status), str(count)] for status, count in sorted(statuses.items())],
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
