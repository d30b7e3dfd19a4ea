"""Which layers are given back to float because of what rounding them does to the outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tfopt.ir.graph import Model
from tfopt.passes.base import Finding
from tfopt.passes.needs.trials import Trials

#: Makes a candidate with these layers quantized and all others in float.
Make = Callable[[Collection[str]], Model]

#: Single layers that are tried to be taken again, at most: each costs a run over all calibration samples.
_TAKEN_AGAIN = 6


@dataclass(frozen=True)
class Sensitivity:
    """What was measured and follows. `damages` are those of each layer quantized alone, worst first, as `Trials` has
    them; `given_back` are in the same order. `whole` says how all layers quantized stood against the limits where they
    did not hold, and `hopeless` the same of none quantized where those did not either."""

    damages: Mapping[str, float] = field(default_factory=dict)
    given_back: tuple[str, ...] = ()
    whole: str = ""
    hopeless: str = ""

    def told(self, name: str, text: str) -> str:
        """`text` about a layer with what is known of its damage."""
        return f"{text}; {_moved(self.damages[name])}" if name in self.damages else text

    def reason(self, name: str) -> str:
        """Why a layer was given back."""
        place = list(self.damages).index(name) + 1
        moved = f"{_moved(self.damages[name])}, number {place} of {len(self.damages)} by damage"
        return f"given back, since {moved}; with all on integers, a quarter in reserve: {self.whole}"

    def remarks(self, model: Model) -> Iterator[Finding]:
        if self.hopeless:
            text = f"the limits fail on the calibration samples, and without any integers too: {self.hopeless}"
            yield Finding(model.graph.outputs[0].node, False, f"no layer is given back: {text}")


def _moved(damage: float) -> str:
    return f"alone it moves the outputs by {damage:.2%}"


def sensitive(
    names: Sequence[str], model: Model, make: Make, trials: Trials | None, *, give_back: bool, measure: bool
) -> Sensitivity:
    """Quantize all of `names`, and where the limits would not hold, give the worst back until they do.

    The worst by damage: as many as it takes, found by doubling and halving, then those of them that turn out to be
    bearable beside the others are taken again. `measure` asks for the damages in any case. Without `trials` there is
    nothing to measure and no limit to hold.
    """
    if trials is None or not names:
        return Sensitivity()
    whole = trials.judge(make(names)) if give_back else None
    fails = whole is not None and not whole.holds
    none = trials.judge(model) if fails else None
    helps = none is not None and none.holds
    damages = _damages(names, model, make, trials) if helps or measure else {}
    return Sensitivity(
        damages,
        _given_back(list(damages), make, trials) if helps else (),
        whole.text if whole is not None and fails else "",
        none.text if none is not None and not helps else "",
    )


def _damages(names: Sequence[str], model: Model, make: Make, trials: Trials) -> dict[str, float]:
    found = zip(names, trials.damages(model, (make((name,)) for name in names)), strict=True)
    return dict(sorted(found, key=lambda pair: -pair[1]))


def _given_back(ranked: Sequence[str], make: Make, trials: Trials) -> tuple[str, ...]:
    """Some of `ranked` without which the limits hold, as they do without all of them."""

    def holds(floats: Collection[str]) -> bool:
        return trials.judge(make([name for name in ranked if name not in floats])).holds

    floats = list(ranked[: _count(len(ranked), lambda count: holds(ranked[:count]))])
    # The last of them is needed, or one less would have done; the others are tried from the least harmful on.
    for name in floats[-2::-1][:_TAKEN_AGAIN]:
        fewer = [other for other in floats if other != name]
        if holds(fewer):
            floats = fewer
    return tuple(floats)


def _count(most: int, holds: Callable[[int], bool]) -> int:
    """How many it takes, where none do not and `most` do."""
    fails, count = 0, 1
    while count < most and not holds(count):
        fails, count = count, min(2 * count, most)
    while count - fails > 1:
        middle = (fails + count) // 2
        fails, count = (fails, middle) if holds(middle) else (middle, count)
    return count
