"""In which buffers results lie, what is given back, and what is tried where one is full."""

import pytest

from hw.compiler.allocation import Allocation
from hw.compiler.bands import Kept
from hw.compiler.places import NoPlaceError
from hw.config import TOY, AcceleratorConfig
from hw.control.descriptor import Buffer
from tests.support.networks import NetworkBuilder

D, H, X, Y = Buffer.D, Buffer.H, Buffer.X, Buffer.Y


def block(config: AcceleratorConfig = TOY) -> Allocation:
    """A stem, an inverted bottleneck with its residual, and a product that is the output."""
    net = NetworkBuilder(0, 8, 8)
    stem = net.stem(6)
    net.pw("end", net.pw("pw2", net.dw("dw", net.pw("pw1", stem, 9), act="none"), 6, residual=stem), 5)
    return Allocation(net.artifact(), config, (), (), 1)


def buffers(tensors: Allocation, name: str) -> list[Buffer]:
    destination = tensors.destination(tensors.artifact.layer(name), 2)
    return [place.buffer for place in (destination.first, destination.second) if place is not None]


def test_each_result_lies_where_its_readers_read():
    tensors = block()
    found = {layer.name: buffers(tensors, layer.name) for layer in tensors.artifact.layers}
    assert found == {"stem.0": [X], "pw1": [H], "dw": [D], "pw2": [Y], "end": [Buffer.O]}
    assert tensors.residual(tensors.artifact.layer("pw2")) is tensors.narrow["stem.0"]
    assert tensors.first("pw1") is tensors.wide["pw1"] and tensors.first("dw") is tensors.narrow["dw"]


def test_where_d_is_full_what_a_product_reads_lies_away_from_its_residual():
    tensors = block(TOY.with_(name="low", d_rows=1))
    assert buffers(tensors, "stem.0") == [X]
    assert buffers(tensors, "dw") == [Y]
    lower = block(TOY.with_(name="lower", d_rows=1, y_rows=1))
    buffers(lower, "stem.0")
    with pytest.raises(NoPlaceError, match="layer dw: its output of 12 channels x 16 pixels does not fit buffer D"):
        buffers(lower, "dw")


def test_what_is_read_no_more_gives_its_rows_back():
    tensors = block(TOY.with_(name="low", x_rows=8, y_rows=8))
    layers = tensors.artifact.layers
    for step, layer in enumerate(layers[:3]):
        tensors.destination(layer, 2)
        tensors.release(step + 1)
    # The residual, which fills X, is still read by the layer to come.
    assert buffers(tensors, "pw2") == [Y]
    tensors.release(4)
    tensors.narrow.pop("stem.0")
    assert buffers(tensors, "stem.0") == [X]


def test_places_are_as_they_were_after_an_attempt():
    tensors = block()
    buffers(tensors, "stem.0")
    saved = tensors.saved()
    for _ in range(2):
        assert tensors.destination(tensors.artifact.layer("dw"), 2, Kept(window=2)).first.height == 6
        assert tensors.narrow["dw"].base == 0
        tensors.restore(saved)
        assert "dw" not in tensors.narrow and "stem.0" in tensors.narrow


@pytest.mark.parametrize(("rows", "ring"), [(8, 0), (7, 1), (4, 1)])
def test_a_part_of_the_picture_where_not_all_of_it_fits(rows, ring):
    tensors = block(TOY.with_(name="low", d_rows=rows))
    place = tensors.picture(tensors.artifact.layers[0], 2, 2, [0, 1])
    assert (place.buffer, place.ring, place.height) == (D, ring, 4 if ring else 8)
    assert tensors.narrow["image"] is place


def test_a_picture_of_which_no_part_fits():
    tensors = block(TOY.with_(name="low", d_rows=3))
    with pytest.raises(NoPlaceError, match=r"layer stem\.0: its unfolded picture of 8 channels x 16 pixels does not fit"):
        tensors.picture(tensors.artifact.layers[0], 2, 2, [0, 1])
