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


@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [
        ("b0", 100_233_216, 3_410_008),
        ("b1", 519_214_592, 9_102_024),
        ("b2", 1_584_937_984, 24_330_712),
        ("b3", 3_953_822_208, 48_646_056),
    ],
)
def test_totals(name: str, macs: int, parameters: int) -> None:
    table = layer_table(spec(name))
    assert (table.macs, table.parameters) == (macs, parameters)
    with torch.device("meta"):
        assert sum(value.numel() for value in EfficientViT(spec(name)).parameters()) == parameters
    assert json.loads(json.dumps(table.to_dict()))["totals"]["macs"] == macs


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
def test_every_tensor_of_the_backbone_belongs_to_one_operation(name: str) -> None:
    with torch.device("meta"):
        state = EfficientViT(spec(name)).state_dict()
    keys = [key for op in operations(spec(name)) for key in (op.key, op.norm_key) if key]
    assert len(keys) == len(set(keys))
    wanted = {key.rpartition(".")[0] for key in state if not (spec(name).seg_head and key.startswith("head"))}
    assert set(keys) == wanted


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
