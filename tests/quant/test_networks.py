"""The family: sizes, layer tables, names of tensors, what cannot be mapped."""

import csv
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from quant.inspect import layer_table, require_mappable
from quant.networks.layout import operations
from quant.networks.model import EfficientViT
from quant.networks.spec import SPECS, spec
from quant.ptq.graph import fold, run
from tests.quant.conftest import shared
from triovit.errors import UserError

#: Parameters, and multiplications in millions at 224, 256 and 288 pixels, as the reference gives them.
PUBLISHED = {
    "b0": (3_410_008, (100.2, 130.1, 164.0)),
    "b1": (9_102_024, (519.2, 676.9, 855.6)),
    "b2": (24_330_712, (1584.9, 2067.5, 2614.5)),
    "b3": (48_646_056, (3953.8, 5161.6, 6530.4)),
}
#: Parameters of the segmentation networks and of their backbones, which are those of the classifiers.
SEGMENTATION = {
    "b0-seg": (706_691, 682_608),
    "b1-seg": (4_803_443, 4_643_936),
    "b2-seg": (15_323_779, 14_977_008),
    "b3-seg": (39_603_155, 38_997_440),
}


def counted(network: EfficientViT) -> tuple[int, int]:
    """Parameters, and multiplications of convolutions and fully connected layers by the modules' own shapes."""
    macs = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        macs += module.weight[0].numel() * output.numel()  # type: ignore[operator, index]

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    network(torch.zeros(1, 3, *network.spec.resolution, device="meta"))
    return sum(value.numel() for value in network.parameters()), macs


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(("place", "side"), enumerate((224, 256, 288)))
def test_totals(name: str, place: int, side: int) -> None:
    parameters, macs = PUBLISHED[name]
    table = layer_table(spec(name).at((side, side)))
    assert (round(table.macs / 1e6, 1), table.parameters) == (macs[place], parameters)
    assert json.loads(json.dumps(table.to_dict()))["totals"]["macs"] == table.macs


def test_exact_totals_at_224() -> None:
    assert [layer_table(spec(name)).macs for name in PUBLISHED] == [100_233_216, 519_214_592, 1_584_937_984, 3_953_822_208]


@pytest.mark.parametrize("name", SEGMENTATION)
def test_parameters_of_segmentation_networks(name: str) -> None:
    with torch.device("meta"):
        network = EfficientViT(spec(name))
    backbone = sum(value.numel() for value in network.backbone.parameters())
    assert (layer_table(spec(name)).parameters, backbone) == SEGMENTATION[name]


@pytest.mark.parametrize("resolution", [(32, 32), (96, 160), (224, 224), (512, 1024)])
@pytest.mark.parametrize("name", SPECS)
def test_the_table_counts_what_the_modules_have(name: str, resolution: tuple[int, int]) -> None:
    sized = spec(name).at(resolution)
    with torch.device("meta"):
        network = EfficientViT(sized).eval()
    table = layer_table(sized)
    attention = sum(row.macs for row in table.rows if row.op in ("MatMul", "RowSum", "MatVec"))
    assert (table.parameters, table.macs - attention) == counted(network)
    # K^T V and Q Z of every head, the sums of K, the divisors.
    expected = 0
    for op in operations(sized):
        if op.kind == "attention":
            expected += 2 * op.heads * op.size_in[0] * op.size_in[1] * op.dim * (op.dim + 1)
    assert attention == expected


@pytest.mark.parametrize("table", ["b0-r224", "b1-r224", "b1-r288", "b2-r224"])
def test_layer_tables(table: str) -> None:
    with shared(f"reference/efficientvit-{table}-layers.csv").open() as file:
        wanted = list(csv.DictReader(file))
    name, side = table.split("-r")
    rows = layer_table(spec(name).at((int(side), int(side)))).rows
    assert len(rows) == len(wanted)
    for row, reference in zip(rows, wanted, strict=True):
        found = {
            key: "-" if value is None else str(int(value)) if isinstance(value, bool) else str(value)
            for key, value in vars(row).items()
        }
        assert {key: found[key] for key in reference} == reference


