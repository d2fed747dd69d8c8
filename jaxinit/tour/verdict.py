"""One plain sentence on a row, from the row's own numbers and nothing else."""

import math

from jaxinit.tour.experiment import Row

# A depth-fold product rarely stays within a factor of ten by luck, and the networks of the tour
# still train with a signal that small or large.
RATIO = 10.0
# Past one half, what holds of most units is what the network is.
SHARE = 0.5
# A guess gets 10 % of ten classes; 360 held-out digits give it 15 % once in a thousand times.
GUESS = 0.15
LEARNED = 0.9


def ratio_text(ratio: float) -> str:
    """A signal ratio as the table and the sentences show it.

    Args:
        ratio: of two root mean squares.

    Returns:
        Two digits; "none" where there is no signal or no finite one.
    """
    return f"{ratio:.2g}" if math.isfinite(ratio) else "none"


def share_text(share: float) -> str:
    """A share as the table and the sentences show it.

    Args:
        share: from 0 to 1.

    Returns:
        Whole percents.
    """
    return f"{share:.0%}"


def verdict(row: Row) -> str:
    """What the numbers of a row say: the faults of its start, then what training made of it.

    Every number in the sentence is in the row; every threshold is applied to the number as shown.

    Args:
        row: one start of one network.

    Returns:
        A sentence.
    """
    faults = _faults(row)
    if faults:
        return f"{' and '.join(faults)}{', yet ' if learned(row) else ': '}{_outcome(row)}."
    signal, gradient = ratio_text(row.forward_ratio), ratio_text(row.backward_ratio)
    size = f"signal x{signal} and gradient x{gradient} stay within a factor of {RATIO:.0f}"
    return f"{size}{': ' if learned(row) else ', yet '}{_outcome(row)}."


def learned(row: Row) -> bool:
    """Whether training got nearly all held-out digits right."""
    return not row.diverged and _shown(row.accuracy) >= LEARNED


def failed(row: Row) -> bool:
    """Whether training diverged, or left the network at a guess."""
    return bool(row.diverged) or _shown(row.accuracy) <= GUESS


def _faults(row: Row) -> list[str]:
    faults = []
    if _shown(row.twins) >= SHARE:
        faults.append(f"{share_text(row.twins)} of the hidden units are copies that learn as one")
    if _shown(row.dead) >= SHARE:
        of = "" if faults else " of the hidden units"
        faults.append(f"{share_text(row.dead)}{of} get no gradient")
    if faults:
        return faults
    for ratio, what, where in (
        (row.forward_ratio, "the signal", f"over {len(row.forward)} layers"),
        (row.backward_ratio, "the gradient", "on the way back"),
    ):
        shown = float(ratio_text(ratio)) if math.isfinite(ratio) else ratio
        if not math.isfinite(shown):
            faults.append(f"{what} has no finite ratio {where}")
        elif shown > RATIO:
            faults.append(f"{what} grows {ratio_text(ratio)}-fold {where}")
        elif shown < 1 / RATIO:
            faults.append(f"{what} shrinks to {ratio_text(ratio)} of itself {where}")
    return faults


def _outcome(row: Row) -> str:
    if row.diverged:
        return f"the loss is not finite at step {row.diverged}"
    if learned(row):
        return f"it learns, {share_text(row.accuracy)} held-out"
    if failed(row):
        return f"no better than a guess, {share_text(row.accuracy)} held-out"
    return f"it learns only in part, {share_text(row.accuracy)} held-out"


def _shown(share: float) -> float:
    return round(100 * share) / 100
