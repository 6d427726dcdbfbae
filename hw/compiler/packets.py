"""The weight stream: packets of weights and post-processing parameters (docs/architecture.md, section 4)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hw.config import AcceleratorConfig
from hw.io.stream_decoder import HEADER, MAGIC, Kind
from quant.layer import POST_ARRAYS, Layer

Int8Array = npt.NDArray[np.int8]
#: Kinds of a packet, for each engine.
WEIGHTS = {"mat": Kind.MAT_WEIGHTS, "rmac": Kind.RMAC_WEIGHTS}
PARAMS = {"mat": Kind.MAT_PARAMS, "rmac": Kind.RMAC_PARAMS}
#: One channel's post-processing parameters in DRAM.
RECORD = np.dtype(
    [("bias", "<i4"), ("mult", "<u2"), ("shift", "u1"), ("spare", "u1"), ("three", "<u2"), ("zero", "<i2"), ("spare2", "<u4")]
)


def ring_rows(config: AcceleratorConfig) -> dict[int, int]:
    """Rows of the ring that each kind of packet fills."""
    weights: dict[int, int] = dict.fromkeys(WEIGHTS.values(), config.weight_rows)
    return weights | {PARAMS["mat"]: config.mat_param_rows, PARAMS["rmac"]: config.rmac_param_rows}


@dataclass(frozen=True)
class Packet:
    """Rows for one ring.

    ``payload`` is ``[rows][slots][bytes]``; ``split`` is the log2 of the pixel slots that share a channel slot's words.
    """

    kind: int
    split: int
    payload: npt.NDArray[np.uint8]

    @property
    def rows(self) -> int:
        """Rows of the ring that the packet fills."""
        return int(self.payload.shape[0])

    def beats(self, config: AcceleratorConfig) -> int:
        """Beats in the stream, header included."""
        return 1 + self.payload.size // config.beat_bytes

    def encode(self, config: AcceleratorConfig) -> bytes:
        """Header beat and payload."""
        header = HEADER.const({"magic": MAGIC, "kind": self.kind, "lp": self.split, "rows": self.rows})
        return header.as_bits().to_bytes(config.beat_bytes, "little") + self.payload.tobytes()


@dataclass(frozen=True)
class ChannelParams:
    """Post-processing parameters of a layer's channels, padded with zeros to whole channel groups."""

    records: npt.NDArray[np.void]

    @classmethod
    def of_layer(cls, layer: Layer, config: AcceleratorConfig) -> "ChannelParams":
        """From a layer's post arrays."""
        return cls.of(config, layer.output_shape[0], **{name: layer.arrays[name] for name in POST_ARRAYS})

    @classmethod
    def of(cls, config: AcceleratorConfig, channels: int, **values: object) -> "ChannelParams":
        """From arrays or single values, by name; what is missing is 0."""
        records = np.zeros(-(-channels // config.m) * config.m, RECORD)
        for name, value in values.items():
            records[name][:channels] = value
        return cls(records)

    def groups(self, first: int, count: int, config: AcceleratorConfig) -> npt.NDArray[np.uint8]:
        """``[count][bytes]`` of the channel groups from ``first``; groups beyond the last are zero."""
        size = config.m
        block = np.zeros(count * size, RECORD)
        have = self.records[first * size : (first + count) * size]
        block[: len(have)] = have
        raw = np.zeros((count, config.param_beats * config.beat_bytes), np.uint8)
        raw[:, : size * RECORD.itemsize] = block.view(np.uint8).reshape(count, size * RECORD.itemsize)
        return raw


def param_packet(config: AcceleratorConfig, engine: str, split: int, params: ChannelParams, first_groups: list[int]) -> Packet:
    """One row for each of ``first_groups``: its slots are the channel groups from there on."""
    slots = config.l >> split
    return Packet(PARAMS[engine], split, np.stack([params.groups(first, slots, config) for first in first_groups]))


def matrix_packet(config: AcceleratorConfig, engine: str, split: int, matrix: Int8Array, first_group: int) -> Packet:
    """Weights of one tile: slot ``c`` holds channel group ``first_group + c``, row ``k`` input word ``k``.

    ``matrix`` is ``[C_out, depth * m]``, input channels padded.
    """
    size, slots = config.m, config.l >> split
    depth = matrix.shape[1] // size
    block = np.zeros((slots * config.n, depth * size), np.int8)
    have = matrix[first_group * size : first_group * size + slots * config.n]
    block[: len(have)] = have
    payload = block.reshape(slots, config.n, depth, size).transpose(2, 0, 1, 3)
    return Packet(WEIGHTS[engine], split, np.ascontiguousarray(payload).view(np.uint8).reshape(depth, slots, -1))


def depthwise_packet(config: AcceleratorConfig, weight: Int8Array, pad: npt.NDArray[np.int32], fold: int = 0) -> Packet:
    """All weights of a DW layer, ``weight`` being ``[C, taps]`` and ``pad`` ``[C]``.

    A row holds ``taps_per_row`` taps of a set of ``wide`` channel groups, and in its last lane their padding. Folded channel
    groups are ``wide >> fold``, and come as often as there are chunks.
    """
    size, wide = config.s, config.wide
    if fold:
        share = (wide >> fold) * size
        filled = np.zeros((share, weight.shape[1] + 1), np.int32)
        filled[: len(weight)] = np.column_stack([weight, pad])
        filled = np.tile(filled, (1 << fold, 1))
        weight, pad = filled[:, :-1].astype(np.int8), filled[:, -1]
    channels, taps = weight.shape
    sets, rows = -(-channels // (wide * size)), -(-taps // config.taps_per_row)
    block = np.zeros((sets * wide * size, rows * config.taps_per_row), np.int8)
    block[:channels, :taps] = weight
    lanes = np.zeros((sets * wide * size, rows, config.t), np.int8)
    lanes[..., :-1] = block.reshape(-1, rows, config.taps_per_row)
    lanes[:channels, :, -1] = pad[:, None]
    payload = lanes.reshape(sets, wide, size, rows, config.t).transpose(0, 3, 1, 4, 2)
    split = (config.l // wide).bit_length() - 1
    return Packet(WEIGHTS["rmac"], split, np.ascontiguousarray(payload).view(np.uint8).reshape(sets * rows, wide, -1))


def gamma_packet(config: AcceleratorConfig, gamma: npt.NDArray[np.int32]) -> Packet:
    """LayerNorm's factors: word ``k`` lies in row ``k div l``, slot ``k mod l``: lane 0 the low bytes, lane 1 the high bytes."""
    size = config.m
    rows = -(-len(gamma) // (size * config.l))
    padded = np.zeros(rows * config.l * size, np.int16)
    padded[: len(gamma)] = gamma
    raw = padded.view(np.uint8).reshape(rows, config.l, size, 2)
    payload = np.zeros((rows, config.l, config.n, size), np.uint8)
    payload[:, :, 0], payload[:, :, 1] = raw[..., 0], raw[..., 1]
    return Packet(WEIGHTS["mat"], 0, payload.reshape(rows, config.l, -1))
