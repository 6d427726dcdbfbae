"""Real factors as a multiplier and a shift."""

import numpy as np
import numpy.typing as npt

from quant.contract import MULT_BITS, SHIFT_MAX
from triovit.errors import UserError


def fixed_point(factors: npt.ArrayLike, layer: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return ``(mult, shift)`` with ``mult / 2^shift`` nearest to each factor; ``mult`` in [2^15, 2^16) where possible.

    Raises
    ------
    UserError
        A factor is 2^16 or more, which no shift can bring about; ``layer`` begins the message.
    """
    values = np.asarray(factors, np.float64)
    positive = np.where(values > 0, values, 1.0)
    shift = np.clip(MULT_BITS - 1 - np.floor(np.log2(positive)).astype(np.int64), None, SHIFT_MAX)
    mult = np.rint(np.ldexp(values, shift)).astype(np.int64)
    carried = mult >> MULT_BITS > 0
    mult, shift = np.where(carried, mult >> 1, mult), np.where(carried, shift - 1, shift)
    if shift.min() < 0:
        worst = int(shift.argmin())
        raise UserError(
            f"layer {layer}: channel {worst} needs a factor of {values.flat[worst]:.3g}, and at most 65535 can be had; "
            "calibrate with pictures like those the network was trained on"
        )
    return mult.astype(np.int32), shift.astype(np.int32)
