from __future__ import annotations

from collections.abc import Sequence

from tfopt.ledger import LedgerRow
from tfopt.ledger_notes import ledger_notes, why_nothing_is_int8
from tfopt.passes.base import Finding


def ledger(step: str, *findings: Finding) -> Sequence[LedgerRow]:
    rows = [("original", ()), ("remove_dead", (Finding("z", True, "gone"),)), (step, findings)]
    return [LedgerRow(name, {}, 1, 1, 1, 4, 4, 1, 0.1, 0.0, findings=found) for name, found in rows]


def test_without_the_step_nothing_is_missed() -> None:
    assert why_nothing_is_int8(ledger("fold_scale")) is None
    assert list(ledger_notes(ledger("fold_scale"))) == []


def test_reasons_are_counted_the_most_frequent_first() -> None:
    wide = Finding("a", False, "stays float: its weight is float16")
    loop = [Finding(name, False, "stays float: it is in a loop or a branch") for name in "bc"]
    said = why_nothing_is_int8(ledger("quantize", wide, *loop))
    assert said == "nothing became int8; 2 layers: it is in a loop or a branch; 1 layer: its weight is float16"
    many = [Finding(str(n), False, f"stays float: its data reaches to {n}") for n in range(7)]
    assert str(why_nothing_is_int8(ledger("quantize", *many))).endswith("; and 2 more reasons (--explain)")


def test_a_model_without_layers_and_one_that_is_quantized_are_told_apart() -> None:
    assert "no convolution or matrix product" in str(why_nothing_is_int8(ledger("quantize")))
    left = Finding("f", False, "already quantized: the model has QuantizeV2 ops, and is left as it is")
    assert why_nothing_is_int8(ledger("quantize", left)) == f"nothing became int8: {left.message}"


def test_what_pruning_gains_is_said_once_it_pruned() -> None:
    assert ["faster" in note for note in ledger_notes(ledger("prune_magnitude", Finding("w", True, "pruned")))] == [
        True
    ]
    (left,) = ledger_notes(ledger("prune_magnitude", Finding("w", False, "no layer")))
    assert "faster" not in left


def test_layers_with_more_weights_than_samples_say_how_many_it_takes() -> None:
    left = [Finding(f"h{n}", False, f"off by 3 %; 9 weights a channel need about {n} samples: only") for n in (20, 70)]
    (note,) = ledger_notes(ledger("repair", *left, Finding("out", True, "off by 1 %")))
    assert note.startswith("repair: 2 layers got new scales and biases at most") and "about 140 in --data" in note


def test_what_was_asked_for_and_found_nothing_is_said_with_the_reasons() -> None:
    left = [Finding(f"h{number}", False, "keeps its channels") for number in range(2)]
    (note,) = ledger_notes(ledger("prune_channels", *left))
    assert note == "prune_channels found nothing that could go: 2 layers: keeps its channels"
    (note,) = ledger_notes(ledger("cut_branches"))
    assert note.endswith("there is nothing of the kind that it looks for")
    assert not list(ledger_notes(ledger("fold_constants", *left)))
    untaught = Finding("training", False, "the loss of step 2 was nan")
    assert list(ledger_notes(ledger("fine_tune", untaught))) == ["fine_tune: the loss of step 2 was nan"]
    many = [Finding(str(number), False, f"costs {number}%") for number in range(4)]
    (note,) = ledger_notes(ledger("low_rank", *many))
    assert note.endswith("1 layer: costs 0%; 1 layer: costs 1%; and 2 more reasons (--explain)")
