"""The page of results is a function of the summary."""

from copy import deepcopy
from typing import Any

import pytest

from triovit.bench.results import render

_QUANTIZE = {"seconds": 61.4, "cpu_seconds": 90.2, "peak_bytes": 1_500_000_000}
_SEG = {"network": "seg-b0", "size": "512x384"}
_B0 = {"network": "b0", "size": "224x224"}
_SEG_SCORES = {
    "metric": "miou",
    "float_score": 0.6073,
    "int_score": 0.6041,
    "agreement": 0.98765,
    "float_pixel_accuracy": 0.9089,
    "int_pixel_accuracy": 0.9077,
    "images": 101,
    "images_per_second": 3.14,
    "peak_bytes": 812_345_678,
    "quantize": _QUANTIZE,
}
_B0_SCORES = {
    "metric": "top1",
    "float_score": 0.788,
    "int_score": 0.79,
    "agreement": 0.984,
    "float_pixel_accuracy": None,
    "int_pixel_accuracy": None,
    "images": 500,
    "images_per_second": 21.0,
    "peak_bytes": 400_000_000,
    "quantize": _QUANTIZE,
}
_PEER = {"version": "1.2", "setting": "as it comes", "metric": "miou", "float_score": 0.6073, "error": None}

SUMMARY: dict[str, Any] = {
    "versions": {"python": "3.12.1", "torch": "2.9.0"},
    "cores": 2,
    "calibration_pictures": 64,
    "networks": {"seg-b0": "Seg on streets", "b0": "B0 on things"},
    "accuracy": [
        {**_SEG, "rounding": "nearest", **_SEG_SCORES},
        {**_SEG, "rounding": "reconstructed", "missing": "not measured"},
        {**_B0, "rounding": "nearest", **_B0_SCORES},
    ],
    "peers": [
        {**_SEG, **_PEER, "tool": "one", "score": 0.59, "agreement": 0.97, "seconds_quantize": 12.3},
        {**_SEG, **_PEER, "tool": "two", "score": None, "error": "RuntimeError: a | b\n  was lost"},
        {**_B0, "tool": "one", "missing": "no such package"},
    ],
    "speed": [{**_SEG, "images": 8, "golden_images_per_second": 2.5, "float_images_per_second": 5.0, "peak_bytes": 1}],
    "ablation": [
        {**_SEG, "remedies": "plain", "title": "plain W8A8", **_SEG_SCORES, "int_score": 0.066, "agreement": 0.1},
        {**_B0, "remedies": "plain", "title": "plain W8A8", "error": "layer x: breaks a bound; do y"},
    ],
    "family": [
        {
            "network": "b1",
            "size": "224x224",
            "parameters": 9_102_024,
            "macs": 519_214_592,
            "sqnr": 21.26,
            "calibrated": 16,
            "compared": 8,
            "seconds": 70.2,
            "cpu_seconds": 100.0,
            "golden_seconds": 2.0,
            "peak_bytes": 2_000_000_000,
        }
    ],
}

