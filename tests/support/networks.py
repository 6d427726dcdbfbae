"""Small random networks of integers, layer by layer: what the hardware is tested with when no trained network is needed."""

import numpy as np

from quant.artifact import Artifact
from quant.contract import ACT_BITS, CODE_BITS, CODE_WIDTHS, LOW_BITS, Z_WIDTHS
from quant.layer import Layer, Post, Residual


class NetworkBuilder:
    """Appends random layers; shapes follow from what came before.

    Multipliers are chosen so that outputs fill the int8 range and saturate now and then.
    """

    def __init__(self, seed: int, height: int, width: int):
        self.rng = np.random.default_rng(seed)
        self.layers: list[Layer] = []
        self.input_shape = (3, height, width)
        self.shapes: dict[str, tuple[int, ...]] = {"image": self.input_shape}

    def _post_arrays(self, channels: int, terms: int, act: str, spread: float = 40.0) -> dict[str, np.ndarray]:
        rng = self.rng
        # A sum of ``terms`` products of two values of about 60 has a deviation near 3600 * sqrt(terms).
        target = spread * (32 if act == "hardswish" else 1)
        gain = target / (3600.0 * np.sqrt(terms)) * rng.uniform(0.5, 2.0, channels)
        shift = np.floor(np.log2(65535 / gain)).astype(np.int32)
        mult = np.round(gain * 2.0**shift).astype(np.int32)
        shift, mult = np.where(shift > 47, 47, shift).astype(np.int32), np.clip(mult, 1, 65535).astype(np.int32)
        return {
            "bias": rng.integers(-5000, 5000, channels).astype(np.int32),
            "mult": mult,
            "shift": shift,
            "three": rng.integers(200, 2000, channels).astype(np.int32) if act == "hardswish" else np.zeros(channels, np.int32),
            "zero": rng.integers(-40, 40, channels).astype(np.int32),
        }

    def _add(
        self, name: str, kind: str, inputs: tuple[str, ...], shape: tuple[int, ...], attrs: dict, post: Post | None, arrays: dict
    ) -> str:
        self.layers.append(Layer(name, kind, inputs, shape, 1.0, attrs, post, arrays))
        self.shapes[name] = shape
        return name

    def _weights(self, *shape: int) -> np.ndarray:
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        # Extremes must occur.
        flat = weights.reshape(-1)
        flat[0], flat[-1] = -127, 127
        return weights

    def stem(self, channels: int, act: str = "hardswish") -> str:
        _, h, w = self.input_shape
        arrays = {
            "weight": self._weights(channels, 3, 3, 3),
            "pad": self.rng.integers(-128, 128, 3).astype(np.int32),
            **self._post_arrays(channels, 27, act),
        }
        post = Post(act, 12 if act == "hardswish" else 0)
        return self._add(
            "stem.0", "conv", ("image",), (channels, (h + 1) // 2, (w + 1) // 2), {"kernel": 3, "stride": 2}, post, arrays
        )

    def pw(self, name: str, source: str, channels: int, act: str = "none", residual: str | None = None, groups: int = 1) -> str:
        c, h, w = self.shapes[source]
        shift = 0
        link = None
        if act == "hardswish":
            shift = 12
        elif residual is not None:
            shift, link = 4, Residual(residual, int(self.rng.integers(-128, 128)))
        spread = 40.0 * (1 << shift) if residual is not None else 40.0
        arrays = {"weight": self._weights(channels, c // groups), **self._post_arrays(channels, c // groups, act, spread)}
        if residual is not None:
            arrays["three"] = self.rng.integers(1, 40, channels).astype(np.int32)
        return self._add(name, "pw", (source,), (channels, h, w), {"groups": groups}, Post(act, shift, link), arrays)

    def dw(self, name: str, source: str, kernel: int = 3, stride: int = 1, act: str = "hardswish") -> str:
        c, h, w = self.shapes[source]
        arrays = {
            "weight": self._weights(c, kernel, kernel),
            "pad": self.rng.integers(-128, 128, c).astype(np.int32),
            **self._post_arrays(c, kernel * kernel, act),
        }
        attrs = {"kernel": kernel, "stride": stride}
        return self._add(
            name,
            "dw",
            (source,),
            (c, -(-h // stride), -(-w // stride)),
            attrs,
            Post(act, 12 if act == "hardswish" else 0),
            arrays,
        )

    def attention(
        self, name: str, sources: tuple[str, ...], dim: int, code_bits: int | None = None, z_bits: int | None = None
    ) -> str:
        """Heads of ``dim`` channels; without ``code_bits`` and ``z_bits`` the widths are drawn at random."""
        code_bits = int(self.rng.choice(CODE_WIDTHS)) if code_bits is None else code_bits
        z_bits = int(self.rng.choice(Z_WIDTHS)) if z_bits is None else z_bits
        c, h, w = self.shapes[sources[0]]
        heads = c // (3 * dim) * len(sources)
        pixels = h * w

        def scale(gain: float) -> tuple[np.ndarray, np.ndarray]:
            shift = np.full(heads, int(np.floor(np.log2(65535 / gain))), np.int32)
            return np.full(heads, int(gain * 2.0 ** shift[0]), np.int32), shift

        # What has more bits is as much larger, and now and then saturates.
        finer = z_bits - ACT_BITS
        z_mult, z_shift = scale((50 << finer) / (1500 * np.sqrt(pixels)))
        k_mult, k_shift = scale((100 << LOW_BITS) / (30 * pixels))
        o_mult, o_shift = scale(64.0 * 2 ** (LOW_BITS - finer))
        div_min = self.rng.integers(2 + LOW_BITS, 8 + LOW_BITS, heads).astype(np.int32)
        arrays = {
            "z_mult": z_mult,
            "z_shift": z_shift,
            "k_mult": k_mult,
            "k_shift": k_shift,
            "o_mult": o_mult,
            # About 64 N / D; to the reciprocals of codes with a fraction a factor of 32 and more is left.
            "o_shift": o_shift + div_min - (0 if code_bits == CODE_BITS else 5),
            "div_min": div_min,
        }
        attrs = {"heads": heads, "dim": dim, "code_bits": code_bits, "z_bits": z_bits}
        return self._add(name, "attention", sources, (heads * dim, h, w), attrs, None, arrays)

    def pool(self, name: str, source: str) -> str:
        c, h, w = self.shapes[source]
        arrays = self._post_arrays(c, 1, "none")
        gain = 1.0 / (h * w)
        shift = int(np.floor(np.log2(65535 / gain)))
        arrays["mult"][:], arrays["shift"][:] = int(gain * 2.0 ** min(shift, 47)), min(shift, 47)
        arrays["bias"][:] = self.rng.integers(-500, 500)
        arrays["zero"][:] = 0
        return self._add(name, "pool", (source,), (c,), {}, Post(), arrays)

    def fc(self, name: str, source: str, channels: int, logits: bool = False) -> str:
        c = self.shapes[source][0]
        arrays = {"weight": self._weights(channels, c), **self._post_arrays(channels, c, "none", 4000.0 if logits else 40.0)}
        return self._add(name, "fc", (source,), (channels,), {"logits": logits}, Post(), arrays)

    def layernorm(self, name: str, source: str) -> str:
        c = self.shapes[source][0]
        arrays = self._post_arrays(c, 1, "hardswish")
        arrays["gamma"] = self.rng.integers(-1023, 1024, c).astype(np.int32)
        arrays["bias"] = self.rng.integers(-(2**18), 2**18, c).astype(np.int32)
        arrays["mult"][:], arrays["shift"][:] = 40000, 25
        return self._add(name, "layernorm", (source,), (c,), {}, Post("hardswish", 12), arrays)

    def head(self, source: str, width: int, hidden: int, classes: int) -> "NetworkBuilder":
        """The classifier: 1x1, pooling, FC with LayerNorm, FC."""
        conv = self.pw("head.conv", source, width, "hardswish")
        vector = self.fc("head.fc1", self.pool("head.pool", conv), hidden)
        self.fc("head.fc2", self.layernorm("head.ln", vector), classes, logits=True)
        return self

    def artifact(self) -> Artifact:
        network = {
            "name": "random",
            "resolution": list(self.input_shape[1:]),
            "classes": self.layers[-1].output_shape[0],
            "task": "classification",
        }
        artifact = Artifact(network=network, layers=self.layers, output=self.layers[-1].name, input_shape=self.input_shape)
        artifact.check()
        return artifact
