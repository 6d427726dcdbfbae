"""What is measured of the accelerator: networks, each with its weights, its pictures and what the paper's authors foretell."""

from dataclasses import dataclass

from boards.zcu102 import ZCU102
from quant.contract import ACT_BITS
from triovit.errors import InternalError

#: Where random weights are calibrated, and pictures of classifiers come from.
_IMAGENETTE = "data/imagenette"
#: The same for what is larger than those pictures.
_CAMVID = "data/camvid"
_IMAGENETTE_SIDE = 224
#: Cycles from a request to DRAM to its first beat; then it gives a beat a cycle.
LATENCY = 60
#: The paper's clock.
CLOCK_MHZ = 200
#: The configuration of the paper's size.
DESIGN = "zcu102"
#: Its board.
BOARD = ZCU102


@dataclass(frozen=True)
class Authors:
    """What the authors' own cycle model says of a network, run by us.

    It counts the backbone alone, without group convolutions, and takes the blocks for always full and the memory for always
    ready.
    """

    cycles: int
    #: Giga-operations a second, and the share of the multipliers' cycles in use.
    gops: float
    utilization: float


@dataclass(frozen=True)
class Network:
    """A network to run; paths are below the directory with models/ and data/.

    A segmentation network's backbone is what runs. Neither weights nor pictures change a cycle.
    """

    name: str
    title: str
    #: Its name in `quant.networks.spec`.
    spec: str
    #: Height and width.
    resolution: tuple[int, int]
    #: ``"packaged"``, ``"random"`` or a checkpoint.
    weights: str
    #: Pictures of a run in steady state.
    batch: int
    #: Folders of pictures, to calibrate with and to run; ``"digits"`` are the built-in ones.
    calibration: str
    pictures: str
    config: str = DESIGN
    #: Where they are not the spec's own.
    classes: int | None = None
    authors: Authors | None = None
    #: Whether RTL simulates it: by default, only where it is named, or never.
    rtl: str = "never"
    #: Width of attention's Z where it is not the quantizer's own; of networks with random weights.
    z_bits: int | None = None

    def __post_init__(self) -> None:
        if self.z_bits is not None and self.weights != "random":
            raise InternalError(f"network {self.name}: a width of Z is for random weights, and these are {self.weights}")

    @property
    def size(self) -> str:
        """Width and height."""
        return f"{self.resolution[1]}x{self.resolution[0]}"


def _b(name: str, size: int, authors: Authors, rtl: str = "never", z_bits: int | None = None) -> Network:
    """A classifier with random weights, since it has no checkpoint here."""
    title = f"EfficientViT-{name.upper()}, random weights" + (f", Z of {z_bits} bits" if z_bits else "")
    source = _IMAGENETTE if size <= _IMAGENETTE_SIDE else _CAMVID
    folders = (f"{source}/calib", f"{source}/val")
    label = f"{name}-{size}" + (f"-z{z_bits}" if z_bits else "")
    return Network(label, title, name, (size, size), "random", 32, *folders, authors=authors, rtl=rtl, z_bits=z_bits)


_B1, _B2 = Authors(250_343, 781.9, 0.954), Authors(762_009, 791.0, 0.966)
#: In the order of the page. The authors' cycles: arXiv 2405.03882, their cycle model with each network's layers.
NETWORKS = (
    Network("digits", "built-in digits", "digits", (32, 32), "packaged", 4, "digits", "digits", config="toy", rtl="default"),
    Network(
        "b0-224",
        "EfficientViT-B0, Imagenette",
        "b0",
        (224, 224),
        "models/efficientvit_b0_imagenette.pt",
        32,
        f"{_IMAGENETTE}/calib",
        f"{_IMAGENETTE}/val",
        classes=10,
        rtl="default",
    ),
    _b("b1", 224, _B1, "default"),
    # The paper's arithmetic has eight bits for Z; the quantizer takes 15 unless it is told otherwise.
    _b("b1", 224, _B1, z_bits=ACT_BITS),
    _b("b1", 256, Authors(324_139, 788.8, 0.963)),
    _b("b1", 288, Authors(420_593, 769.3, 0.939), "named"),
    _b("b2", 224, _B2, "named"),
    _b("b2", 224, _B2, "named", z_bits=ACT_BITS),
    Network(
        "seg-b0-512x384",
        "EfficientViT-Seg-B0, CamVid, backbone",
        "b0-seg",
        (384, 512),
        "models/efficientvit_seg_b0_cityscapes.pt",
        1,
        "data/camvid/calib",
        "data/camvid/val",
        rtl="default",
    ),
)
