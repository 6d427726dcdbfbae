"""Random geometry: whatever the compiler accepts, the datapath computes."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hw.config import TOY
from tests.support.configs import FOUR_BY_EIGHT
from tests.support.core_check import check
from tests.support.networks import NetworkBuilder

CONFIGS = [
    TOY,
    TOY.with_(name="batches", z_rows=8, divisor_rows=16),
    TOY.with_(name="small-rings", weight_rows=64, param_rows=8, result_depth=4),
    FOUR_BY_EIGHT,
]


@st.composite
def networks(draw: st.DrawFn) -> NetworkBuilder:
    """A stem, one to three blocks of any kind, sometimes a classifier."""
    net = NetworkBuilder(draw(st.integers(0, 10_000)), 2 * draw(st.integers(1, 5)), 2 * draw(st.integers(2, 7)))
    last = net.stem(draw(st.integers(1, 20)), draw(st.sampled_from(["hardswish", "none"])))
    blocks = st.sampled_from(["mbconv", "dsconv", "attention", "group", "product"])
    for index, kind in enumerate(draw(st.lists(blocks, min_size=1, max_size=3))):
        channels = net.shapes[last][0]
        kernel, stride = draw(st.sampled_from([3, 5])), draw(st.sampled_from([1, 1, 2]))
        act = draw(st.sampled_from(["hardswish", "none"]))
        narrow = channels if draw(st.booleans()) else draw(st.integers(1, 24))
        residual = last if stride == 1 and narrow == channels else None
        match kind:
            case "mbconv":
                hidden = net.pw(f"{index}.pw1", last, draw(st.integers(1, 24)), act)
                last = net.pw(f"{index}.pw2", net.dw(f"{index}.dw", hidden, kernel, stride), narrow, residual=residual)
            case "dsconv":
                last = net.pw(f"{index}.pw", net.dw(f"{index}.dw", last, kernel, stride, act), narrow, residual=residual)
            case "attention":
                dim, heads = draw(st.sampled_from([4, 8])), draw(st.integers(1, 3))
                qkv = net.pw(f"{index}.qkv", last, 3 * dim * heads)
                sources = (qkv,)
                if draw(st.booleans()):
                    aggregated = net.dw(f"{index}.agg.dw", qkv, kernel, act="none")
                    sources = (qkv, net.pw(f"{index}.agg.gpw", aggregated, 3 * dim * heads, groups=3 * heads))
                attended = net.attention(f"{index}.att", sources, dim)
                last = net.pw(f"{index}.proj", attended, channels, residual=last)
            case "group":
                groups, size, out = draw(st.integers(2, 4)), 4 * draw(st.integers(1, 3)), draw(st.sampled_from([4, 8, 16]))
                last = net.pw(f"{index}.gpw", net.pw(f"{index}.in", last, groups * size, act), groups * out, groups=groups)
            case "product":
                last = net.pw(f"{index}.pw", last, narrow, act)
    if draw(st.integers(0, 3)) == 0:
        net.head(last, draw(st.integers(1, 30)), draw(st.integers(1, 30)), draw(st.integers(1, 12)))
    return net


def random_networks(examples: int):
    """Examples that are the same in every run; shrinking would take longer than reading the example."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@given(networks(), st.sampled_from(CONFIGS), st.sampled_from([0.0, 0.0, 0.7]))
@random_networks(6)
def test_some_random_networks(net, config, stall):
    check(net, config, stall=stall)


@pytest.mark.full
@given(networks(), st.sampled_from(CONFIGS), st.sampled_from([0.0, 0.0, 0.7, 0.95]))
@random_networks(100)
def test_many_random_networks(net, config, stall):
    check(net, config, stall=stall)
