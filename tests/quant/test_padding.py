"""What surrounds a map stands for a real 0 in every channel, whatever the channel's zero point."""

import pytest
import torch
from torch.nn import functional

from quant.networks.layout import Operation
from quant.ptq.encoding import Encoding
from quant.ptq.export import Exporter
from quant.ptq.graph import FloatLayer
from quant.ptq.observe import Observations
from quant.ptq.options import Options
from quant.replay import compute

CHANNELS, SIZE = 12, (4, 5)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("kind", ["dw", "conv"])
def test_each_channel_is_surrounded_by_its_own_zero(kind: str, kernel: int) -> None:
    generator = torch.Generator().manual_seed(kernel)
    groups = CHANNELS if kind == "dw" else 1
    # Weights that int8 holds exactly, so that nothing but the output is rounded.
    weight = torch.randint(-126, 127, (CHANNELS, CHANNELS // groups, kernel, kernel), generator=generator).double()
    weight[:, 0, 0, 0] = 127
    zeros = torch.randint(-128, 128, (CHANNELS,), generator=generator).double()
    stored = torch.randint(-128, 128, (3, CHANNELS, *SIZE), generator=generator)
    real = functional.conv2d(stored - zeros[:, None, None], weight, padding=kernel // 2, groups=groups)
    step = float(real.abs().max()) / 100

    ones = torch.ones(CHANNELS, dtype=torch.float64)
    encodings = {"a": Encoding(1.0, ones, zeros, "shifting"), "b": Encoding(step, ones, 3 * ones)}
    op = Operation("b", kind, ("a",), CHANNELS, CHANNELS, SIZE, SIZE, kernel=kernel, groups=groups)
    exporter = Exporter(encodings, Observations(), Options(weights="minmax", bias_correction=False, compensation=False))
    layer = exporter.layer(FloatLayer(op, weight.float(), torch.zeros(CHANNELS)), logits=False)
    assert layer.arrays["pad"].tolist() == zeros.tolist()
    found = compute(layer, {"a": stored})
    assert float((found - 3 - real / step).abs().max()) < 0.51
