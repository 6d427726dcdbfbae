"""Checkpoints: recognised by their shapes, refused by file, tensor and remedy."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from quant.checkpoints import from_state, load
from quant.networks.model import EfficientViT, LiteMLA
from quant.networks.recognise import tensor_shapes
from quant.networks.spec import NetworkSpec, SegHeadSpec, spec
from tests.quant.conftest import shared
from triovit.errors import UserError

QKV = "backbone.stages.1.op_list.1.context_module.main.qkv.conv.weight"
STEM = "backbone.input_stem.op_list.0"
LAST = "head.op_list.3.linear"
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


def save(state: dict[str, Tensor], path: Path) -> Path:
    """Write a state dict as the file's suffix says."""
    torch.save(state, path) if path.suffix != ".safetensors" else safetensors.torch.save_file(state, path)
    return path


def numbered(wanted: NetworkSpec) -> dict[str, Tensor]:
    """A state dict of the network, each tensor filled with a number of its own (which takes no memory)."""
    return {name: torch.tensor(float(at)).expand(shape) for at, (name, shape) in enumerate(tensor_shapes(wanted).items())}


def has(network: EfficientViT, state: dict[str, Tensor]) -> bool:
    """The network has these very tensors."""
    return all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_mit_han_lab_names(network: EfficientViT, state: dict[str, Tensor], tmp_path: Path, suffix: str) -> None:
    loaded = load(save(state, tmp_path / f"a{suffix}"))
    assert same(loaded, network)
    assert (loaded.spec.attention_eps, loaded.spec.norm_eps) == (1e-15, 1e-5)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_timm_names(network: EfficientViT, state: dict[str, Tensor], tmp_path: Path, suffix: str) -> None:
    names = {to_timm(name): value for name, value in state.items()}
    assert {name.split(".")[0] for name in names} == {"stem", "stages", "head"}
    loaded = load(save(names, tmp_path / f"a{suffix}"))
    assert loaded.spec == replace(network.spec, attention_eps=1e-5)
    assert {module.attention_eps for module in loaded.modules() if isinstance(module, LiteMLA)} == {1e-5}
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("classes", [1000, 37])
@pytest.mark.parametrize("name", ["b0", "b1", "b2", "b3"])
def test_members_of_the_family_in_both_layouts(name: str, classes: int) -> None:
    wanted = replace(spec(name), classes=classes)
    state = numbered(wanted)
    ours, theirs = (from_state({rename(key): state[key] for key in state}, Path("a.pt")) for rename in (str, to_timm))
    assert (ours.spec, theirs.spec) == (wanted, replace(wanted, attention_eps=1e-5))
    assert has(ours, state) and has(theirs, state)


@pytest.mark.parametrize(
    "wanted",
    [
        *(replace(spec(f"{name}-seg"), classes=classes) for name in ("b0", "b1", "b2", "b3") for classes in (19, 11)),
        replace(spec("b0-seg"), classes=150, seg_head=SegHeadSpec(48, 2, 6)),
        replace(spec("b1-seg"), seg_head=SegHeadSpec(64, 0)),
        # ADE20K's heads.
        replace(spec("b1-seg"), classes=150, seg_head=SegHeadSpec(64, 3, widens=False)),
        replace(spec("b2-seg"), classes=150, seg_head=SegHeadSpec(96, 3, widens=False)),
        replace(spec("b1"), classes=3, head_widths=(40, 72)),
    ],
    ids=lambda wanted: f"{wanted.name}-{wanted.classes}",
)
def test_heads_are_known_by_their_shapes(wanted: NetworkSpec) -> None:
    state = numbered(wanted)
    network = from_state(state, Path("a.pt"))
    assert network.spec == wanted
    assert has(network, state)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema", "ema"])
def test_wrappers(network: EfficientViT, state: dict[str, Tensor], tmp_path: Path, key: str) -> None:
    torch.save({"epoch": 3, key: state, "optimizer": {"state": {}}}, tmp_path / "a.pt")
    assert same(load(tmp_path / "a.pt"), network)


def test_which_weights_of_several(network: EfficientViT, state: dict[str, Tensor], tmp_path: Path) -> None:
    other = {name: value * 2 if value.is_floating_point() else value for name, value in state.items()}
    torch.save({"state_dict": other, "state_dict_ema": state}, tmp_path / "timm.pt")
    assert same(load(tmp_path / "timm.pt"), network)
    torch.save({"state_dict": state, "ema": {0.9998: other}, "scaler": None}, tmp_path / "mit.pt")
    assert same(load(tmp_path / "mit.pt"), network)
    torch.save({"state_dict": None, "ema": {0.9998: state}}, tmp_path / "ema.pt")
    assert same(load(tmp_path / "ema.pt"), network)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("rename", [str, to_timm])
def test_prefixes(
    network: EfficientViT, state: dict[str, Tensor], tmp_path: Path, prefix: str, rename: Callable[[str], str]
) -> None:
    loaded = load(save({f"{prefix}{rename(name)}": value for name, value in state.items()}, tmp_path / "a.pt"))
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())


def test_half_precision_is_widened(network: EfficientViT, state: dict[str, Tensor], tmp_path: Path) -> None:
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    loaded = load(save(halves, tmp_path / "a.pt"))
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.state_dict()[QKV], halves[QKV].float())


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
            lambda s: s[QKV].view(-1)[5:6].fill_(float("inf")),
            f"layer S2.1.MLA.qkv: tensor {QKV} has values that are not finite (NaN or infinity); "
            "train again or use an earlier checkpoint",
        ),
        (
            lambda s: s[f"{STEM}.norm.running_var"][3:4].fill_(-0.25),
            f"layer stem.0: tensor {STEM}.norm.running_var has a negative variance (-0.25 in channel 3); "
            "train again or use an earlier checkpoint",
        ),
        (
            lambda s: s.update({f"{LAST}.weight": torch.zeros(7, 96)}),
            f"layer head.fc2: tensor {LAST}.bias has shape [10], and must have [7]; {WHOLE}",
        ),
        (
            lambda s: s.pop(f"{LAST}.weight"),
            f"layer head.fc2: tensor {LAST}.weight is missing; {WHOLE}",
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
