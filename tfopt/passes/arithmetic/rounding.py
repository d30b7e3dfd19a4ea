"""How large a number may be beside others before rounding with it shows, in every pass that changes their order."""

from __future__ import annotations

from typing import Final

#: What is about 1 and is added to a number this large loses four of its 24 bits. Passes neither add nor take away a
#: larger one in another place than the original does.
LARGEST_SHIFT: Final = 16.0
#: Products with scales in between cost no bits, as those with a denormal number do, and overflow for nothing that the
#: original computes.
SMALLEST_SCALE: Final = 1e-12
LARGEST_SCALE: Final = 1e12
