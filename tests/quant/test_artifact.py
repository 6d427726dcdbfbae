"""The artifact: what is written is read back, and everything else is refused in one line."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from quant.artifact import FLOAT, MANIFEST, TENSORS, Artifact, Layer, Post, Residual
from quant.tensor_file import LazyTensors
from triovit.errors import UserError


def post_arrays(channels: int) -> dict[str, np.ndarray]:
    arrays = {name: np.zeros(channels, np.int32) for name in ("bias", "three", "zero")}
    return {**arrays, "mult": np.full(channels, 40000, np.int32), "shift": np.full(channels, 20, np.int32)}


def tiny() -> Artifact:
    """Two pointwise layers, the second with a residual."""
    first = Layer(
        "a", "pw", ("image",), (4, 2, 2), 0.5, {"groups": 1}, Post(), {"weight": np.ones((4, 3), np.int8), **post_arrays(4)}
    )
    second = Layer(
        "b",
        "pw",
        ("a",),
        (4, 2, 2),
        0.5,
        {"groups": 2},
        Post("none", 3, Residual("a", -1)),
        {"weight": np.ones((4, 2), np.int8), **post_arrays(4), "three": np.full(4, 9, np.int32)},
    )
    return Artifact({"name": "tiny"}, [first, second], "b", input_shape=(3, 2, 2))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tiny().save(tmp_path / "art")
    return tmp_path / "art"


def rewrite(saved: Path, change: object) -> None:
    """Change the manifest and the tensors; the checksum is made right again."""
    manifest = json.loads((saved / MANIFEST).read_text())
    tensors = safetensors.numpy.load_file(saved / TENSORS)
    change(manifest, tensors)  # type: ignore[operator]
    payload = safetensors.numpy.save(tensors)
    manifest["files"][TENSORS] = hashlib.sha256(payload).hexdigest()
    (saved / TENSORS).write_bytes(payload)
    (saved / MANIFEST).write_text(json.dumps(manifest))


def test_round_trip(artifact: Artifact, tmp_path: Path) -> None:
    artifact.save(tmp_path / "a")
    loaded = Artifact.load(tmp_path / "a")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in artifact.layers]
    for one, two in zip(artifact.layers, loaded.layers, strict=True):
        assert (one.kind, one.inputs, one.output_shape, one.output_scale, one.attrs, one.post) == (
            two.kind,
            two.inputs,
            two.output_shape,
            two.output_scale,
            two.attrs,
            two.post,
        )
        assert one.arrays.keys() == two.arrays.keys()
        assert all(
            np.array_equal(array, two.arrays[name]) and array.dtype == two.arrays[name].dtype
            for name, array in one.arrays.items()
        )
    assert loaded.network == artifact.network
    assert loaded.calibration == artifact.calibration
    loaded.save(tmp_path / "b")
    for name in (MANIFEST, TENSORS):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_artifact_is_replaced_and_nothing_stays_beside_it(saved: Path) -> None:
    tiny().save(saved)
    assert [path.name for path in saved.parent.iterdir()] == ["art"]
    assert sorted(path.name for path in saved.iterdir()) == [MANIFEST, TENSORS]


@pytest.fixture
def with_float(tmp_path: Path) -> Path:
    made = tiny()
    made.float_weights = {"b.weight": np.ones((4, 2), np.float32), "a.weight": np.full((4, 3), 0.5, np.float32)}
    made.save(tmp_path / "float")
    return tmp_path / "float"


def test_the_float_network_travels_along(with_float: Path, tmp_path: Path) -> None:
    assert sorted(path.name for path in with_float.iterdir()) == sorted([FLOAT, MANIFEST, TENSORS])
    files = json.loads((with_float / MANIFEST).read_text())["files"]
    assert files[FLOAT] == hashlib.sha256((with_float / FLOAT).read_bytes()).hexdigest()
    loaded = Artifact.load(with_float)
    assert loaded.float_weights is not None
    assert {name: values.tolist() for name, values in loaded.float_weights.items()} == {
        "a.weight": [[0.5] * 3] * 4,
        "b.weight": [[1.0] * 2] * 4,
    }
    loaded.save(tmp_path / "copy")
    assert all((tmp_path / "copy" / path.name).read_bytes() == path.read_bytes() for path in with_float.iterdir())
    loaded.save(with_float)
    assert all((tmp_path / "copy" / path.name).read_bytes() == path.read_bytes() for path in with_float.iterdir())


def test_without_the_float_network(saved: Path) -> None:
    assert Artifact.load(saved).float_weights is None


def test_the_float_network_is_read_when_it_is_used(with_float: Path) -> None:
    payload = (with_float / FLOAT).read_bytes()
    (with_float / FLOAT).write_bytes(payload[:-1] + b"\x55")
    changed = Artifact.load(with_float).float_weights
    with pytest.raises(UserError) as caught:
        dict(changed or {})
    assert str(caught.value) == f"{with_float / FLOAT}: differs from the manifest's sha256 (truncated or changed); {AGAIN}"
    (with_float / FLOAT).unlink()
    missing = Artifact.load(with_float).float_weights
    with pytest.raises(UserError) as caught:
        len(missing or {})
    assert str(caught.value) == f"{with_float / FLOAT}: is missing; {AGAIN}"


def test_a_float_network_of_another_type(with_float: Path) -> None:
    payload = safetensors.numpy.save({"a.weight": np.ones(3, np.float16)})
    (with_float / FLOAT).write_bytes(payload)
    found = LazyTensors(with_float / FLOAT, hashlib.sha256(payload).hexdigest())
    with pytest.raises(UserError) as caught:
        found["a.weight"]
    assert str(caught.value) == f"{with_float / FLOAT}: tensor a.weight is float16, and must be float32; {AGAIN}"


def test_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UserError) as caught:
        tiny().save(tmp_path / "mine")
    assert str(caught.value) == f"{tmp_path / 'mine'}: exists and is not a directory; choose another name"
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["layers"][0].update(output_scale=2.0),
        lambda manifest: manifest.update(network={}),
        lambda manifest: manifest["float"].update(score="high"),
        lambda manifest: manifest.update(calibration={"remedies": 3}),
        lambda manifest: manifest.pop("sha256"),
    ],
)
def test_a_manifest_that_was_changed_is_refused(saved: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((saved / MANIFEST).read_text())
    change(manifest)
    (saved / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UserError) as caught:
        Artifact.load(saved)
    file = saved / MANIFEST
    assert str(caught.value) == f"{file}: differs from its own sha256 (changed after it was written); quantize the network again"


def test_a_manifest_too_deep_to_read_is_refused(saved: Path) -> None:
    (saved / MANIFEST).write_text("[" * 100_000)
    with pytest.raises(UserError) as caught:
        Artifact.load(saved)
    assert str(caught.value).startswith(f"{saved / MANIFEST}: is no readable JSON (")


def test_missing_layer() -> None:
    with pytest.raises(UserError) as caught:
        tiny().layer("c")
    assert str(caught.value) == "layer 'c' is unknown; the network tiny has a, b"


def changed(part: str, *path: str | int, to: object) -> object:
    """A change of one entry of the manifest (``part`` "m") or of one tensor ("t")."""

    def change(manifest: dict, tensors: dict) -> None:
        target: object = manifest if part == "m" else tensors
        for step in path[:-1]:
            target = target[step]  # type: ignore[index]
        target[path[-1]] = to  # type: ignore[index]

    return change


def full(value: int, *shape: int) -> np.ndarray:
    return np.full(shape, value, np.int32)


AGAIN = "quantize the network again"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("t", "c.pad", to=np.array([0, 127, -128, 128], np.int32)), "pad[3] is 128, and must be -128..127"),
        (changed("t", "c.pad", to=full(0, 1)), "array pad has shape [1], and must have [4]"),
        (changed("t", "c.pad", to=np.zeros(4, np.int8)), "array pad is int8, and must be int32"),
        (lambda _, tensors: tensors.pop("c.pad"), "array pad is missing"),
        (changed("m", "layers", 2, "pad", to=0), "attribute pad is unknown to kind dw"),
    ],
)
def test_padding_of_every_channel(tmp_path: Path, change: object, message: str) -> None:
    artifact = tiny()
    arrays = {"weight": np.ones((4, 3, 3), np.int8), "pad": np.array([5, 127, -128, 0], np.int32), **post_arrays(4)}
    artifact.layers.append(Layer("c", "dw", ("b",), (4, 2, 2), 0.5, {"kernel": 3, "stride": 1}, Post(), arrays))
    artifact.output = "c"
    artifact.save(tmp_path / "art")
    assert Artifact.load(tmp_path / "art").layer("c").arrays["pad"].tolist() == [5, 127, -128, 0]
    rewrite(tmp_path / "art", change)
    with pytest.raises(UserError) as caught:
        Artifact.load(tmp_path / "art")
    assert str(caught.value) == f"{tmp_path / 'art' / MANIFEST}: layer c: {message}; {AGAIN}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("m", "schema", to="other"), "is no triovit-artifact; give the directory that quantizing wrote"),
        (changed("m", "version", to=5), f"version 5 is newer than this program reads (4); update triovit, or {AGAIN}"),
        (changed("m", "version", to="1"), f"version is '1', and must be 4; {AGAIN}"),
        (changed("m", "version", to=3), f"version is 3, and must be 4; {AGAIN}"),
        (changed("m", "layers", to={}), f"field layers is missing or of the wrong type; {AGAIN}"),
        (changed("m", "output", to="c"), f"output 'c' is no layer; {AGAIN}"),
        (changed("m", "input", to={"tensor": "image"}), f"field input must have a tensor name and a shape [C, H, W]; {AGAIN}"),
        (changed("m", "layers", 0, "name", to=None), f"a layer has no name; {AGAIN}"),
        (
            changed("m", "layers", 0, "kind", to="pww"),
            f"layer a: kind 'pww' is unknown, and must be one of conv, pw, dw, fc, pool, upsample, layernorm, attention; {AGAIN}",
        ),
        (changed("m", "layers", 1, "inputs", to=["c"]), f"layer b: input 'c' is no earlier tensor; {AGAIN}"),
        (changed("m", "layers", 1, "inputs", to=["a", "a"]), f"layer b: 2 inputs, and must have 1; {AGAIN}"),
        (
            changed("m", "layers", 1, "output_shape", to=[4, 2, 3]),
            f"layer b: output_shape is [4, 2, 3], and must be [4, 2, 2]; {AGAIN}",
        ),
        (changed("m", "layers", 1, "groups", to=3), f"layer b: 4 to 4 channels cannot be split into 3 groups; {AGAIN}"),
        (changed("m", "layers", 1, "groups", to=True), f"layer b: attribute groups is True, and must be a whole number; {AGAIN}"),
        (changed("m", "layers", 1, "extra", to=1), f"layer b: attribute extra is unknown to kind pw; {AGAIN}"),
        (changed("m", "layers", 1, "post", to=None), f"layer b: post is missing; {AGAIN}"),
        (
            changed("m", "layers", 1, "post", "act", to="hardswish"),
            f"layer b: has a hardswish and a residual, and may have one of them; {AGAIN}",
        ),
        (changed("m", "layers", 1, "post", "out_shift", to=32), f"layer b: out_shift is 32, and must be 0..31; {AGAIN}"),
        (
            changed("m", "layers", 1, "post", "residual", "tensor", to="image"),
            f"layer b: residual 'image' is no earlier tensor of shape [4, 2, 2]; {AGAIN}",
        ),
        (
            changed("m", "layers", 1, "post", "residual", "zero", to=128),
            f"layer b: residual zero is 128, and must be -128..127; {AGAIN}",
        ),
        (changed("t", "a.mult", to=full(65536, 4)), f"layer a: mult[0] is 65536, and must be 0..65535; {AGAIN}"),
        (changed("t", "a.shift", to=full(48, 4)), f"layer a: shift[0] is 48, and must be 0..47; {AGAIN}"),
        (changed("t", "a.three", to=full(-1, 4)), f"layer a: three[0] is -1, and must be 0..16383; {AGAIN}"),
        (changed("t", "b.three", to=full(1 << 14, 4)), f"layer b: three[0] is 16384, and must be 0..16383; {AGAIN}"),
        (changed("t", "a.zero", to=full(512, 4)), f"layer a: zero[0] is 512, and must be -512..511; {AGAIN}"),
        (
            changed("t", "a.weight", to=np.full((4, 3), -128, np.int8)),
            f"layer a: weight[0, 0] is -128, and must be -127..127; {AGAIN}",
        ),
        (
            changed("t", "a.weight", to=np.ones((4, 2), np.int8)),
            f"layer a: array weight has shape [4, 2], and must have [4, 3]; {AGAIN}",
        ),
        (changed("t", "a.bias", to=np.zeros(4, np.int64)), f"layer a: array bias is int64, and must be int32; {AGAIN}"),
        (
            changed("t", "a.bias", to=full((1 << 26) - 1, 4)),
            "layer a: the accumulator of channel 0 can reach 67109247, and must stay below 2^26; "
            "use a smaller picture or a narrower layer",
        ),
    ],
)
def test_refusals(saved: Path, change: object, message: str) -> None:
    rewrite(saved, change)
    with pytest.raises(UserError) as caught:
        Artifact.load(saved)
    assert str(caught.value) == f"{saved / MANIFEST}: {message}"


def test_missing_and_extra_tensors(saved: Path) -> None:
    rewrite(saved, lambda manifest, tensors: tensors.pop("b.zero"))
    with pytest.raises(UserError) as caught:
        Artifact.load(saved)
    assert str(caught.value) == f"{saved / MANIFEST}: layer b: array zero is missing; {AGAIN}"
    rewrite(saved, lambda manifest, tensors: tensors.update({"b.zero": full(0, 4), "c.zero": full(0, 4)}))
    with pytest.raises(UserError) as caught:
        Artifact.load(saved)
    assert str(caught.value) == f"{saved / TENSORS}: tensor c.zero belongs to no layer; {AGAIN}"


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_damaged_tensors(saved: Path, damage: str) -> None:
    payload = bytearray((saved / TENSORS).read_bytes())
    payload[-1] ^= 1
    (saved / TENSORS).write_bytes(payload if damage == "changed" else payload[:-9])
    with pytest.raises(UserError) as caught:
        Artifact.load(saved)
    assert str(caught.value) == f"{saved / TENSORS}: differs from the manifest's sha256 (truncated or changed); {AGAIN}"


def test_missing_files_and_bad_json(saved: Path) -> None:
    with pytest.raises(UserError) as caught:
        Artifact.load(saved.parent / "none")
    assert str(caught.value) == f"{saved.parent / 'none'}: no such artifact; quantize a network first, or correct the path"
    (saved / TENSORS).unlink()
    with pytest.raises(UserError) as caught:
        Artifact.load(saved)
    assert str(caught.value) == f"{saved / TENSORS}: is missing; {AGAIN}"
    (saved / MANIFEST).write_text("{")
    with pytest.raises(UserError, match=r"is no readable JSON \(.*\); quantize the network again$"):
        Artifact.load(saved)
    (saved / MANIFEST).unlink()
    with pytest.raises(UserError) as caught:
        Artifact.load(saved)
    assert str(caught.value) == f"{saved / MANIFEST}: is missing; {AGAIN}"
