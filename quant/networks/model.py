"""EfficientViT as torch modules, with mit-han-lab's names of the tensors."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from quant.networks.spec import NetworkSpec


class ConvLayer(nn.Module):
    """Convolution, optional BatchNorm (then no bias), optional hardswish: float ``[N, C, H, W]`` to ``[N, C', H/s, W/s]``."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        *,
        norm: bool = True,
        bias: bool = False,
        act: bool = False,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=bias)
        if norm:
            self.norm = nn.BatchNorm2d(c_out, eps=eps)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        x = self.conv(x)
        if hasattr(self, "norm"):
            x = self.norm(x)
        return functional.hardswish(x) if self.act else x


class LinearLayer(nn.Module):
    """Linear, then LayerNorm and hardswish (no bias) or nothing (with bias): float ``[N, C]`` to ``[N, C']``."""

    def __init__(self, c_in: int, c_out: int, *, norm: bool, eps: float = 1e-5):
        super().__init__()
        self.linear = nn.Linear(c_in, c_out, bias=not norm)
        if norm:
            self.norm = nn.LayerNorm(c_out, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        x = self.linear(x)
        return functional.hardswish(self.norm(x)) if hasattr(self, "norm") else x


class DSConv(nn.Module):
    """Depthwise 3x3 with hardswish, then pointwise."""

    def __init__(self, channels: int, eps: float):
        super().__init__()
        self.depth_conv = ConvLayer(channels, channels, 3, groups=channels, act=True, eps=eps)
        self.point_conv = ConvLayer(channels, channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block without its shortcut."""
        return self.point_conv(self.depth_conv(x))


class MBConv(nn.Module):
    """Pointwise, depthwise 3x3 (both hardswish), pointwise. ``fewer_norm``: the first two have a bias and no BatchNorm."""

    def __init__(self, c_in: int, c_out: int, stride: int, expand: int, eps: float, *, fewer_norm: bool):
        super().__init__()
        middle, norm = c_in * expand, not fewer_norm
        self.inverted_conv = ConvLayer(c_in, middle, norm=norm, bias=fewer_norm, act=True, eps=eps)
        self.depth_conv = ConvLayer(middle, middle, 3, stride, middle, norm=norm, bias=fewer_norm, act=True, eps=eps)
        self.point_conv = ConvLayer(middle, c_out, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block without its shortcut."""
        return self.point_conv(self.depth_conv(self.inverted_conv(x)))


def linear_attention(qkv: Tensor, dim: int, eps: float) -> Tensor:
    """Softmax-free attention of every head: float ``[N, 3*d*H, h, w]``, ordered ``[q | k | v]`` a head, to ``[N, d*H, h, w]``."""
    n, _, h, w = qkv.shape
    q, k, v = qkv.reshape(n, -1, 3 * dim, h * w).split(dim, dim=2)
    q, k = q.relu(), k.relu()
    numerator = (v @ k.transpose(-1, -2)) @ q
    divisor = k.sum(-1, keepdim=True).transpose(-1, -2) @ q
    return (numerator / (divisor + eps)).reshape(n, -1, h, w)


class LiteMLA(nn.Module):
    """Multi-scale linear attention: qkv, one aggregated copy a scale, linear attention, projection."""

    def __init__(self, channels: int, dim: int, scales: tuple[int, ...], eps: float, attention_eps: float):
        super().__init__()
        wide = 3 * channels
        self.dim, self.attention_eps = dim, attention_eps
        self.qkv = ConvLayer(channels, wide, norm=False)
        self.aggreg = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide, bias=False),
                nn.Conv2d(wide, wide, 1, groups=wide // dim, bias=False),
            )
            for kernel in scales
        )
        self.proj = ConvLayer(channels * (1 + len(scales)), channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block without its shortcut."""
        qkv = self.qkv(x)
        scales = torch.cat([qkv, *(op(qkv) for op in self.aggreg)], dim=1)
        return self.proj(linear_attention(scales, self.dim, self.attention_eps))


class Residual(nn.Module):
    """``main``, added to its input where ``shortcut`` is set."""

    def __init__(self, main: nn.Module, *, shortcut: bool):
        super().__init__()
        self.main, self.shortcut = main, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return self.main(x) + x if self.shortcut else self.main(x)


class AttentionBlock(nn.Module):
    """Residual LiteMLA, then residual MBConv."""

    def __init__(self, channels: int, spec: NetworkSpec):
        super().__init__()
        self.context_module = Residual(
            LiteMLA(channels, spec.head_dim, spec.scales, spec.norm_eps, spec.attention_eps), shortcut=True
        )
        self.local_module = Residual(MBConv(channels, channels, 1, spec.expand, spec.norm_eps, fewer_norm=True), shortcut=True)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return self.local_module(self.context_module(x))


class Ops(nn.Module):
    """Operations one after the other, under the name ``op_list``."""

    def __init__(self, ops: list[nn.Module]):
        super().__init__()
        self.op_list = nn.ModuleList(ops)

    def forward(self, x: Tensor) -> Tensor:
        """Apply them in turn."""
        for op in self.op_list:
            x = op(x)
        return x


class GlobalPool(nn.Module):
    """The mean over all pixels: float ``[N, C, H, W]`` to ``[N, C]``."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the pool."""
        return x.mean((2, 3))


class Backbone(nn.Module):
    """The stem and the stages: float ``[N, 3, H, W]``, normalised, to the outputs of all stages."""

    def __init__(self, spec: NetworkSpec):
        super().__init__()
        stem, eps = spec.widths[0], spec.norm_eps
        first: list[nn.Module] = [ConvLayer(3, stem, 3, 2, act=True, eps=eps)]
        self.input_stem = Ops(first + [Residual(DSConv(stem, eps), shortcut=True) for _ in range(spec.depths[0])])
        self.stages = nn.ModuleList()
        for stage in range(1, len(spec.widths)):
            c_in, c_out, plain = spec.widths[stage - 1], spec.widths[stage], stage <= spec.plain_stages
            ops: list[nn.Module] = [Residual(MBConv(c_in, c_out, 2, spec.expand, eps, fewer_norm=not plain), shortcut=False)]
            if plain:
                ops += [
                    Residual(MBConv(c_out, c_out, 1, spec.expand, eps, fewer_norm=False), shortcut=True)
                    for _ in range(1, spec.depths[stage])
                ]
            else:
                ops += [AttentionBlock(c_out, spec) for _ in range(spec.depths[stage])]
            self.stages.append(Ops(ops))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the output of every stage, first to last."""
        x, outputs = self.input_stem(x), []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


class SegHead(nn.Module):
    """The last three stages brought to one width and size, added, MBConvs, the classes: ``[N, classes, H/8, W/8]``."""

    def __init__(self, spec: NetworkSpec):
        super().__init__()
        assert spec.seg_head is not None  # for the type checker: only segmentation networks have this head
        width, depth, expand, eps = spec.seg_head.width, spec.seg_head.depth, spec.seg_head.expand, spec.norm_eps
        c4, c3, c2 = spec.widths[-1], spec.widths[-2], spec.widths[-3]
        self.input_ops = nn.ModuleList(
            [Ops([ConvLayer(c4, width, eps=eps)]), Ops([ConvLayer(c3, width, eps=eps)]), ConvLayer(c2, width, eps=eps)]
        )
        self.middle = Ops([Residual(MBConv(width, width, 1, expand, eps, fewer_norm=False), shortcut=True) for _ in range(depth)])
        wide = width * expand if spec.seg_head.widens else width
        widening = [ConvLayer(width, wide, act=True, eps=eps)] if spec.seg_head.widens else []
        self.output_ops = nn.ModuleList([Ops([*widening, ConvLayer(wide, spec.classes, norm=False, bias=True)])])

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Return the logits at the size of the third stage from the end."""
        c4, c3, c2 = (op(x) for op, x in zip(self.input_ops, stages[:-4:-1], strict=True))
        up = [functional.interpolate(x, size=c2.shape[2:], mode="bicubic", align_corners=False) for x in (c4, c3)]
        return self.output_ops[0](self.middle(up[0] + up[1] + c2))


class EfficientViT(nn.Module):
    """The network of a :class:`NetworkSpec`: normalised float pictures ``[N, 3, H, W]`` to logits."""

    def __init__(self, spec: NetworkSpec):
        super().__init__()
        self.spec = spec
        self.backbone = Backbone(spec)
        if spec.seg_head is not None:
            self.head: nn.Module = SegHead(spec)
        else:
            wide, hidden = spec.head_widths
            self.head = Ops(
                [
                    ConvLayer(spec.widths[-1], wide, act=True, eps=spec.norm_eps),
                    GlobalPool(),
                    LinearLayer(wide, hidden, norm=True, eps=spec.norm_eps),
                    LinearLayer(hidden, spec.classes, norm=False),
                ]
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[N, classes]`` logits, or ``[N, classes, H/8, W/8]`` from a segmentation network."""
        stages = self.backbone(x)
        return self.head(stages if self.spec.seg_head is not None else stages[-1])

    def normalise(self, pictures: Tensor) -> Tensor:
        """Turn uint8 pictures ``[N, 3, H, W]`` into the network's float input."""
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (self.spec.mean, self.spec.std))
        return (pictures.float() / 255 - mean) / std
