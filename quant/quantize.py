"""Post-training quantization: a float network and some pictures become an artifact."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quant.artifact import Artifact
from quant.data import Labels, Pictures, Progress, check_pictures
from quant.float_weights import float_settings, float_weights
from quant.inspect import require_mappable
from quant.layer import Layer
from quant.networks.model import EfficientViT
from quant.networks.spec import NetworkSpec
from quant.ptq.attention import attention_arrays
from quant.ptq.encoding import Encoding, plain, scaled, shifted, stepped
from quant.ptq.equalize import attention_outputs, attention_steps
from quant.ptq.export import Exporter, image_encoding
from quant.ptq.graph import FloatLayer, fold
from quant.ptq.observe import Observations, Statistics, observe
from quant.ptq.options import Options
from quant.ptq.output_effect import weighed
from quant.ptq.own_ranges import Range, free_ranges, own_ranges
from quant.ptq.remedies import migrated_tensors, migration_factors, shifted_tensors, shifts
from quant.reconstruct.run import reconstruct
from triovit.errors import UserError

#: Significant digits of the report's real numbers.
_DIGITS = 6


def quantize(
    model: nn.Module,
    calib_pictures: Pictures,
    options: Options | None = None,
    *,
    scored: tuple[Pictures, Labels] | None = None,
    state: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Artifact:
    """Quantize an EfficientViT with ranges from uint8 pictures ``[N, 3, H, W]``; a segmentation network's backbone only.

    Parameters
    ----------
    model
        The float network; unchanged afterwards.
    calib_pictures
        Pictures at the network's resolution, not used for scoring.
    options
        Settings; see :class:`quant.ptq.options.Options`.
    scored
        Pictures and labels; with them the artifact records the float network's top-1.
    state
        Directory of the blocks whose reconstruction is finished; an interrupted one goes on from there.
    device
        Where blocks are reconstructed, ``"cpu"`` or ``"cuda"``.
    progress
        Called with ``(stage, done, total)``.

    Raises
    ------
    UserError
        The network cannot be mapped, the pictures are of another type or size, or a bound of the integer contract cannot be kept.
    """
    network, options = require_mappable(model), options or Options()
    spec = network.spec
    pictures = torch.from_numpy(check_pictures(calib_pictures, spec.resolution))
    was_training = network.training
    network.eval()
    try:
        layers = fold(network)
        seen = observe(network, layers, pictures, options.attention_pictures, progress, with_moments=options.compensation)
        score = _float_score(network, scored, progress)
    finally:
        network.train(was_training)
    _require_finite(seen)
    ranges = free_ranges([layer.op for layer in layers], seen) if options.equalization else {}
    if options.output_effect:
        ranges |= weighed(network, layers, pictures, ranges, seen.statistics, progress)
    encodings = _encode(spec, layers, seen, ranges, options)
    attention: dict[str, Any] = {}

    def export(exporter: Exporter, layer: FloatLayer) -> Layer:
        if layer.op.kind == "attention":
            made, attention[layer.op.name] = _attention(layer, seen, exporter.encodings, options)
            return made
        return exporter.layer(layer, logits=layer is layers[-1])

    exporter, done, learned = Exporter(encodings, seen, options), [], {}
    if options.reconstruction:
        better = reconstruct(
            network, layers, pictures, encodings, seen, options, export, directory=state, device=device, progress=progress
        )
        encodings |= better.result.encodings
        exporter, learned = Exporter(encodings, seen, options, better.result.rounded), {"reconstruction": better.report}
    for index, layer in enumerate(layers):
        done.append(export(exporter, layer))
        if progress:
            progress("exporting", index + 1, len(layers))
    artifact = Artifact(
        network={
            "name": spec.name,
            "resolution": list(spec.resolution),
            "classes": spec.classes,
            "task": spec.task,
            **float_settings(spec),
        },
        layers=done,
        output=layers[-1].op.name,
        input_shape=(3, *spec.resolution),
        quantization=options.to_dict(),
        # The encodings as they are in the end: the exporter aligns residuals.
        calibration={
            "pictures": len(pictures),
            "remedies": _remedies(layers, seen, encodings),
            "factors": _factors(encodings, done),
            "attention": attention,
            **learned,
        },
        float_score=score,
        float_weights=float_weights(network),
    )
    artifact.check(spec.name)
    return artifact


def _require_finite(seen: Observations) -> None:
    for name, statistics in seen.statistics.items():
        if not (statistics.low.isfinite().all() and statistics.high.isfinite().all()):
            raise UserError(
                f"layer {name}: its output is not finite on the calibration pictures; check the weights and the pictures"
            )


def _encode(
    spec: NetworkSpec, layers: list[FloatLayer], seen: Observations, ranges: dict[str, Range], options: Options
) -> dict[str, Encoding]:
    """Choose every tensor's encoding; the picture's is given, and the ``ranges`` of those whose channels have one each."""
    ops = [layer.op for layer in layers]
    divided = migrated_tensors(ops) if options.migration else set()
    moved = shifted_tensors(ops) if options.shifting else set()
    # What attention reads and writes has no zero point, so that products of matrices need no corrections.
    symmetric = {name for op in ops if op.kind == "attention" for name in (op.name, *op.inputs)}
    symmetric |= {op.name for op in ops if op.kind == "dw" and not op.hardswish}
    steps = attention_steps(ops, seen, options.z_bits) if options.equalization else {}
    factors = attention_outputs(ops, seen, steps) if options.equalization else {}
    encodings = {"image": image_encoding(spec)}
    for op in ops:
        statistics = seen.statistics[op.name]
        if op.name in steps:
            encodings[op.name] = stepped(steps[op.name])
        elif op.name in ranges:
            readers = [layer for layer in layers if op.name in layer.op.inputs]
            remedy = "shifting" if op.name in moved else "equalization"
            encodings[op.name] = own_ranges(ranges[op.name], statistics, readers, remedy)
        elif op.name in moved:
            encodings[op.name] = shifted(statistics, shifts(statistics), options)
        elif op.name in factors:
            encodings[op.name] = scaled(statistics, factors[op.name], options, "equalization", symmetric=True)
        elif op.name in divided:
            encodings[op.name] = scaled(statistics, migration_factors(statistics), options, "migration")
        else:
            encodings[op.name] = plain(statistics, options, symmetric=op.name in symmetric)
    return encodings


def _attention(
    layer: FloatLayer, seen: Observations, encodings: dict[str, Encoding], options: Options
) -> tuple[Layer, dict[str, Any]]:
    op, target = layer.op, encodings[layer.op.name]
    arrays, exponents = attention_arrays(op, seen, [encodings[name] for name in op.inputs], target, options)
    made = Layer(
        op.name,
        "attention",
        op.inputs,
        op.output_shape,
        target.scale,
        {"heads": op.heads, "dim": op.dim, "code_bits": options.code_bits, "z_bits": options.z_bits},
        None,
        dict(arrays),
    )
    return made, {name: [float(f"{value:.{_DIGITS}g}") for value in values] for name, values in exponents.items()}


def _remedies(layers: list[FloatLayer], seen: Observations, encodings: dict[str, Encoding]) -> dict[str, Any]:
    """Each channel's range at the inputs of DWConvs and of the PWConvs behind them, before and after the remedy."""
    ops = [layer.op for layer in layers]
    report = {}
    for remedy, names in (("migration", migrated_tensors(ops)), ("shifting", shifted_tensors(ops))):
        for op in ops:
            if op.name in names:
                report[op.name] = _ranges(remedy, seen.statistics[op.name], encodings[op.name])
    return report


