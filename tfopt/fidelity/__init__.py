"""Is the result still the same model? The contract, the measurements, the gate."""

from tfopt.fidelity.contract import check_contract
from tfopt.fidelity.gate import Check, Gate, Judgement, judge
from tfopt.fidelity.measurement import Fidelity, check_classes, classifier_output, measure
from tfopt.fidelity.metrics import OutputFidelity, compare

__all__ = [
    "Check",
    "Fidelity",
    "Gate",
    "Judgement",
    "OutputFidelity",
    "check_classes",
    "check_contract",
    "classifier_output",
    "compare",
    "judge",
    "measure",
]
