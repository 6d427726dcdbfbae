"""Accelerator configurations: the sizes of the array, its memories and its ports."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property

from triovit.errors import UserError


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class AcceleratorConfig:
    """One accelerator: ``(n x m + t x s) x l`` multipliers and the memories that feed them.

    The names are the paper's (arXiv 2405.03882, section IV); docs/architecture.md explains every size.

    Raises
    ------
    UserError
        A size that the architecture cannot have; the message names it and the remedy.
    """

    name: str
    #: Lanes of the MAT engine in a block (output channels).
    n: int
    #: Inputs of a MAT lane (input channels); also the channels of a word.
    m: int
    #: Lanes of the R-MAC engine in a block (output channels in PW mode, pixels in DW mode).
    t: int
    #: Inputs of an R-MAC lane (input channels in PW mode, channels in DW mode).
    s: int
    #: Blocks; also the banks of every activation buffer.
    l: int  # noqa: E741 - the paper's letter
    #: Rows of the activation buffers. H holds what the R-MAC engine reads, D what it feeds to MAT, X and Y the trunk, O the
    #: results.
    h_rows: int
    d_rows: int
    x_rows: int
    y_rows: int
    o_rows: int
    #: Rows of each engine's weight ring.
    weight_rows: int
    #: Half of the rows of the memory in which both engines' parameter rings lie.
    param_rows: int
    #: Largest head dimension of linear attention.
    max_dim: int
    #: Rows of the Z buffer: ``dim / m`` for each head of the batches under way.
    z_rows: int
    #: Rows of the divisor buffer: ``l`` pixels of a head each.
    divisor_rows: int
    #: Widest picture that the loader's line buffer holds, in pixels.
    max_picture_width: int
    #: Slots of post-processing (of ``l``) whose requantizers, and whose second steps, multiply in DSPs; the others' multipliers
    #: are made of lookup tables and take as many cycles.
    first_dsp_slots: int
    second_dsp_slots: int
    #: Depth of the result queue between an engine and post-processing, in words of L x M accumulators. Room is reserved when the
    #: last beat of a sum is issued: with less than ``4 * t`` depthwise layers wait for it. 32 rows cost what 16 do.
    result_depth: int = 16
    #: Address bits of the AXI4 master.
    axi_address_bits: int = 40
    #: Beats of the longest burst.
    axi_burst: int = 16
    #: Cycles without progress after which the accelerator gives up with an error.
    watchdog: int = 1 << 20

    def __post_init__(self) -> None:
        for field in (
            "n",
            "m",
            "t",
            "s",
            "l",
            "weight_rows",
            "param_rows",
            "max_dim",
            "z_rows",
            "divisor_rows",
            "result_depth",
            "axi_burst",
        ):
            if not _is_power_of_two(getattr(self, field)):
                raise UserError(f"configuration {self.name}: {field} is {getattr(self, field)}, and must be a power of two")
        if self.l > 32:
            raise UserError(f"configuration {self.name}: l is {self.l}, and may be 32 at most")
        if self.param_rows < 4:
            raise UserError(f"configuration {self.name}: param_rows is {self.param_rows}, and must be at least 4")
        if self.result_depth < self.t:
            raise UserError(
                f"configuration {self.name}: result_depth is {self.result_depth}, and must be at least t = {self.t}, "
                "the results of one depthwise set"
            )
        if self.m != self.s:
            raise UserError(
                f"configuration {self.name}: m is {self.m} and s is {self.s}, and must be equal: both engines eat the same words"
            )
        if self.n != self.m or self.t != self.m:
            raise UserError(
                f"configuration {self.name}: n, t and m must be equal (a block's lanes fill one word); got {self.n}, "
                f"{self.t}, {self.m}"
            )
        if self.l % self.m:
            raise UserError(f"configuration {self.name}: l is {self.l}, and must be a multiple of m = {self.m}")
        if not 4 <= self.m <= 8:
            raise UserError(f"configuration {self.name}: m is {self.m}; supported are 4 and 8")
        for field in ("first_dsp_slots", "second_dsp_slots"):
            if not 0 <= getattr(self, field) <= self.l:
                raise UserError(f"configuration {self.name}: {field} is {getattr(self, field)}, and may be 0 to l = {self.l}")

    @property
    def multipliers(self) -> int:
        """Multipliers of both engines."""
        return (self.n * self.m + self.t * self.s) * self.l

    @property
    def wide(self) -> int:
        """Sub-buffers of H: channel groups that the R-MAC engine reads in one cycle."""
        return self.t

    @property
    def taps_per_row(self) -> int:
        """Taps of each channel that a row of R-MAC's weights holds in DW mode; the last lane holds the channels' padding."""
        return self.t - 1

    @property
    def beat_bytes(self) -> int:
        """Bytes of an AXI beat: one block's weights for one cycle."""
        return self.n * self.m

    @property
    def param_beats(self) -> int:
        """Beats that carry the post-processing parameters of one channel group (16 bytes a channel)."""
        return -(-self.m * 16 // self.beat_bytes)

    @property
    def mat_param_rows(self) -> int:
        """Rows of MAT's parameter ring, three eighths of both: R-MAC's depthwise layers take a row a channel group."""
        return self.param_rows * 3 // 4

    @property
    def rmac_param_rows(self) -> int:
        """Rows of R-MAC's parameter ring."""
        return 2 * self.param_rows - self.mat_param_rows

    @property
    def param_depths(self) -> tuple[int, int]:
        """Rows of both parameter rings, MAT's first."""
        return self.mat_param_rows, self.rmac_param_rows

    @property
    def max_groups(self) -> int:
        """Channel groups of the widest attention head."""
        return max(1, self.max_dim // self.m)

    @cached_property
    def descriptor_beats(self) -> int:
        """Beats of a 64-byte descriptor."""
        return -(-64 // self.beat_bytes)

    def to_dict(self) -> dict[str, int | str]:
        """All sizes by name, for manifests."""
        return asdict(self)

    def with_(self, **changes: int | str) -> "AcceleratorConfig":
        """A copy with some sizes changed."""
        return replace(self, **changes)


#: Simulates in seconds; the built-in network fits it. Half of post-processing is of either kind, so that both are tried.
TOY = AcceleratorConfig(
    name="toy",
    n=4,
    m=4,
    t=4,
    s=4,
    l=4,
    h_rows=2048,
    d_rows=2048,
    x_rows=1024,
    y_rows=1024,
    o_rows=64,
    weight_rows=512,
    param_rows=64,
    max_dim=8,
    z_rows=64,
    divisor_rows=64,
    max_picture_width=64,
    first_dsp_slots=2,
    second_dsp_slots=2,
)

#: The paper's array on its board: (8x8 + 8x8) x 16 at 200 MHz, 64 bytes a cycle from DRAM. Its DSPs are the array's, and those of
#: the requantizers of eight slots of sixteen.
ZCU102 = AcceleratorConfig(
    name="zcu102",
    n=8,
    m=8,
    t=8,
    s=8,
    l=16,
    h_rows=4096,
    d_rows=2048,
    x_rows=2048,
    y_rows=2048,
    o_rows=256,
    weight_rows=512,
    param_rows=256,
    max_dim=32,
    z_rows=64,
    divisor_rows=1024,
    max_picture_width=512,
    first_dsp_slots=8,
    second_dsp_slots=0,
    result_depth=32,
)

CONFIGURATIONS = {config.name: config for config in (TOY, ZCU102)}


def configuration(name: str) -> AcceleratorConfig:
    """The named configuration.

    Raises
    ------
    UserError
        No such name.
    """
    if name not in CONFIGURATIONS:
        raise UserError(f"configuration {name!r} is unknown; choose one of {', '.join(CONFIGURATIONS)}")
    return CONFIGURATIONS[name]