def _ranges(remedy: str, statistics: Statistics, encoding: Encoding) -> dict[str, Any]:
    """``remedy`` is the one that the tensor's place is for; ``encoding`` says what was done: equalization may do its work."""
    moved = -encoding.scale * encoding.factors * encoding.zeros if encoding.own_zeros else torch.zeros_like(encoding.zeros)
    low, high = ((values - moved) / encoding.factors for values in (statistics.low, statistics.high))
    return {
        "remedy": remedy,
        "applied": encoding.remedy == remedy or (remedy, encoding.remedy) == ("migration", "equalization"),
        "encoding": encoding.remedy,
        "scale": encoding.scale,
        "low_before": _plain(statistics.low),
        "high_before": _plain(statistics.high),
        "low_after": _plain(low),
        "high_after": _plain(high),
    }


def _factors(encodings: dict[str, Encoding], layers: list[Layer]) -> dict[str, list[float]]:
    """The channels' factors of every layer's tensor, where they are not all 1."""
    return {
        layer.name: _plain(factors)
        for layer in layers
        if not layer.logits and not bool(((factors := encodings[layer.name].factors) == 1).all())
    }


def _plain(values: Tensor) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values.tolist()]


def _float_score(network: EfficientViT, scored: tuple[Pictures, Labels] | None, progress: Progress | None) -> dict[str, Any]:
    """The manifest's ``float``: top-1 of the float network on labelled pictures; empty without them."""
    if scored is None or network.spec.seg_head is not None:
        return {}
    pictures, right = check_pictures(scored[0], network.spec.resolution), 0
    labels = torch.from_numpy(scored[1])
    if len(labels) != len(pictures):
        raise UserError(f"labels: are {len(labels)} for {len(pictures)} pictures; give one a picture")
    with torch.no_grad():
        for start in range(0, len(pictures), 16):
            part = torch.from_numpy(pictures[start : start + 16])
            right += int((network(network.normalise(part)).argmax(1) == labels[start : start + 16]).sum())
            if progress:
                progress("scoring the float network", min(start + 16, len(pictures)), len(pictures))
    return {"score": right / len(pictures), "metric": "top1", "images": len(pictures)}
