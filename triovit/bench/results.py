"""The quantizer's part of docs/results.md, from the summary alone."""

from collections.abc import Callable
from typing import Any

from triovit.bench.tables import Columns, Row, megabytes, number, paragraph, percent, section, table, text

_BENCH = "python -m triovit.bench"


def render(summary: dict[str, Any]) -> str:
    """Return the Markdown of a summary (`triovit.bench.summary.summarise`); the same summary gives the same text."""
    parts = [
        _head(summary),
        _accuracy(summary),
        _ablation(summary),
        _peers(summary),
        _speed(summary),
        _family(summary),
    ]
    return "\n\n".join(parts) + "\n"


def _head(summary: dict[str, Any]) -> str:
    made_with = ", ".join(f"{name} {found}" for name, found in summary["versions"].items())
    return "# Results of the quantizer\n\n" + paragraph(
        "Written by `make bench-quant`; do not edit. Integer columns are the golden model's, float columns the float network's "
        "on the same pictures, all in percent. Checkpoints and pictures lie in `../shared`, beside the project. The quantizers "
        f"saw {summary['calibration_pictures']} pictures, none that is scored and no label. {summary['cores']} cores; "
        f"{made_with}."
    )


def _accuracy(summary: dict[str, Any]) -> str:
    return section(
        "Accuracy",
        f"{_BENCH} --only 'accuracy/*'",
        f"The same as `triovit quantize CHECKPOINT --calib PICTURES --pictures {summary['calibration_pictures']} --size WxH "
        "-o ARTIFACT` and `triovit evaluate ARTIFACT --data PICTURES [--labels LABELS]`. Drop is float less integer, in points; "
        "same class is the share of pictures or pixels for which both networks name the same class; right pixels are float, then "
        "integer.",
        {
            "network": lambda row: summary["networks"][row["network"]],
            "size": text("size"),
            "rounding": text("rounding"),
            "metric": text("metric"),
            "float": percent("float_score"),
            "integer": percent("int_score"),
            "drop": _drop("int_score"),
            "same class": percent("agreement"),
            "right pixels": _pixels,
        },
        summary["accuracy"],
        3,
    )


def _ablation(summary: dict[str, Any]) -> str:
    tables = [
        f"{_title(summary, network, rows)}\n\n"
        + table(
            {
                "remedies": text("title"),
                "metric": text("metric"),
                "float": percent("float_score"),
                "integer": percent("int_score"),
                "drop": _drop("int_score"),
                "same class": percent("agreement"),
            },
            rows,
            1,
        )
        for network, rows in _by_network(summary["ablation"])
    ]
    return (
        "## Remedies one by one\n\n"
        f"    {_BENCH} --only 'ablation/*'\n\n"
        + paragraph(
            "Plain W8A8 has int8 weights with a scale a channel, int8 activations with a scale a tensor, ranges by the MSE "
            "search, and is all integers. Integers have no division: where log2 divisors are off, each head divides by one "
            "constant, all that the contract offers besides. Rows that begin with + add to the row above what the paper "
            "does not have."
        )
        + "\n\n"
        + "\n\n".join(tables)
    )


def _peers(summary: dict[str, Any]) -> str:
    tables = []
    for network, rows in _by_network(summary["peers"]):
        ours = [
            {
                **row,
                "tool": "triovit",
                "score": row.get("int_score"),
                "setting": f"rounding: {row['rounding']}; integers only",
                "seconds_quantize": (row.get("quantize") or {}).get("seconds"),
            }
            for row in summary["accuracy"]
            if (row["network"], row["size"]) == (network, rows[0]["size"])
        ]
        columns: Columns = {
            "quantizer": lambda row: " ".join(str(row[name]) for name in ("tool", "version") if row.get(name)),
            "setting": text("setting"),
            "metric": text("metric"),
            "float": percent("float_score"),
            "quantized": percent("score"),
            "drop": _drop("score"),
            "same class": percent("agreement"),
            "seconds to quantize": number("seconds_quantize", 0),
        }
        tables.append(f"{_title(summary, network, rows)}\n\n{table(columns, [*ours, *rows], 3)}")
    return (
        "## Other quantizers\n\n"
        f"    {_BENCH} --only 'peers/*'\n\n"
        + paragraph(
            "The same checkpoints, calibration pictures and scores. The others keep scales, biases and much of the arithmetic in "
            "floating point (`triovit/bench/peers` says what); each has the best of its settings found over both networks."
        )
        + "\n\n"
        + "\n\n".join(tables)
    )


def _speed(summary: dict[str, Any]) -> str:
    quantized = section(
        "Speed and memory",
        f"{_BENCH} --only 'accuracy/*' --only 'speed/*'",
        f"On {summary['cores']} cores. CPU seconds count every core: where they are fewer than the seconds by the clock, other "
        "programs had the cores. Pictures a second are the golden model's as `evaluate` gives them. Memory is the most that the "
        "process held, that of `evaluate` with the float network's.",
        {
            "network": lambda row: summary["networks"][row["network"]],
            "size": text("size"),
            "rounding": text("rounding"),
            "quantize, s": _inner("quantize", number("seconds", 0)),
            "CPU s": _inner("quantize", number("cpu_seconds", 0)),
            "memory, MB": _inner("quantize", megabytes),
            "evaluate, pictures/s": number("images_per_second", 1),
            "its memory, MB": megabytes,
        },
        summary["accuracy"],
        3,
    )
    golden = table(
        {
            "run, one picture at a time": lambda row: summary["networks"][row["network"]],
            "size": text("size"),
            "golden model, pictures/s": number("golden_images_per_second", 2),
            "float torch, pictures/s": number("float_images_per_second", 2),
            "golden / float": _ratio,
        },
        summary["speed"],
        2,
    )
    return f"{quantized}\n\n{golden}"


def _family(summary: dict[str, Any]) -> str:
    return section(
        "The rest of the family",
        f"{_BENCH} --only 'family/*'",
        "No checkpoint is at hand, so the weights are random, each layer's scaled to unit deviation; quantizer, artifact and "
        "golden model are those of the trained networks. SQNR sets the golden logits beside the float ones, on pictures that the "
        "quantizer has not seen.",
        {
            "network": text("network"),
            "size": text("size"),
            "parameters": number("parameters", 0),
            "MACs": number("macs", 0),
            "SQNR of the logits, dB": number("sqnr", 1),
            "seconds to quantize": number("seconds", 0),
            "golden seconds/picture": lambda row: f"{row['golden_seconds'] / row['compared']:.2f}",
            "memory, MB": megabytes,
        },
        summary["family"],
        2,
    )


def _drop(name: str) -> Callable[[Row], str]:
    return lambda row: f"{100 * (row['float_score'] - row[name]):.2f}"


def _inner(name: str, cell: Callable[[Row], str]) -> Callable[[Row], str]:
    return lambda row: cell(row[name])


def _pixels(row: Row) -> str:
    if row.get("float_pixel_accuracy") is None:
        return ""
    return f"{100 * row['float_pixel_accuracy']:.2f}, {100 * row['int_pixel_accuracy']:.2f}"


def _ratio(row: Row) -> str:
    return f"{row['golden_images_per_second'] / row['float_images_per_second']:.2f}"


def _title(summary: dict[str, Any], network: str, rows: list[Row]) -> str:
    return f"### {summary['networks'][network]}, {rows[0]['size']}"


def _by_network(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    names = list(dict.fromkeys(row["network"] for row in rows))
    return [(name, [row for row in rows if row["network"] == name]) for name in names]