PAGE = """\
# Results of the quantizer

Written by `make bench-quant`; do not edit. Integer columns are the golden model's, float columns the float network's on the same
pictures, all in percent. Checkpoints and pictures lie in `../shared`, beside the project. The quantizers saw 64 pictures, none
that is scored and no label. 2 cores; python 3.12.1, torch 2.9.0.

## Accuracy

    python -m triovit.bench --only 'accuracy/*'

The same as `triovit quantize CHECKPOINT --calib PICTURES --pictures 64 --size WxH -o ARTIFACT` and `triovit evaluate ARTIFACT
--data PICTURES [--labels LABELS]`. Drop is float less integer, in points; same class is the share of pictures or pixels for which
both networks name the same class; right pixels are float, then integer.

| network | size | rounding | metric | float | integer | drop | same class | right pixels |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
| Seg on streets | 512x384 | nearest | miou | 60.73 | 60.41 | 0.32 | 98.77 | 90.89, 90.77 |
| Seg on streets | 512x384 | reconstructed | not measured | | | | | |
| B0 on things | 224x224 | nearest | top1 | 78.80 | 79.00 | -0.20 | 98.40 | |

## Remedies one by one

    python -m triovit.bench --only 'ablation/*'

Plain W8A8 has int8 weights with a scale a channel, int8 activations with a scale a tensor, ranges by the MSE search, and is all
integers. Integers have no division: where log2 divisors are off, each head divides by one constant, all that the contract offers
besides. Rows that begin with + add to the row above what the paper does not have.

### Seg on streets, 512x384

| remedies | metric | float | integer | drop | same class |
| --- | ---: | ---: | ---: | ---: | ---: |
| plain W8A8 | miou | 60.73 | 6.60 | 54.13 | 10.00 |

### B0 on things, 224x224

| remedies | metric | float | integer | drop | same class |
| --- | ---: | ---: | ---: | ---: | ---: |
| plain W8A8 | error: layer x: breaks a bound; do y | | | | |

## Other quantizers

    python -m triovit.bench --only 'peers/*'

The same checkpoints, calibration pictures and scores. The others keep scales, biases and much of the arithmetic in floating point
(`triovit/bench/peers` says what); each has the best of its settings found over both networks.

### Seg on streets, 512x384

| quantizer | setting | metric | float | quantized | drop | same class | seconds to quantize |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |
| triovit | rounding: nearest; integers only | miou | 60.73 | 60.41 | 0.32 | 98.77 | 61 |
| triovit | rounding: reconstructed; integers only | | not measured | | | | |
| one 1.2 | as it comes | miou | 60.73 | 59.00 | 1.73 | 97.00 | 12 |
| two 1.2 | as it comes | miou | error: RuntimeError: a \\| b was lost | | | | |

### B0 on things, 224x224

| quantizer | setting | metric | float | quantized | drop | same class | seconds to quantize |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |
| triovit | rounding: nearest; integers only | top1 | 78.80 | 79.00 | -0.20 | 98.40 | 61 |
| one | | | not measured: no such package | | | | |

## Speed and memory

    python -m triovit.bench --only 'accuracy/*' --only 'speed/*'

On 2 cores. CPU seconds count every core: where they are fewer than the seconds by the clock, other programs had the cores.
Pictures a second are the golden model's as `evaluate` gives them. Memory is the most that the process held, that of `evaluate`
with the float network's.

| network | size | rounding | quantize, s | CPU s | memory, MB | evaluate, pictures/s | its memory, MB |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |
| Seg on streets | 512x384 | nearest | 61 | 90 | 1,500 | 3.1 | 812 |
| Seg on streets | 512x384 | reconstructed | not measured | | | | |
| B0 on things | 224x224 | nearest | 61 | 90 | 1,500 | 21.0 | 400 |

| run, one picture at a time | size | golden model, pictures/s | float torch, pictures/s | golden / float |
| --- | --- | ---: | ---: | ---: |
| Seg on streets | 512x384 | 2.50 | 5.00 | 0.50 |

## The rest of the family

    python -m triovit.bench --only 'family/*'

No checkpoint is at hand, so the weights are random, each layer's scaled to unit deviation; quantizer, artifact and golden model
are those of the trained networks. SQNR sets the golden logits beside the float ones, on pictures that the quantizer has not seen.

| network | size | parameters | MACs | SQNR of the logits, dB | seconds to quantize | golden seconds/picture | memory, MB |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
| b1 | 224x224 | 9,102,024 | 519,214,592 | 21.3 | 70 | 0.25 | 2,000 |
"""


def test_the_page_of_a_summary() -> None:
    assert render(SUMMARY) == PAGE


def test_a_summary_is_left_as_it_is() -> None:
    given = deepcopy(SUMMARY)
    render(given)
    assert given == SUMMARY


@pytest.mark.parametrize("section", ["accuracy", "peers", "speed", "ablation", "family"])
def test_rows_that_were_not_measured_say_so(section: str) -> None:
    summary = deepcopy(SUMMARY)
    names = ("network", "size", "rounding", "remedies", "title", "tool")
    summary[section] = [
        {**{name: row[name] for name in names if name in row}, "missing": "out of luck"} for row in summary[section]
    ]
    page = render(summary)
    assert page.count("not measured: out of luck") >= len(summary[section])
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|")