def test_engines() -> None:
    engines = {row.layer: row.engine for row in layer_table(spec("digits")).rows}
    assert engines["S1.0.MB.pw1"] == engines["S2.1.MLA.qkv"] == engines["stem.0"] == engines["S2.1.MLA.KtV"] == "both"
    assert engines["S1.0.MB.dw"] == engines["S2.1.MLA.agg.dw5"] == "R-MAC"
    assert engines["S1.0.MB.pw2"] == engines["S2.1.MLA.agg.gpw"] == engines["stem.1.pw"] == "MAT"
    assert engines["head.pool"] == "aux"


@pytest.mark.parametrize("name", SPECS)
def test_every_tensor_belongs_to_one_operation(name: str) -> None:
    with torch.device("meta"):
        state = EfficientViT(spec(name)).state_dict()
    keys = [key for op in operations(spec(name)) for key in (op.key, op.norm_key) if key]
    assert len(keys) == len(set(keys))
    assert set(keys) == {key.rpartition(".")[0] for key in state}


def test_folded_layers_compute_what_the_modules_compute(network: EfficientViT, pictures: object) -> None:
    batch, outputs = torch.from_numpy(pictures.held_out[:4]), {}  # type: ignore[attr-defined]
    run(network, fold(network), batch, lambda layer, output, _: outputs.__setitem__(layer.op.name, output))
    torch.testing.assert_close(outputs["head.fc2"], network(network.normalise(batch)), atol=1e-4, rtol=1e-4)


def test_segmentation_logits_have_an_eighth_of_the_size() -> None:
    assert EfficientViT(spec("b0-seg")).eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 19, 8, 12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"head_dim": 64, "widths": (8, 16, 64, 64)},
            "network x: layer S2.1.MLA.att: the head dimension is 64, and the divisor's bound allows 32; choose at most 32",
        ),
        (
            {"head_dim": 7},
            "network x: layer S2.1.MLA.att: 24 channels are no multiple of the head dimension 7; choose a width that is one",
        ),
        ({"scales": (7,)}, "network x: layer S2.1.MLA.agg.dw7: a depthwise kernel of 7 is not supported; choose 3 or 5"),
        (
            {"head_widths": (64, 5000)},
            "network x: layer head.ln: normalises 5000 channels, and at most 4096 are supported; choose a narrower head",
        ),
        ({"depths": (1, 1)}, "network x: widths and depths must be of one length, positive, with a plain stage at least"),
    ],
)
def test_impossible_networks(change: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        replace(spec("digits"), name="x", **change)
    assert str(caught.value) == message


def test_resolution_and_name() -> None:
    with pytest.raises(UserError) as caught:
        spec("b1").at((224, 230))
    assert str(caught.value) == "network b1: resolution 224x230 is no multiple of 32; choose one that is"
    with pytest.raises(UserError) as caught:
        spec("b9")
    assert str(caught.value) == f"network 'b9' is unknown; choose one of {', '.join(SPECS)}"


def test_other_networks_are_refused_by_layer() -> None:
    block = nn.ModuleDict({"conv": nn.Conv2d(3, 3, 1), "attn": nn.Sequential(nn.Linear(3, 3), nn.Softmax(-1))})
    with pytest.raises(UserError) as caught:
        require_mappable(block)
    assert str(caught.value) == (
        "layer attn.1: cannot be mapped: softmax needs exponentials and divisions; use EfficientViT's linear attention"
    )
    with pytest.raises(UserError) as caught:
        require_mappable(nn.Conv2d(3, 3, 1))
    assert (
        str(caught.value)
        == "network Conv2d: cannot be mapped: it is no EfficientViT; load its weights with quant.checkpoints.load"
    )
