"""What is measured of the quantizer: networks with their pictures, the quantizer's settings, the other quantizers."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from quant.ptq.options import Options

#: Pictures to calibrate with, evenly taken.
CALIBRATION = 64
#: Members of the family without a checkpoint.
FAMILY = ("b1", "b2", "b3")
FAMILY_RESOLUTION = (224, 224)

Settings = dict[str, Any]


@dataclass(frozen=True)
class Network:
    """A checkpoint with its pictures; paths are below the directory with models/ and data/."""

    name: str
    title: str
    checkpoint: str
    calibration: str
    pictures: str
    #: The folder of label maps, for segmentation.
    labels: str | None
    #: Height and width of the pictures, one or more.
    resolutions: tuple[tuple[int, int], ...]
    #: Pictures whose golden evaluation is timed.
    timed: int

    @property
    def task(self) -> str:
        """``"classification"`` or ``"segmentation"``."""
        return "segmentation" if self.labels else "classification"


NETWORKS = (
    Network(
        "seg-b0",
        "EfficientViT-Seg-B0 on CamVid",
        "models/efficientvit_seg_b0_cityscapes.pt",
        "data/camvid/calib",
        "data/camvid/val",
        "data/camvid/val_labels",
        ((384, 512), (736, 960)),
        8,
    ),
    Network(
        "b0",
        "EfficientViT-B0 on Imagenette",
        "models/efficientvit_b0_imagenette.pt",
        "data/imagenette/calib",
        "data/imagenette/val",
        None,
        ((224, 224),),
        32,
    ),
)

#: The paper's quantizer without its three remedies: whatever can be switched off is. Without log2 divisors each head divides by
#: one constant, all that the integer contract offers besides.
_PLAIN: Settings = {field.name: False for field in fields(Options) if isinstance(field.default, bool)} | {
    "code_bits": 4,
    "z_bits": 8,
}
_REMEDIES = {"migration": "migration", "shifting": "shifting", "log2_divisors": "log2 divisors"}
#: What triovit adds to the paper's remedies, in turn.
_STEPS: tuple[tuple[str, Settings], ...] = (
    ("+ bias correction", {"bias_correction": True}),
    ("+ equalization", {"equalization": True}),
    ("+ 10-bit divisor codes", {"code_bits": 10}),
    ("+ 15-bit K^T V", {"z_bits": 15}),
    ("+ compensated rounding", {"compensation": True}),
    ("+ ranges by their effect", {"output_effect": True}),
)


def ablation() -> list[tuple[str, str, Settings]]:
    """Name, title and settings of every row: plain, each remedy, each pair, all three, then triovit's own steps."""
    combinations = [(), *((name,) for name in _REMEDIES)]
    combinations += [tuple(name for name in _REMEDIES if name != left_out) for left_out in reversed(_REMEDIES)]
    rows = []
    for chosen in [*combinations, tuple(_REMEDIES)]:
        settings = {**_PLAIN, **dict.fromkeys(chosen, True)}
        title = " + ".join(_REMEDIES[name] for name in chosen)
        rows.append(("+".join(chosen) or "plain", title or "plain W8A8", settings))
    settings = rows[-1][2]
    for title, more in _STEPS:
        settings = {**settings, **more}
        rows.append((next(iter(more)), title, settings))
    if complete(settings) != complete({}):
        rows.append(("default", "+ the other defaults", {}))
    return rows


def complete(settings: Settings) -> Settings:
    """Return all of the quantizer's options, the defaults where ``settings`` says nothing.

    Raises
    ------
    UserError
        An impossible value.
    """
    return asdict(Options(**settings))
