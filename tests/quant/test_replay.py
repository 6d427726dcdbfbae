"""The replay: shapes, types, the attention by hand, and that batches change nothing."""

from dataclasses import replace

import numpy as np
import pytest

from quant.artifact import Artifact
from quant.data import Digits
from quant.replay import predict, replay, score
from sim.golden.model import GoldenModel
from tests.sim.golden.networks import pictures as small_pictures
from tests.sim.golden.networks import small_network
from triovit.errors import UserError


def test_every_tensor_is_there(artifact: Artifact, noise: np.ndarray) -> None:
    outputs = replay(artifact, noise)
    for layer in artifact.layers:
        assert outputs[layer.name].shape == layer.output_shape
        assert outputs[layer.name].dtype == (np.int16 if layer.logits else np.int8)
    attention = artifact.layer("S2.1.MLA.att")
    heads, dim = attention.attrs["heads"], attention.attrs["dim"]
    parts = {part: outputs[f"{attention.name}.{part}"] for part in ("z", "ksum", "code")}
    assert {part: (value.shape, value.dtype) for part, value in parts.items()} == {
        "z": ((heads, dim, dim), np.int16),
        "ksum": ((heads, dim), np.int16),
        "code": ((heads, 16), np.uint16),
    }
    assert len(outputs) == len(artifact.layers) + 6


def shift(value: int, by: int) -> int:
    return (value + (1 << by >> 1)) >> by


def clip(value: int, bits: int) -> int:
    return min(max(value, -(1 << bits - 1)), (1 << bits - 1) - 1)


@pytest.mark.parametrize("z_bits", [8, 15])
@pytest.mark.parametrize("code_bits", [4, 10])
def test_attention_by_hand(artifact: Artifact, noise: np.ndarray, code_bits: int, z_bits: int) -> None:
    layer = artifact.layer("S2.1.MLA.att")
    changed = replace(layer, attrs={**layer.attrs, "code_bits": code_bits, "z_bits": z_bits})
    outputs = replay(replace(artifact, layers=[changed if one is layer else one for one in artifact.layers]), noise)
    dim, a = layer.attrs["dim"], {name: array.astype(int) for name, array in layer.arrays.items()}
    heads = np.concatenate([outputs[name].reshape(-1, 3 * dim, 16) for name in layer.inputs]).astype(int)
    for g, (q, k, v) in enumerate((head[:dim], head[dim : 2 * dim], head[2 * dim :]) for head in heads):
        q, k = np.maximum(q, 0), np.maximum(k, 0)
        z = [
            [clip(shift(int(k[i] @ v[j]) * a["z_mult"][g], a["z_shift"][g]), z_bits) for j in range(dim)] for i in range(dim)
        ]
        ksum = [clip(shift(int(k[i].sum()) * a["k_mult"][g], a["k_shift"][g]), 15) for i in range(dim)]
        assert outputs["S2.1.MLA.att.z"][g].tolist() == z
        assert outputs["S2.1.MLA.att.ksum"][g].tolist() == ksum
        for p in range(16):
            divisor = int(q[:, p] @ ksum)
            top = divisor.bit_length() - 1
            if code_bits == 4:
                exponent = top + (divisor >> (top - 1) & 1 if top > 0 else 0) if divisor else 0
                code = min(max(exponent - a["div_min"][g], 0), 15) if divisor else 0
            else:
                fraction = (divisor << 6 >> top) - 64 if divisor else 0
                code = min(max(64 * (top - a["div_min"][g]) + fraction, 0), 1023) if divisor else 0
            assert outputs["S2.1.MLA.att.code"][g, p] == code
            for j in range(dim):
                numerator = int(q[:, p] @ np.array(z)[:, j])
                t = clip(shift(numerator * a["o_mult"][g], a["o_shift"][g] + (code if code_bits == 4 else code >> 6)), 16)
                wanted = t if code_bits == 4 else shift(t * round(2**19 / (129 + 2 * (code & 63))), 17)
                assert outputs["S2.1.MLA.att"].reshape(-1, dim, 16)[g, j, p] == clip(wanted, 8)


@pytest.mark.parametrize(("code_bits", "z_bits"), [(4, 8), (10, 15)])
def test_random_integers_are_computed_as_by_the_golden_model(code_bits: int, z_bits: int) -> None:
    network = small_network(3, code_bits, z_bits)
    batch = small_pictures()
    expected = GoldenModel(network).run(batch).tensors
    for index, picture in enumerate(batch):
        found = replay(network, picture)
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            assert np.array_equal(tensor, expected[name][index]), name


def test_batches_change_nothing(artifact: Artifact, pictures: Digits) -> None:
    batch = pictures.held_out[:5]
    assert np.array_equal(
        predict(artifact, batch, batch=2), np.stack([replay(artifact, picture)["head.fc2"] for picture in batch])
    )


def test_digits_keep_their_score(artifact: Artifact, pictures: Digits) -> None:
    exact = artifact.float_score["score"]
    assert exact >= 0.97
    assert abs(score(artifact, pictures.held_out, pictures.held_out_labels) - exact) <= 0.005


def test_refused_pictures(artifact: Artifact, noise: np.ndarray) -> None:
    with pytest.raises(UserError) as caught:
        replay(artifact, noise[:, :16])
    assert str(caught.value) == "pictures: are uint8 [1, 3, 16, 32], and must be uint8 [N, 3, 32, 32]; convert them"
    with pytest.raises(UserError) as caught:
        replay(artifact, noise.astype(np.float32))
    assert str(caught.value) == "pictures: are float32 [1, 3, 32, 32], and must be uint8 [N, 3, 32, 32]; convert them"
