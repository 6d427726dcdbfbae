"""Which layers are learned together."""

from quant.networks.layout import operations
from quant.networks.spec import spec
from quant.ptq.graph import FloatLayer, fold
from quant.reconstruct.blocks import blocks


def bare(name: str) -> list[FloatLayer]:
    import torch

    return [FloatLayer(op, torch.empty(0), torch.empty(0)) for op in operations(spec(name))]


def test_blocks_of_a_classifier(network):
    layers = fold(network)
    found = blocks(layers)
    assert [layer for block in found for layer in block.layers] == layers
    assert [block.name for block in found[:4]] == ["stem.0", "stem.1", "S1.0.MB", "S2.0.MB"]
    assert [op.name for op in found[-2].ops] == ["head.conv", "head.pool"]
    assert [op.name for op in found[-1].ops] == ["head.fc1", "head.ln", "head.fc2"]


def test_only_the_last_output_of_a_block_is_read_by_others():
    for name in ("b0", "b1", "b2-seg"):
        found = blocks(bare(name))
        inner = {op.name for block in found for op in block.ops[:-1]}
        assert not inner & {name for block in found for name in block.inputs}
        assert len({block.name for block in found}) == len(found)


def test_blocks_of_a_segmentation_head():
    heads = [[op.name for op in block.ops] for block in blocks(bare("b0-seg")) if block.name.startswith("head")]
    assert heads == [
        ["head.in4", "head.up4"],
        ["head.in3", "head.up3"],
        ["head.in2"],
        ["head.0.MB.pw1", "head.0.MB.dw", "head.0.MB.pw2"],
        ["head.out1", "head.out2"],
    ]


def test_what_a_block_reads_and_is():
    found = {block.name: block for block in blocks(bare("b0-seg"))}
    attention, strided, head = found["S3.1.MLA"], found["S3.0.MB"], found["head.in3"]
    assert (attention.inputs, attention.attends, attention.local) == (["S3.0.MB.pw2"], True, False)
    assert (strided.stride, strided.local, strided.attends) == (2, True, False)
    assert (head.inputs, head.local) == (["S3.2.MB.pw2", "head.up4"], False)
