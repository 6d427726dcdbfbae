"""What the user can choose about the quantization."""

from dataclasses import asdict, dataclass

from quant.contract import CODE_WIDTHS, Z_WIDTHS
from triovit.errors import UserError

#: Ways to choose a range: see :mod:`quant.ptq.ranges`.
METHODS = ("minmax", "percentile", "ema", "mse")
#: Whose steps reconstruction learns.
LEARNED_STEPS = ("attention", "all", "none")


@dataclass(frozen=True)
class Options:
    """Settings of the quantizer; the defaults score best on the networks tried.

    Raises
    ------
    UserError
        An unknown method or an impossible number.
    """

    #: How activation ranges are chosen.
    activations: str = "mse"
    #: How each output channel's weight range is chosen: ``"minmax"`` or ``"mse"``.
    weights: str = "mse"
    #: Channel-wise migration at the DWConvs' inputs.
    migration: bool = True
    #: Filter-wise shifting at the inputs of the PWConvs behind the DWConvs.
    shifting: bool = True
    #: The divisor's log2 code. Off: every head divides by one constant, all that the integer contract offers besides.
    log2_divisors: bool = True
    #: Bits of that code: 4, the paper's, or 10, with six fraction bits.
    code_bits: int = 10
    #: Bits of attention's K^T V: 8, or 15, which costs a second pass of Q Z.
    z_bits: int = 15
    #: A range of its own for every channel wherever the hardware takes it for nothing, migration and shifting included: see
    #: :mod:`quant.ptq.own_ranges`; factors of attention's channels: see :mod:`quant.ptq.equalize`.
    equalization: bool = True
    #: With equalization, channels' ranges by their rounding's effect on the output: see :mod:`quant.ptq.output_effect`.
    output_effect: bool = True
    #: Move the mean error of the rounded weights into the bias.
    bias_correction: bool = True
    #: Round a row's weights one after the other, each error made up for by the next: see :mod:`quant.ptq.compensate`.
    compensation: bool = True
    #: Share of the values that the percentile method keeps.
    percentile: float = 0.9999
    #: Pictures whose attention is calibrated.
    attention_pictures: int = 64
    #: Learn the weights' rounding, the biases and activations' steps block by block: see :mod:`quant.reconstruct`.
    reconstruction: bool = False
    #: The activations whose steps are learned: attention's inputs and outputs, all, or none. What a block loses is not what the
    #: network loses, so where ranges were chosen by their effect on the output, learning the others' steps makes it worse.
    learned_steps: str = "attention"
    #: Steps of the optimizer for each block's weights; the activations' take half as many.
    iterations: int = 100
    #: Of everything that reconstruction draws.
    seed: int = 0

    def __post_init__(self) -> None:
        if self.activations not in METHODS:
            raise UserError(f"option activations is {self.activations!r}; choose one of {', '.join(METHODS)}")
        if self.weights not in ("minmax", "mse"):
            raise UserError(f"option weights is {self.weights!r}; choose one of minmax, mse")
        if self.learned_steps not in LEARNED_STEPS:
            raise UserError(f"option learned_steps is {self.learned_steps!r}; choose one of {', '.join(LEARNED_STEPS)}")
        if self.code_bits not in CODE_WIDTHS:
            raise UserError(f"option code_bits is {self.code_bits}; choose {' or '.join(map(str, CODE_WIDTHS))}")
        if self.z_bits not in Z_WIDTHS:
            raise UserError(f"option z_bits is {self.z_bits}; choose {' or '.join(map(str, Z_WIDTHS))}")
        if not 0.5 < self.percentile <= 1:
            raise UserError(f"option percentile is {self.percentile}; choose a share above 0.5, at most 1")
        if self.attention_pictures < 1:
            raise UserError(f"option attention_pictures is {self.attention_pictures}; choose at least 1")
        if self.iterations < 1:
            raise UserError(f"option iterations is {self.iterations}; choose at least 1")
        if self.seed < 0:
            raise UserError(f"option seed is {self.seed}; choose at least 0")

    def to_dict(self) -> dict[str, object]:
        """Return all settings by name, for the manifest."""
        return asdict(self)
