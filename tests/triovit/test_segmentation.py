"""Scores of segmentation networks: the published float scores, and a network of one layer through the command line."""

import numpy as np
import pytest
from PIL import Image

from quant.artifact import Artifact, Layer, Post
from tests.quant.conftest import shared
from triovit import pictures
from triovit.progress import silent

#: Height and width of the one layer's pictures.
SIZE = (32, 64)


def spec_of(network):
    spec = network.spec
    return {"name": spec.name, "task": spec.task, "classes": spec.classes, "resolution": spec.resolution}


@pytest.mark.parametrize(
    ("size", "miou", "accuracy"),
    [((384, 512), 60.73, 90.89), pytest.param((736, 960), 68.98, 92.84, marks=pytest.mark.full)],
)
def test_the_official_checkpoint_scores_as_published(size, miou, accuracy):
    from quant.checkpoints import load
    from triovit.float_network import float_score

    network = load(shared("models/efficientvit_seg_b0_cityscapes.pt"), size)
    data, labels = str(shared("data/camvid/val")), str(shared("data/camvid/val_labels"))
    found = float_score(network, pictures.to_score(data, labels, spec_of(network), None, silent), silent)
    assert (found["metric"], found["images"], found["classes"]) == ("miou", 101, "camvid")
    assert (round(100 * found["score"], 2), round(100 * found["pixel_accuracy"], 2)) == (miou, accuracy)


@pytest.fixture
def artifact(tmp_path):
    """A pointwise layer as a network of 19 classes, saved."""
    arrays = {name: np.zeros(19, np.int32) for name in ("bias", "three", "zero")}
    arrays |= {"mult": np.full(19, 40000, np.int32), "shift": np.full(19, 20, np.int32)}
    weight = np.random.default_rng(5).integers(-9, 10, (19, 3)).astype(np.int8)
    layer = Layer("out", "pw", ("image",), (19, *SIZE), 1.0, {"groups": 1}, Post(), {"weight": weight, **arrays})
    network = {"name": "tiny-seg", "resolution": [*SIZE], "classes": 19, "task": "segmentation"}
    Artifact(network, [layer], "out", input_shape=(3, *SIZE)).save(tmp_path / "tiny-seg")
    return tmp_path / "tiny-seg"


@pytest.fixture
def data(tmp_path):
    """Three pictures 40x30 and their label maps, CamVid's values."""
    rng = np.random.default_rng(7)
    for name in ("val", "maps"):
        (tmp_path / name).mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)).save(tmp_path / "val" / name)
        Image.fromarray(rng.integers(0, 12, (30, 40)).astype(np.uint8)).save(tmp_path / "maps" / name)
    return tmp_path


def evaluate(triovit, artifact, data, *more):
    return triovit("evaluate", artifact, "--data", data / "val", "--labels", data / "maps", *more)


def test_pictures_beside_label_maps(triovit, artifact, data):
    from quant.data import load_picture
    from quant.label_maps import load_label_map
    from sim.golden.model import GoldenModel
    from sim.scoring.classes import CAMVID
    from sim.scoring.scores import MeanIoU

    result = evaluate(triovit, artifact, data, "--json")
    assert result.code == 0, result.err
    score, model = MeanIoU(CAMVID), GoldenModel(Artifact.load(artifact))
    for name in ("a.png", "b.png", "c.png"):
        picture = load_picture(data / "val" / name, SIZE, crop=False)
        score.add(model.run(picture[None]).output, [load_label_map(data / "maps" / name)])
    found = result.document
    assert (found["metric"], found["classes"], found["images"]) == ("miou", "camvid", 3)
    assert (found["int_score"], found["int_pixel_accuracy"]) == (score.score, score.pixel_accuracy)
    assert (found["float_score"], found["float_pixel_accuracy"], found["agreement"]) == (None, None, None)
    own = evaluate(triovit, artifact, data, "--classes", "network", "--json").document
    assert own["classes"] == "network"
    assert own["int_score"] != found["int_score"]
    assert evaluate(triovit, artifact, data, "--limit", "2", "--json").document["images"] == 2


def test_as_text_beside_a_float_network(triovit, artifact, data):
    import torch

    from quant.networks.model import EfficientViT
    from quant.networks.spec import SPECS

    torch.manual_seed(0)
    torch.save(EfficientViT(SPECS["b0-seg"]).state_dict(), data / "seg.pt")
    result = evaluate(triovit, artifact, data, "--model", data / "seg.pt", "--json", data / "found.json")
    assert result.code == 0, result.err
    assert [line.split("  ")[0] for line in result.out.splitlines()] == [
        "metric",
        "pictures",
        "integer network",
        "float network",
        "same class",
        "right pixels, integer",
        "right pixels, float",
        "pictures a second",
    ]
    assert result.out.splitlines()[0] == "metric                 miou of camvid"
    assert '"float_pixel_accuracy": 0.' in (data / "found.json").read_text()


def test_label_maps_that_cannot_be_used(triovit, artifact, data):
    def refused(*words):
        result = triovit("evaluate", artifact, "--data", *words)
        assert (result.code, result.out) == (2, "")
        return result.err.splitlines()[-1].removeprefix("error: ").replace(str(data), "")

    given = (data / "val", "--labels", data / "maps")
    assert refused(data / "val") == "/val: network tiny-seg is scored with label maps; name their folder with --labels"
    assert refused("digits", "--labels", data / "maps") == "digits: have no label maps; give a folder of pictures"
    (data / "classes" / "ant").mkdir(parents=True)
    (data / "val" / "c.png").rename(data / "classes" / "ant" / "c.png")
    assert refused(data / "classes", "--labels", data / "maps") == (
        "/classes: has a folder a class, and a segmentation network is scored with pictures beside label maps; give those"
    )
    Image.fromarray(np.full((30, 40), 12, np.uint8)).save(data / "maps" / "b.png")
    assert refused(*given, "--classes", "camvid") == (
        "/maps/b.png: value 12 is no class of camvid (0 .. 10, 11 is void); correct the label map or choose other --classes"
    )
    Image.fromarray(np.full((30, 40), 19, np.uint8)).save(data / "maps" / "b.png")
    assert refused(*given) == (
        "/maps/b.png: value 19 is no class of network (0 .. 18, 255 is void); correct the label map or choose other --classes"
    )
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(data / "maps" / "b.png")
    assert refused(*given) == "/maps/b.png: is 30x40, and its picture is 40x30; give a label map of the picture's size"
    (data / "maps" / "b.png").unlink()
    assert refused(*given) == "/val/b.png: has no label map /maps/b.png; add it or remove the picture"


def test_picture_too_small_to_segment(triovit, artifact, data):
    Image.new("RGB", (16, 7)).save(data / "val" / "b.png")
    Image.new("L", (16, 7)).save(data / "maps" / "b.png")
    result = evaluate(triovit, artifact, data)
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines()[-1] == (
        f"error: {data}/val/b.png: is 16x7, too small for a network that reads 64x32; use pictures of at least 16x8"
    )
