"""What makes vectors and normalizes them: pooling on R-MAC, LayerNorm on MAT."""

from amaranth.utils import exact_log2

from hw.compiler.lower.fields import Destination, post_fields, source_fields
from hw.compiler.packets import ChannelParams, gamma_packet, param_packet
from hw.compiler.places import Place
from hw.compiler.refusals import refuse_parameters
from hw.compiler.tasks import ALL, Task
from hw.config import AcceleratorConfig
from hw.control.descriptor import Opcode
from hw.interfaces import LN_WORDS
from quant.layer import Layer
from triovit.errors import UserError


def _vector_rows(layer: Layer, groups: int, words: int, engine: str, config: AcceleratorConfig) -> list[int]:
    """First channel group of each parameter row of a vector, ``words`` of them to a row."""
    firsts = list(range(0, groups, words))
    refuse_parameters(layer, len(firsts), engine, config)
    return firsts


def pool(layer: Layer, tag: int, source: Place, destination: Destination, config: AcceleratorConfig) -> Task:
    """Average pooling: the row sum unit of R-MAC; the vector becomes pixel 0 of the destination."""
    params = ChannelParams.of_layer(layer, config)
    firsts = _vector_rows(layer, source.groups, config.l, "R-MAC", config)
    fields = {
        "tag": tag,
        **source_fields(source),
        **destination.fields(),
        **post_fields(layer, None),
        "px_end": source.pixels,
        "lp": 0,
        "tiles": source.groups,
    }
    return Task(layer.name, Opcode.POOL, fields, ALL, (param_packet(config, "rmac", 0, params, firsts),))


def layer_norm(layer: Layer, tag: int, source: Place, destination: Destination, config: AcceleratorConfig) -> Task:
    """LayerNorm of the vectors that are the pixels of the source; MAT streams each twice."""
    params = ChannelParams.of_layer(layer, config)
    firsts = _vector_rows(layer, source.groups, LN_WORDS, "MAT", config)
    gamma = gamma_packet(config, layer.arrays["gamma"])
    if gamma.rows > config.weight_rows:
        raise UserError(
            f"layer {layer.name}: {layer.output_shape[0]} channels exceed weight_rows = {config.weight_rows} of "
            f"configuration {config.name}; use a larger one"
        )
    packets = (param_packet(config, "mat", exact_log2(config.l // LN_WORDS), params, firsts), gamma)
    fields = {
        "tag": tag,
        **source_fields(source),
        **destination.fields(),
        **post_fields(layer, None),
        "px_end": source.pixels,
        "lp": 0,
        "tiles": 1,
        "depth": source.groups,
        "count": layer.output_shape[0],
    }
    return Task(layer.name, Opcode.LN, fields, ALL, packets)
