"""A network as a list of operations in execution order: the names, shapes and tensors that everything else goes by."""

from dataclasses import dataclass

from quant.networks.spec import NetworkSpec, SegHeadSpec


@dataclass(frozen=True)
class Operation:
    """One operation, named and shaped as in the layer tables. ``kind`` is the artifact's kind of layer."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    c_in: int
    c_out: int
    size_in: tuple[int, int]
    size_out: tuple[int, int]
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    hardswish: bool = False
    bias: bool = False
    batchnorm: bool = False
    #: Name of the tensor that is added, or "".
    residual: str = ""
    #: Prefix of the operation's tensors in the state dict: ``<key>.weight``; the norm's are ``<norm_key>.weight`` etc.
    key: str = ""
    norm_key: str = ""
    #: Attention: heads over all scales and channels of a head.
    heads: int = 0
    dim: int = 0

    @property
    def output_shape(self) -> tuple[int, ...]:
        """``(C, H, W)``, or ``(C,)`` after the pool."""
        return (self.c_out, *self.size_out) if self.kind in ("conv", "pw", "dw", "attention", "upsample") else (self.c_out,)

    @property
    def weights(self) -> int:
        """Number of weights, biases and norms not counted."""
        return (
            0
            if self.kind in ("pool", "layernorm", "attention", "upsample")
            else self.c_out * (self.c_in // self.groups) * self.kernel**2
        )

    @property
    def macs(self) -> int:
        """Multiplications of the convolution or the fully connected layer (attention: see :func:`quant.inspect.layer_table`)."""
        return self.weights * self.size_out[0] * self.size_out[1]


class _Builder:
    """Appends operations, each reading the last one's output unless told otherwise."""

    def __init__(self, spec: NetworkSpec):
        self.spec = spec
        self.ops: list[Operation] = []
        self.tensor, self.channels, self.size = "image", 3, spec.resolution

    def conv(
        self,
        name: str,
        kind: str,
        c_out: int,
        key: str,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        hardswish: bool = False,
        norm: bool = True,
        bias: bool = False,
        residual: str = "",
        bare: bool = False,
    ) -> None:
        size_out = (-(-self.size[0] // stride), -(-self.size[1] // stride))
        self._add(
            Operation(
                name,
                kind,
                (self.tensor,),
                self.channels,
                c_out,
                self.size,
                size_out,
                kernel,
                stride,
                groups,
                hardswish,
                bias,
                norm,
                residual,
                key if bare else f"{key}.conv",
                f"{key}.norm" if norm else "",
            )
        )

    def _add(self, op: Operation) -> None:
        self.ops.append(op)
        self.tensor, self.channels, self.size = op.name, op.c_out, op.size_out

    def dsconv(self, name: str, key: str) -> None:
        source, channels = self.tensor, self.channels
        self.conv(f"{name}.dw", "dw", channels, f"{key}.depth_conv", kernel=3, groups=channels, hardswish=True)
        self.conv(f"{name}.pw", "pw", channels, f"{key}.point_conv", residual=source)

    def mbconv(self, name: str, c_out: int, key: str, stride: int, expand: int, *, fewer_norm: bool, shortcut: bool) -> None:
        source, middle = self.tensor, self.channels * expand
        norm, bias = not fewer_norm, fewer_norm
        self.conv(f"{name}.pw1", "pw", middle, f"{key}.inverted_conv", hardswish=True, norm=norm, bias=bias)
        self.conv(
            f"{name}.dw",
            "dw",
            middle,
            f"{key}.depth_conv",
            kernel=3,
            stride=stride,
            groups=middle,
            hardswish=True,
            norm=norm,
            bias=bias,
        )
        self.conv(f"{name}.pw2", "pw", c_out, f"{key}.point_conv", residual=source if shortcut else "")

    def attention(self, name: str, key: str) -> None:
        source, channels, dim = self.tensor, self.channels, self.spec.head_dim
        wide = 3 * channels
        self.conv(f"{name}.qkv", "pw", wide, f"{key}.qkv", norm=False)
        parts = [self.tensor]
        for index, kernel in enumerate(self.spec.scales):
            # One scale, as in every published network, keeps the layer tables' plain name.
            agg = f"{name}.agg" if len(self.spec.scales) == 1 else f"{name}.agg{index}"
            self.tensor = parts[0]
            self.conv(
                f"{agg}.dw{kernel}", "dw", wide, f"{key}.aggreg.{index}.0", kernel=kernel, groups=wide, norm=False, bare=True
            )
            self.conv(f"{agg}.gpw", "pw", wide, f"{key}.aggreg.{index}.1", groups=wide // dim, norm=False, bare=True)
            parts.append(self.tensor)
        heads = channels // dim * len(parts)
        self._add(
            Operation(
                f"{name}.att",
                "attention",
                tuple(parts),
                wide * len(parts),
                heads * dim,
                self.size,
                self.size,
                heads=heads,
                dim=dim,
            )
        )
        self.conv(f"{name}.proj", "pw", channels, f"{key}.proj", residual=source)

    def upsample(self, name: str, size: tuple[int, int], residual: str) -> None:
        self._add(Operation(name, "upsample", (self.tensor,), self.channels, self.channels, self.size, size, residual=residual))

    def segmentation_head(self, head: SegHeadSpec, stages: list[tuple[str, int, tuple[int, int]]]) -> None:
        """``stages`` are the last three outputs (tensor, channels, size), the smallest last."""
        total, size = "", stages[0][2]
        for index, (tensor, channels, own) in enumerate(reversed(stages)):
            stage, last = len(self.spec.widths) - 1 - index, index == len(stages) - 1
            self.tensor, self.channels, self.size = tensor, channels, own
            key = f"head.input_ops.{index}" + ("" if last else ".op_list.0")
            self.conv(f"head.in{stage}", "pw", head.width, key, residual=total if last else "")
            if not last:
                self.upsample(f"head.up{stage}", size, total)
            total = self.tensor
        for block in range(head.depth):
            self.mbconv(
                f"head.{block}.MB",
                head.width,
                f"head.middle.op_list.{block}.main",
                1,
                head.expand,
                fewer_norm=False,
                shortcut=True,
            )
        key = "head.output_ops.0.op_list"
        if head.widens:
            self.conv("head.out1", "pw", head.width * head.expand, f"{key}.0", hardswish=True)
        self.conv("head.out2", "pw", self.spec.classes, f"{key}.{int(head.widens)}", norm=False, bias=True)

    def head(self) -> None:
        spec, (wide, hidden), key = self.spec, self.spec.head_widths, "head.op_list"
        self.conv("head.conv", "pw", wide, f"{key}.0", hardswish=True)
        self._add(Operation("head.pool", "pool", (self.tensor,), wide, wide, self.size, (1, 1), kernel=self.size[0]))
        self._add(Operation("head.fc1", "fc", (self.tensor,), wide, hidden, (1, 1), (1, 1), key=f"{key}.2.linear"))
        self._add(
            Operation(
                "head.ln", "layernorm", (self.tensor,), hidden, hidden, (1, 1), (1, 1), hardswish=True, norm_key=f"{key}.2.norm"
            )
        )
        self._add(
            Operation("head.fc2", "fc", (self.tensor,), hidden, spec.classes, (1, 1), (1, 1), bias=True, key=f"{key}.3.linear")
        )


def operations(spec: NetworkSpec) -> list[Operation]:
    """Return the operations of a network in execution order."""
    build, stem = _Builder(spec), "backbone.input_stem.op_list"
    build.conv("stem.0", "conv", spec.widths[0], f"{stem}.0", kernel=3, stride=2, hardswish=True)
    for block in range(1, spec.depths[0] + 1):
        build.dsconv(f"stem.{block}", f"{stem}.{block}.main")
    outputs: list[tuple[str, int, tuple[int, int]]] = []
    for stage in range(1, len(spec.widths)):
        width, plain, key = spec.widths[stage], stage <= spec.plain_stages, f"backbone.stages.{stage - 1}.op_list"
        build.mbconv(f"S{stage}.0.MB", width, f"{key}.0.main", 2, spec.expand, fewer_norm=not plain, shortcut=False)
        for block in range(1, spec.depths[stage] + (0 if plain else 1)):
            if plain:
                build.mbconv(
                    f"S{stage}.{block}.MB", width, f"{key}.{block}.main", 1, spec.expand, fewer_norm=False, shortcut=True
                )
            else:
                build.attention(f"S{stage}.{block}.MLA", f"{key}.{block}.context_module.main")
                build.mbconv(
                    f"S{stage}.{block}.MB",
                    width,
                    f"{key}.{block}.local_module.main",
                    1,
                    spec.expand,
                    fewer_norm=True,
                    shortcut=True,
                )
        outputs.append((build.tensor, build.channels, build.size))
    if spec.seg_head is None:
        build.head()
    else:
        build.segmentation_head(spec.seg_head, outputs[-3:])
    return build.ops
