"""A network of every kind of layer with random integers, and its plain evaluation."""

import numpy as np

from quant.artifact import Artifact, Layer, Post, Residual
from tests.sim.golden import plain


def int8(rng, *shape):
    """Random int8 with many extremes."""
    values = rng.integers(-128, 128, shape)
    extremes = rng.choice([-128, 127, 0, -1, 1], shape)
    return np.where(rng.random(shape) < 0.3, extremes, values).astype(np.int8)


def weights(rng, *shape):
    return np.maximum(int8(rng, *shape), -127)


def post_arrays(rng, outputs, reach, *, step=40):
    """Constants that spread accumulators of magnitude ``reach`` over a few times ``step``."""
    shift = rng.integers(8, 24, outputs)
    mult = np.clip((step * 2.0**shift / reach).astype(int) * rng.integers(1, 4, outputs), 1, 65535)
    return {
        "bias": rng.integers(-reach // 4 - 1, reach // 4 + 2, outputs).astype(np.int32),
        "mult": mult.astype(np.int32),
        "shift": shift.astype(np.int32),
        "three": rng.integers(20, 200, outputs).astype(np.int32),
        "zero": rng.integers(-30, 31, outputs).astype(np.int32),
    }


def _layer(name, kind, inputs, shape, attrs, post, arrays):
    return Layer(name, kind, inputs, shape, 0.05, attrs, post, arrays)


def small_network(seed=0, code_bits=4, z_bits=8):
    """Every kind of layer, odd sizes, both strides, two scales of attention, residual, hardswish and logits."""
    rng = np.random.default_rng(seed)
    swish, plain_post = Post("hardswish", 8), Post("none", 2)
    heads, dim, c = 3, 4, 8
    vector = {"logits": False}

    def post(outputs, reach, step=40):
        return post_arrays(rng, outputs, reach, step=step)

    def shifts(lo, hi):
        return rng.integers(lo, hi, heads).astype(np.int32)

    layers = [
        _layer("stem", "conv", ("image",), (c, 5, 4), {"kernel": 3, "stride": 2}, swish,
               {"weight": weights(rng, c, 3, 3, 3), "pad": int8(rng, 3).astype(np.int32), **post(c, 30000)}),
        _layer("dw", "dw", ("stem",), (c, 5, 4), {"kernel": 3, "stride": 1}, swish,
               {"weight": weights(rng, c, 3, 3), "pad": int8(rng, c).astype(np.int32), **post(c, 12000)}),
        _layer("pw", "pw", ("dw",), (c, 5, 4), {"groups": 1}, Post("none", 3, Residual("stem", -11)),
               {"weight": weights(rng, c, c), **post(c, 12000, 160), "three": rng.integers(1, 16, c).astype(np.int32)}),
        _layer("down", "dw", ("pw",), (c, 3, 2), {"kernel": 5, "stride": 2}, plain_post,
               {"weight": weights(rng, c, 5, 5), "pad": int8(rng, c).astype(np.int32), **post(c, 20000, 160)}),
        _layer("qkv", "pw", ("down",), (24, 3, 2), {"groups": 1}, plain_post,
               {"weight": weights(rng, 24, c), **{**post(24, 8000, 160), "zero": np.zeros(24, np.int32)}}),
        _layer("agg", "pw", ("slice",), (12, 3, 2), {"groups": 3}, plain_post,
               {"weight": weights(rng, 12, 4), **{**post(12, 8000, 160), "zero": np.zeros(12, np.int32)}}),
        _layer("att", "attention", ("qkv", "agg"), (heads * dim, 3, 2),
               {"heads": heads, "dim": dim, "code_bits": code_bits, "z_bits": z_bits}, None,
               {"z_mult": shifts(20, 60), "z_shift": shifts(12, 14) + 8 - z_bits,
                "k_mult": shifts(20, 40), "k_shift": shifts(0, 2),
                "o_mult": shifts(200, 9000), "o_shift": shifts(7, 12) + z_bits - 8 - (0 if code_bits == 4 else 5),
                "div_min": shifts(11, 15)}),
        _layer("pool", "pool", ("att",), (12,), {}, plain_post, post(12, 600, 160)),
        _layer("fc1", "fc", ("pool",), (9,), vector, plain_post, {"weight": weights(rng, 9, 12), **post(9, 20000, 160)}),
        _layer("ln", "layernorm", ("fc1",), (9,), {}, swish,
               {"gamma": rng.integers(-1023, 1024, 9).astype(np.int32), **post(9, 500000)}),
        _layer("fc2", "fc", ("ln",), (5,), {"logits": True}, Post(), {"weight": weights(rng, 5, 9), **post(5, 20000, 9000)}),
    ]
    layers.insert(5, _layer("slice", "pw", ("down",), (12, 3, 2), {"groups": 4}, plain_post,
                            {"weight": weights(rng, 12, 2), **post(12, 8000, 160)}))
    artifact = Artifact(network={"name": "small", "resolution": [9, 7], "classes": 5, "task": "classification"}, layers=layers,
                        output="fc2", input_shape=(3, 9, 7), float_score={"score": 0.5, "metric": "top1", "images": 10})
    artifact.check()
    return artifact


def pictures(count=3, seed=1):
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([0, 255, 1, 254, *range(256)], np.uint8), (count, 3, 9, 7))


def plain_layer(layer, tensors):
    """All tensors that ``layer`` makes of one picture's ``tensors``, in object integers."""
    x, arrays, attrs, name = tensors[layer.inputs[0]], layer.arrays, layer.attrs, layer.name
    if layer.kind == "attention":
        inputs = [tensors[source] for source in layer.inputs]
        parts = plain.attention(inputs, attrs["dim"], arrays, attrs["code_bits"], attrs["z_bits"])
        return dict(zip((f"{name}.z", f"{name}.ksum", f"{name}.code", name), parts, strict=True))
    acc = {
        "conv": lambda: plain.conv(x, arrays["weight"], arrays["pad"], attrs["stride"]),
        "dw": lambda: plain.dw(x, arrays["weight"], arrays["pad"], attrs["stride"]),
        "pw": lambda: plain.pw(x, arrays["weight"], attrs["groups"]),
        "fc": lambda: plain.fc(x, arrays["weight"]),
        "pool": lambda: plain.pool(x),
        "layernorm": lambda: plain.layernorm(x, arrays["gamma"]),
    }[layer.kind]()
    out = np.zeros(acc.shape, object)
    rest = layer.post.residual
    for index in np.ndindex(*acc.shape):
        residual = None if rest is None else (tensors[rest.tensor][index], rest.zero)
        settings = {"act": layer.post.act, "out_shift": layer.post.out_shift, "logits": layer.logits}
        out[index] = plain.post(acc[index], index[0], arrays, residual=residual, **settings)
    return {name: out}


def plain_run(artifact, batch):
    """Every tensor of a batch, ``{name: int64 array}``."""
    runs = []
    for picture in batch:
        tensors = {"image": picture.astype(int) - 128}
        for layer in artifact.layers:
            tensors.update(plain_layer(layer, tensors))
        runs.append(tensors)
    return {name: np.array([run[name] for run in runs]).astype(np.int64) for name in runs[0] if name != "image"}
