"""How each verdict, a null and a paper's value are drawn: color and marker, so that color alone tells nothing."""

from dataclasses import dataclass
from typing import Any

from nbutils.plotting.methods import BLACK, BLUE, GRAY, ORANGE, PURPLE, VERMILION

NULL_COLOR = "#9a9a9a"
EDGE = "#222222"


@dataclass(frozen=True)
class VerdictLook:
    """How a verdict is drawn, and what the legend calls it. Hollow markers: nothing is decided."""

    label: str
    color: str
    marker: str  # of matplotlib
    filled: bool = True


_YES = VerdictLook("reproduced, holds", BLUE, "o")
_NO = VerdictLook("not reproduced, fails", VERMILION, "X")
_OPEN = VerdictLook("open", BLACK, "o", filled=False)
_REFUSED = VerdictLook("refused", PURPLE, "s", filled=False)
_UNTESTED = VerdictLook("not tested at this scale", GRAY, "^", filled=False)

LOOKS = {
    "reproduced": _YES,
    "holds": _YES,
    "not reproduced": _NO,
    "fails": _NO,
    "open": _OPEN,
    "inconclusive": _OPEN,  # of records before format 4
    "refused": _REFUSED,
    "not tested at this scale": _UNTESTED,
}


def marker(look: VerdictLook) -> dict[str, Any]:
    """The marker of a verdict: arguments of matplotlib's `plot`."""
    # A white rim lets a filled marker stand out on a short interval.
    face, edge, size, rim = (look.color, "white", 7, 0.7) if look.filled else ("white", look.color, 5.5, 1.0)
    return {
        "marker": look.marker,
        "markersize": size,
        "linestyle": "",
        "markerfacecolor": face,
        "markeredgecolor": edge,
        "markeredgewidth": rim,
    }


def diamond(tag: str) -> dict[str, Any]:
    """The marker of a paper's value, in a color of no verdict; hollow for one from memory (tag M)."""
    face = "white" if tag == "M" else ORANGE
    return {"marker": "D", "markersize": 4, "linestyle": "", "markerfacecolor": face, "markeredgecolor": EDGE}
