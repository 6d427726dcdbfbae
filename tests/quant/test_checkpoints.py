"""Checkpoints: recognised by their shapes, refused by file, tensor and remedy."""

import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from quant.checkpoints import load
from quant.networks.model import EfficientViT
from tests.quant.conftest import shared
from triovit.errors import UserError

QKV = "backbone.stages.1.op_list.1.context_module.main.qkv.conv.weight"
WHOLE = "give a complete checkpoint of EfficientViT-digits"


def to_timm(name: str) -> str:
    """Return timm's name of a tensor, written down the other way round than in the program."""
    name = re.sub(r"^backbone\.input_stem\.op_list\.0", "stem.in_conv", name)
    name = re.sub(r"^backbone\.input_stem\.op_list\.(\d+)", lambda m: f"stem.res{int(m[1]) - 1}", name)
    name = re.sub(r"^backbone\.stages\.(\d+)\.op_list", r"stages.\1.blocks", name)
    for ours, theirs in (
        ("0", "in_conv"),
        ("2.linear", "classifier.0"),
        ("2.norm", "classifier.1"),
        ("3.linear", "classifier.4"),
    ):
        name = re.sub(rf"^head\.op_list\.{re.escape(ours)}\.", f"head.{theirs}.", name)
    return name


@pytest.fixture
def state(network: EfficientViT) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: EfficientViT, two: EfficientViT) -> bool:
    return one.spec == two.spec and all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("wrapped", [False, True])
def test_pt(network: EfficientViT, state: dict[str, Tensor], tmp_path: Path, wrapped: bool) -> None:
    torch.save({"state_dict": state, "epoch": 3} if wrapped else state, tmp_path / "a.pt")
    assert same(load(tmp_path / "a.pt"), network)


def test_timm_names(network: EfficientViT, state: dict[str, Tensor], tmp_path: Path) -> None:
    names = {to_timm(name): value for name, value in state.items()}
    assert {name.split(".")[0] for name in names} == {"stem", "stages", "head"}
    safetensors.torch.save_file(names, tmp_path / "a.safetensors")
    assert same(load(tmp_path / "a.safetensors"), network)


def test_classes_are_the_files(state: dict[str, Tensor], tmp_path: Path) -> None:
    state["head.op_list.3.linear.weight"], state["head.op_list.3.linear.bias"] = torch.zeros(7, 96), torch.zeros(7)
    torch.save(state, tmp_path / "a.pt")
    assert load(tmp_path / "a.pt").spec.classes == 7


def test_published_checkpoints() -> None:
    classifier, segmenter = (
        load(shared("models/efficientvit_b0_imagenette.pt")),
        load(shared("models/efficientvit_seg_b0_cityscapes.pt")),
    )
    assert (classifier.spec.name, classifier.spec.classes, sum(p.numel() for p in classifier.parameters())) == (
        "b0",
        10,
        2_141_818,
    )
    assert (segmenter.spec.name, segmenter.spec.classes, sum(p.numel() for p in segmenter.parameters())) == (
        "b0-seg",
        19,
        706_691,
    )
    one, two = classifier.backbone.state_dict(), segmenter.backbone.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(QKV), f"layer S2.1.MLA.qkv: tensor {QKV} is missing; {WHOLE}"),
        (
            lambda s: s.update({QKV: torch.zeros(72, 25, 1, 1)}),
            f"layer S2.1.MLA.qkv: tensor {QKV} has shape [72, 25, 1, 1], and must have [72, 24, 1, 1]; {WHOLE}",
        ),
        (
            lambda s: s[QKV].view(-1)[5:6].fill_(float("nan")),
            f"layer S2.1.MLA.qkv: tensor {QKV} has values that are not finite (NaN or infinity); "
            "train again or use an earlier checkpoint",
        ),
        (
            lambda s: s.update({QKV: torch.zeros(72, 24, 1, 1, dtype=torch.int8)}),
            f"layer S2.1.MLA.qkv: tensor {QKV} is int8, and must be floating point; save the float network",
        ),
        (
            lambda s: s.update({"head.extra": torch.zeros(1)}),
            "tensor head.extra has no place in EfficientViT-digits; remove it from the checkpoint",
        ),
        (lambda s: s.update({"meta": "x"}), "meta is no tensor; save the network's state_dict()"),
    ],
)
def test_refused_tensors(state: dict[str, Tensor], tmp_path: Path, change: object, message: str) -> None:
    change(state)  # type: ignore[operator]
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "a.pt")
    assert str(caught.value) == f"{tmp_path / 'a.pt'}: {message}"


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_truncated_files(state: dict[str, Tensor], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    torch.save(state, path) if suffix == "pt" else safetensors.torch.save_file(state, path)
    for size in (0, 5, 1000, path.stat().st_size - 500):
        whole = path.read_bytes()
        path.write_bytes(whole[:size])
        with pytest.raises(UserError) as caught:
            load(path)
        assert str(caught.value) == f"{path}: cannot be read as a checkpoint (truncated or another format); get the file again"
        path.write_bytes(whole)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path / "none.pt")
    assert (
        str(caught.value)
        == f"{tmp_path / 'none.pt'}: no such checkpoint; give a .pt, .pth or .safetensors file, or one of digits"
    )
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "a.onnx")
    assert str(caught.value) == f"{tmp_path / 'a.onnx'}: .onnx is no kind of checkpoint; give a .pt, .pth or .safetensors file"
    with pytest.raises(UserError) as caught:
        load("b1")
    assert str(caught.value) == "b1: its weights are not packaged (only digits); give the file of a checkpoint"
    torch.save({"blocks.0.attn.qkv.weight": torch.zeros(3)}, tmp_path / "vit.pt")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "vit.pt")
    assert str(caught.value) == (
        f"{tmp_path / 'vit.pt'}: is no EfficientViT B0..B3 (tensor blocks.0.attn.qkv.weight has no place in one); "
        "give an EfficientViT's weights"
    )


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "a.pt")
    assert (
        str(caught.value)
        == f"{tmp_path / 'a.pt'}: holds more than tensors and is not opened for safety; save its state_dict alone"
    )
