"""How each op ties the channels of what it reads to those of what it makes; without a rule, all stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tfopt.passes.structure import channel_rules, linear_rules, list_rules, moving_rules
from tfopt.passes.structure.reshapes import reshape
from tfopt.passes.structure.walk import Rule

RULES: Final[Mapping[str, Rule]] = {
    **channel_rules.RULES,
    **linear_rules.RULES,
    **list_rules.RULES,
    **moving_rules.RULES,
    "Reshape": reshape,
}
