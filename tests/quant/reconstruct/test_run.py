"""Learning as a whole: never worse, the same again, and on from where it was interrupted."""

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import torch

from quant.data import Digits
from quant.networks.model import EfficientViT
from quant.ptq.encoding import Encoding
from quant.quantize import quantize
from quant.reconstruct.run import _affordable, reconstruct
from quant.reconstruct.state import State
from tests.quant.reconstruct.conftest import OPTIONS, Prepared
from triovit.errors import UserError


def learned(prepared: Prepared, name: str, iterations: int = 60, **more: str) -> tuple[float, ...]:
    work, block = prepared.work(name)
    work.exporter.options = replace(prepared.options, iterations=iterations, **more)
    ones = torch.ones(block.output.c_out)
    return work.learn(block, work.maps.target(block), ones, 0, lambda: None).errors


def test_what_breaks_a_bound_is_not_kept(prepared: Prepared, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("quant.reconstruct.learn.BIAS_RATE", 1e12)
    errors = learned(prepared, "S1.0.MB", 6)
    assert errors[0] < 1
    assert errors[1:] == (inf, inf)


def coarser(prepared: Prepared, name: str, times: float) -> Prepared:
    old: Encoding = prepared.encodings[name]
    return replace(prepared, encodings={**prepared.encodings, name: replace(old, scale=old.scale * times)})


def test_a_step_that_is_far_too_large_is_mended(prepared: Prepared):
    errors = learned(coarser(prepared, "S1.0.MB.pw1", 6.0), "S1.0.MB", 200)
    assert len(errors) == 3
    assert min(errors) < 0.5 * errors[0]


@pytest.mark.parametrize(("chosen", "errors"), [("all", (3, 4)), ("attention", (2, 3)), ("none", (2, 2))])
def test_whose_steps_are_learned(prepared: Prepared, chosen: str, errors: tuple[int, int]):
    # The error at first, after each pass over steps, and after the weights'.
    found = tuple(len(learned(prepared, name, 2, learned_steps=chosen)) for name in ("S1.0.MB", "S2.1.MLA"))
    assert found == errors


@pytest.mark.parametrize("chosen", ["attention", "none"])
def test_other_steps_stay(prepared: Prepared, chosen: str):
    work, block = prepared.work("S2.1.MLA")
    work.exporter.options = replace(prepared.options, iterations=30, learned_steps=chosen)
    first = work.first(block).encodings
    found = work.learn(block, work.maps.target(block), torch.ones(block.output.c_out), 0, lambda: None).encodings
    attention = {name for op in block.ops if op.kind == "attention" for name in (*op.inputs, op.name)}
    for name in first.keys() - (attention if chosen == "attention" else set()):
        assert found[name].scale == pytest.approx(first[name].scale, rel=1e-12)
        assert torch.allclose(found[name].factors, first[name].factors, rtol=1e-12)
        assert torch.equal(found[name].zeros, first[name].zeros)


def test_what_is_worse_is_not_kept(prepared: Prepared, monkeypatch: pytest.MonkeyPatch):
    for rate in ("ROUNDING_RATE", "BIAS_RATE", "STEP_RATE"):
        monkeypatch.setattr(f"quant.reconstruct.learn.{rate}", 50.0)
    work, block = prepared.work("S2.1.MLA")
    target, ones = work.maps.target(block), torch.ones(block.output.c_out)
    first = work.first(block)
    result = work.learn(block, target, ones, 0, lambda: None)
    assert len(result.errors) == 4
    assert min(result.errors[1:]) > result.errors[0]
    assert result.encodings == first.encodings
    for name, rounded in first.rounded.items():
        assert torch.equal(result.rounded[name].weight, rounded.weight)
        assert torch.equal(result.rounded[name].bias, rounded.bias)


def saved(network: EfficientViT, pictures: Digits, place: Path, **more: object) -> bytes:
    quantize(network, pictures.train[:16], OPTIONS, **more).save(place)
    return b"".join((place / name).read_bytes() for name in ("manifest.json", "tensors.safetensors"))


def test_interrupted_and_again_the_bytes_are_the_same(network: EfficientViT, pictures: Digits, tmp_path: Path):
    whole = saved(network, pictures, tmp_path / "a")
    calls: list[tuple[int, int]] = []

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "reconstructing":
            calls.append((done, total))
            if done == 30:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        saved(network, pictures, tmp_path / "b", state=tmp_path / "blocks", progress=interrupt)
    finished = sorted(file.stem for file in (tmp_path / "blocks").glob("*.safetensors"))
    assert finished == ["S1.0.MB", "stem.0", "stem.1"]
    assert [done for done, _ in calls] == list(range(1, 31))
    first_total = calls[0][1]
    calls.clear()
    again = saved(
        network,
        pictures,
        tmp_path / "b",
        state=tmp_path / "blocks",
        progress=lambda stage, done, total: calls.append((done, total)) if stage == "reconstructing" else None,
    )
    # Nine iterations a finished block are not repeated.
    assert calls[-1] == (first_total - 27, first_total - 27)
    assert again == whole


def test_blocks_of_something_else(network: EfficientViT, pictures: Digits, tmp_path: Path):
    State(tmp_path / "blocks", "another key")
    with pytest.raises(UserError) as caught:
        quantize(network, pictures.train[:16], OPTIONS, state=tmp_path / "blocks")
    assert str(caught.value) == (
        f"{tmp_path}/blocks: holds blocks of another network, other pictures or other settings; repeat the command that was "
        "interrupted, or remove the directory"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_there(prepared: Prepared):
    with pytest.raises(UserError) as caught:
        reconstruct(
            prepared.network,
            prepared.layers,
            prepared.pictures,
            prepared.encodings,
            prepared.seen,
            prepared.options,
            prepared.export,
            device="cuda",
        )
    assert str(caught.value) == "device cuda: torch finds none; reconstruct on the cpu, or install torch for the device"


def test_fewer_pictures_where_memory_is_short(prepared: Prepared, monkeypatch: pytest.MonkeyPatch):
    assert len(_affordable(prepared.pictures, prepared.layers)) == 16
    largest = max(layer.op.c_out * layer.op.size_out[0] * layer.op.size_out[1] for layer in prepared.layers)
    monkeypatch.setattr("quant.reconstruct.run.MEMORY", 4 * largest * 6)
    assert len(_affordable(prepared.pictures, prepared.layers)) == 6
