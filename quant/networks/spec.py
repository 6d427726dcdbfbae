"""The family's parameters and its members."""

from dataclasses import dataclass, replace

from triovit.errors import UserError

#: ImageNet's mean and deviation of R, G, B in [0, 1].
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: What the accelerator's integers allow (docs/integer-contract.md, section 8).
MAX_HEAD_DIM, MAX_NORM_WIDTH = 32, 4096


@dataclass(frozen=True)
class SegHeadSpec:
    """Width, depth and expansion of the segmentation head."""

    width: int
    depth: int
    expand: int = 4
    #: Whether a convolution of ``expand`` times the width comes before the classes' (Cityscapes' heads have it, ADE20K's not).
    widens: bool = True


@dataclass(frozen=True)
class NetworkSpec:
    """One EfficientViT. Source: mit-han-lab's EfficientViT B series.

    Raises
    ------
    UserError
        A network that the accelerator cannot compute; the message names the layer, the reason and the remedy.
    """

    name: str
    #: Channels of the stem and of each stage.
    widths: tuple[int, ...]
    #: Residual blocks of the stem, blocks of each stage.
    depths: tuple[int, ...]
    #: Channels of the head's convolution and of its hidden vector.
    head_widths: tuple[int, int]
    #: Channels of an attention head.
    head_dim: int = 16
    #: Stages of MBConvs only; the rest alternate linear attention and MBConv.
    plain_stages: int = 2
    classes: int = 1000
    #: Kernels of the aggregated attention scales.
    scales: tuple[int, ...] = (5,)
    #: Channels of an MBConv's middle, for each input channel.
    expand: int = 4
    #: Height and width of the picture.
    resolution: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    #: BatchNorm's and LayerNorm's epsilon, then the attention divisor's (float only).
    norm_eps: float = 1e-5
    attention_eps: float = 1e-15
    #: Set for a segmentation network: the head replaces the classifier.
    seg_head: SegHeadSpec | None = None

    def __post_init__(self) -> None:
        if (
            len(self.widths) != len(self.depths)
            or not 1 <= self.plain_stages < len(self.widths)
            or min(*self.widths, *self.depths) < 1
        ):
            raise UserError(
                f"network {self.name}: widths and depths must be of one length, positive, with a plain stage at least"
            )
        for stage in range(self.plain_stages + 1, len(self.widths)):
            where = f"network {self.name}: layer S{stage}.1.MLA.att"
            if self.widths[stage] % self.head_dim:
                raise UserError(
                    f"{where}: {self.widths[stage]} channels are no multiple of the head dimension {self.head_dim}; "
                    "choose a width that is one"
                )
            if self.head_dim > MAX_HEAD_DIM:
                raise UserError(
                    f"{where}: the head dimension is {self.head_dim}, and the divisor's bound allows {MAX_HEAD_DIM}; "
                    f"choose at most {MAX_HEAD_DIM}"
                )
        for kernel in self.scales:
            if kernel not in (3, 5):
                raise UserError(
                    f"network {self.name}: layer S{self.plain_stages + 1}.1.MLA.agg.dw{kernel}: "
                    f"a depthwise kernel of {kernel} is not supported; choose 3 or 5"
                )
        if self.seg_head is None and self.head_widths[1] > MAX_NORM_WIDTH:
            raise UserError(
                f"network {self.name}: layer head.ln: normalises {self.head_widths[1]} channels, and at most {MAX_NORM_WIDTH} "
                "are supported; choose a narrower head"
            )

    @property
    def task(self) -> str:
        """``"classification"`` or ``"segmentation"``."""
        return "classification" if self.seg_head is None else "segmentation"

    def at(self, resolution: tuple[int, int]) -> "NetworkSpec":
        """Return the network for pictures of that height and width.

        Raises
        ------
        UserError
            The resolution is no multiple of the network's stride.
        """
        stride = 1 << len(self.widths)
        if min(resolution) < 1 or resolution[0] % stride or resolution[1] % stride:
            raise UserError(
                f"network {self.name}: resolution {resolution[0]}x{resolution[1]} is no multiple of {stride}; choose one that is"
            )
        return replace(self, resolution=resolution)


_B = {
    "b0": NetworkSpec("b0", (8, 16, 32, 64, 128), (1, 2, 2, 2, 2), (1024, 1280)),
    "b1": NetworkSpec("b1", (16, 32, 64, 128, 256), (1, 2, 3, 3, 4), (1536, 1600)),
    "b2": NetworkSpec("b2", (24, 48, 96, 192, 384), (1, 3, 4, 4, 6), (2304, 2560), head_dim=32),
    "b3": NetworkSpec("b3", (32, 64, 128, 256, 512), (1, 4, 6, 6, 9), (2304, 2560), head_dim=32),
}
_SEG_HEADS = {"b0": SegHeadSpec(32, 1), "b1": SegHeadSpec(64, 3), "b2": SegHeadSpec(96, 3), "b3": SegHeadSpec(128, 3)}

#: The known members by name.
SPECS: dict[str, NetworkSpec] = {
    "digits": NetworkSpec(
        "digits", (8, 16, 24, 32), (1, 1, 1, 1), (64, 96), head_dim=8, plain_stages=1, classes=10, resolution=(32, 32)
    ),
    **_B,
    **{
        f"{name}-seg": replace(spec, name=f"{name}-seg", classes=19, resolution=(512, 1024), seg_head=_SEG_HEADS[name])
        for name, spec in _B.items()
    },
}


def spec(name: str) -> NetworkSpec:
    """Return the member of that name.

    Raises
    ------
    UserError
        No such network.
    """
    if name not in SPECS:
        raise UserError(f"network {name!r} is unknown; choose one of {', '.join(SPECS)}")
    return SPECS[name]
