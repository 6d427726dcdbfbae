"""Networks with a segmentation head, whose upsampling no engine computes."""

import pytest

from hw.compiler.compile import compile_network
from hw.config import TOY
from quant.layer import Post
from tests.support.networks import NetworkBuilder
from triovit.errors import UserError


@pytest.mark.parametrize("factor", [2, 4])
def test_a_network_that_enlarges_a_map_is_refused_by_name(factor):
    net = NetworkBuilder(1, 8, 8)
    source = net.pw("head.in4", net.stem(4), 8)
    channels, height, width = net.shapes[source]
    shape = (channels, factor * height, factor * width)
    net._add("head.up4", "upsample", (source,), shape, {"factor": factor}, Post(), net._post_arrays(channels, 1, "none"))
    net.pw("head.out", "head.up4", 4)
    with pytest.raises(UserError) as error:
        compile_network(net.artifact(), TOY)
    assert str(error.value) == (
        "layer head.up4: enlarges a map, which no engine does; evaluate segmentation networks with the golden model"
    )
