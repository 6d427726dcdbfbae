"""Small networks, each for what some planted bug breaks; without a bug nothing is found in any of them."""

from tests.support.networks import NetworkBuilder


def product(net: NetworkBuilder) -> None:
    net.pw("pw", net.stem(5), 11)


def block(net: NetworkBuilder) -> None:
    stem = net.stem(6)
    net.pw("pw2", net.dw("dw", net.pw("pw1", stem, 9, "hardswish")), 6, residual=stem)


def folded(net: NetworkBuilder) -> None:
    """One channel group over all sub-buffers of H, and a last segment that is not whole."""
    net.dw("dw", net.stem(3))


def two_sets(net: NetworkBuilder) -> None:
    """More channel groups than R-MAC has at a time, behind which MAT follows."""
    net.pw("pw", net.dw("dw", net.stem(21)), 6)


def plain_block(net: NetworkBuilder) -> None:
    """A residual in a network without a hardswish."""
    stem = net.stem(6, act="none")
    net.pw("pw2", net.dw("dw", stem, act="none"), 6, residual=stem)


def stride(net: NetworkBuilder) -> None:
    net.dw("dw", net.stem(5), stride=2)


def strided_product(net: NetworkBuilder) -> None:
    """Results that begin in any bank, and are read again."""
    net.pw("pw", net.dw("dw", net.stem(5), stride=2), 6)


def attention(net: NetworkBuilder) -> None:
    net.attention("att", (net.pw("qkv", net.stem(4), 24),), 4, code_bits=4, z_bits=8)


def wide_attention(net: NetworkBuilder) -> None:
    """K^T V in two parts; some of it saturates, and so do sums of keys."""
    net.attention("att", (net.pw("qkv", net.stem(4), 24),), 4, code_bits=10, z_bits=15)


def two_groups(net: NetworkBuilder) -> None:
    """Heads of two words, whose K^T V is not wide."""
    net.attention("att", (net.pw("qkv", net.stem(4), 24),), 8, code_bits=4, z_bits=8)


def small_sums(net: NetworkBuilder) -> None:
    """Sums that lie in their lower parts above all."""
    wide_attention(net)
    arrays = net.layers[-1].arrays
    arrays["k_shift"] += 7
    arrays["div_min"] -= 7
    arrays["z_shift"] += 5
    arrays["o_shift"] -= 7 + 5


def fine_attention(net: NetworkBuilder) -> None:
    """Divisors with a fraction; those of the second head lie around its smallest exponent."""
    net.attention("att", (net.pw("qkv", net.stem(4), 24),), 4, code_bits=10, z_bits=8)
    arrays = net.layers[-1].arrays
    arrays["o_shift"][1] += 20 - arrays["div_min"][1]
    arrays["div_min"][1] = 20


def after_attention(net: NetworkBuilder) -> None:
    net.pw("proj", net.attention("att", (net.pw("qkv", net.stem(4), 24),), 4, code_bits=4), 6)


def both_widths(net: NetworkBuilder) -> None:
    """A layer of either kind, in turn on the same units."""
    qkv = net.pw("qkv", net.stem(4), 24)
    net.attention("coarse", (qkv,), 4, code_bits=4)
    net.attention("fine", (qkv,), 4, code_bits=10)


def pool(net: NetworkBuilder) -> None:
    net.pool("pool", net.stem(20))


def vector(net: NetworkBuilder) -> None:
    net.fc("fc2", net.layernorm("ln", net.fc("fc", net.pool("pool", net.stem(3)), 6)), 3, logits=True)


def long_vector(net: NetworkBuilder) -> None:
    """LayerNorm of more words than a row of parameters has."""
    net.layernorm("ln", net.fc("fc", net.pool("pool", net.stem(3)), 14))


def over_old_values(net: NetworkBuilder) -> str:
    """A tensor of six pixels where one of twenty-four pixels lay: beyond its end are old values, not zeros."""
    net.input_shape = net.shapes["image"] = (3, 8, 12)
    return net.dw("dw2", net.dw("dw1", net.stem(24), stride=2, act="none"), act="none")


def pool_over_old_values(net: NetworkBuilder) -> None:
    net.pool("pool", over_old_values(net))


def attention_over_old_values(net: NetworkBuilder) -> None:
    net.attention("att", (over_old_values(net),), 4)


NETWORKS = (
    product,
    block,
    two_sets,
    stride,
    strided_product,
    folded,
    attention,
    wide_attention,
    small_sums,
    two_groups,
    fine_attention,
    after_attention,
    both_widths,
    plain_block,
    pool,
    long_vector,
    vector,
    pool_over_old_values,
    attention_over_old_values,
)
