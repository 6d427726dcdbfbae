"""What the integer contract allows and no configuration computes, each refused with the layer and the reason."""

from hw.compiler.bands import readers
from hw.config import AcceleratorConfig
from quant.artifact import Artifact
from quant.layer import Layer
from triovit.errors import UserError


def refuse_what_no_engine_does(artifact: Artifact) -> None:
    """Layers that no engine computes, or that read or write what theirs cannot.

    Raises
    ------
    UserError
        Names the first one.
    """
    image, output = artifact.input_name, artifact.output
    for layer in artifact.layers:
        if layer.kind == "upsample":
            raise UserError(
                f"layer {layer.name}: enlarges a map, which no engine does; evaluate segmentation networks with the golden model"
            )
        product = layer.kind in ("conv", "fc") or (layer.kind == "pw" and layer.attrs["groups"] == 1)
        if layer.post is not None and layer.post.residual is not None and not product:
            raise UserError(
                f"layer {layer.name}: a residual of a {layer.kind} layer cannot be mapped; "
                "only a 1x1 product without groups can have one"
            )
        if layer.kind != "conv" and image in layer.inputs:
            raise UserError(f"layer {layer.name}: reads the picture, which only the stem, a dense convolution, can do")
        if layer.logits and layer.name != output:
            raise UserError(f"layer {layer.name}: keeps 16-bit logits, which only the network's output can do")
        read = readers(artifact.layers, output) if layer.name == output else []
        if read:
            user = read[0].name
            raise UserError(f"layer {layer.name}: is the network's output and read by layer {user}; an output has no readers")


def refuse_all_but_the_stem(layer: Layer, artifact: Artifact, config: AcceleratorConfig) -> None:
    """Dense convolutions that LOAD cannot unfold, and pictures of a size that it cannot have.

    Raises
    ------
    UserError
        It is one of them.
    """
    _, height, width = artifact.input_shape
    if (
        layer.inputs != (artifact.input_name,)
        or layer.attrs["kernel"] != 3
        or layer.attrs["stride"] != 2
        or layer.arrays["weight"].shape[1] != 3
    ):
        raise UserError(
            f"layer {layer.name}: only the stem, a 3x3 convolution of the picture's 3 channels with stride 2, can "
            f"be mapped as a dense convolution"
        )
    if not 4 <= width <= config.max_picture_width or width % 2 or height % 2:
        raise UserError(
            f"layer {layer.name}: a picture of {width}x{height} cannot be loaded by configuration {config.name}; "
            f"width and height must be even and the width from 4 to {config.max_picture_width}"
        )


def refuse_parameters(layer: Layer, rows: int, engine: str, config: AcceleratorConfig) -> None:
    """A layer whose output channels take more rows of parameters than the ring of ``engine``, MAT or R-MAC, has.

    Raises
    ------
    UserError
        Names the layer, what it needs and what there is.
    """
    most = {"MAT": config.mat_param_rows, "R-MAC": config.rmac_param_rows}[engine]
    if rows > most:
        raise UserError(
            f"layer {layer.name}: {layer.output_shape[0]} output channels need {rows} rows of {engine}'s parameters, of which "
            f"configuration {config.name} has {most} (param_rows = {config.param_rows}); use a larger one"
        )
