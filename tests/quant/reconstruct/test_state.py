"""The directory of finished blocks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from quant.ptq.encoding import Encoding
from quant.ptq.rounding import Rounded
from quant.reconstruct.learn import Result
from quant.reconstruct.state import State, key
from tests.quant.reconstruct.conftest import Prepared
from triovit.errors import UserError


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


RESULT = Result(
    {"S1.pw": Rounded(doubles(1, -2).reshape(2, 1, 1, 1), doubles(0.1, 0.2), doubles(3, 4))},
    {
        "S1.pw": Encoding(0.1, doubles(1, 1), doubles(-7, -7)),
        "S1.dw": Encoding(1 / 3, doubles(1, 2), doubles(-7, 300), "shifting"),
    },
    (0.25, 0.125),
)


def test_a_result_comes_back_as_it_was(tmp_path: Path):
    State(tmp_path / "a", "key").save("S1", RESULT)
    again = State(tmp_path / "a", "key")
    found = again.load("S1")
    assert found is not None
    assert found.errors == RESULT.errors
    for name, rounded in RESULT.rounded.items():
        assert all(
            torch.equal(getattr(found.rounded[name], part), getattr(rounded, part)) for part in ("weight", "scales", "bias")
        )
    for name, encoding in RESULT.encodings.items():
        other = found.encodings[name]
        assert (other.scale, other.remedy) == (encoding.scale, encoding.remedy)
        assert torch.equal(other.factors, encoding.factors)
        assert torch.equal(other.zeros, encoding.zeros)
    assert again.load("S2") is None


def test_damaged_files(tmp_path: Path):
    state = State(tmp_path / "a", "key")
    state.save("S1", RESULT)
    file = tmp_path / "a" / "S1.safetensors"
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(UserError) as caught:
        state.load("S1")
    assert str(caught.value).startswith(f"{file}: cannot be read (")
    assert str(caught.value).endswith("); remove it, and the block is learned again")
    (tmp_path / "a" / "state.json").write_text("[")
    with pytest.raises(UserError, match=r"state\.json: cannot be read \(.*\); remove .*/a$"):
        State(tmp_path / "a", "key")


def test_a_directory_of_something_else(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError) as caught:
        State(tmp_path, "key")
    assert str(caught.value) == (
        f"{tmp_path}: exists, is not empty and holds no state.json, so it is not replaced; choose another directory"
    )
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_the_key_tells_what_a_block_depends_on(prepared: Prepared):
    given = (prepared.layers, prepared.pictures, prepared.encodings, prepared.options, "cpu")
    first = key(*given)
    assert key(*given) == first
    darker = prepared.pictures.clone()
    darker[0, 0, 0, 0] ^= 1
    image = prepared.encodings["image"]
    weight = prepared.layers[0].weight.clone()
    weight[0] += 1
    others = [
        key(prepared.layers, darker, *given[2:]),
        key([replace(prepared.layers[0], weight=weight), *prepared.layers[1:]], *given[1:]),
        key(*given[:2], {**prepared.encodings, "image": replace(image, scale=2.0)}, *given[3:]),
        key(*given[:3], replace(prepared.options, seed=1), "cpu"),
        key(*given[:4], "cuda"),
    ]
    assert len({first, *others}) == 6
