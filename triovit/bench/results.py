"""The page docs/results.md, from the summary alone."""

from collections.abc import Callable, Iterable, Sequence
from textwrap import fill
from typing import Any

Row = dict[str, Any]

_BENCH = "python -m triovit.bench"
_WIDTH = 130


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
    return "# Results of the quantizer\n\n" + _paragraph(
        "Written by `make bench-quant`; do not edit. Integer columns are the golden model's, float columns the float network's "
        "on the same pictures, all in percent. Checkpoints and pictures lie in `../shared`, beside the project. The quantizers "
        f"saw {summary['calibration_pictures']} pictures, none that is scored and no label. {summary['cores']} cores; "
        f"{made_with}."
    )


def _accuracy(summary: dict[str, Any]) -> str:
    return _section(
        "Accuracy",
        f"{_BENCH} --only 'accuracy/*'",
        f"The same as `triovit quantize CHECKPOINT --calib PICTURES --pictures {summary['calibration_pictures']} --size WxH "
        "-o ARTIFACT` and `triovit evaluate ARTIFACT --data PICTURES [--labels LABELS]`. Drop is float less integer, in points; "
        "same class is the share of pictures or pixels for which both networks name the same class; right pixels are float, then "
        "integer.",
        {
            "network": lambda row: summary["networks"][row["network"]],
            "size": _text("size"),
            "rounding": _text("rounding"),
            "metric": _text("metric"),
            "float": _percent("float_score"),
            "integer": _percent("int_score"),
            "drop": _drop("int_score"),
            "same class": _percent("agreement"),
            "right pixels": _pixels,
        },
        summary["accuracy"],
        3,
    )


def _ablation(summary: dict[str, Any]) -> str:
    tables = [
        f"{_title(summary, network, rows)}\n\n"
        + _table(
            {
                "remedies": _text("title"),
                "metric": _text("metric"),
                "float": _percent("float_score"),
                "integer": _percent("int_score"),
                "drop": _drop("int_score"),
                "same class": _percent("agreement"),
            },
            rows,
            1,
        )
        for network, rows in _by_network(summary["ablation"])
    ]
    return (
        "## Remedies one by one\n\n"
        f"    {_BENCH} --only 'ablation/*'\n\n"
        + _paragraph(
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
        columns: dict[str, Callable[[Row], str]] = {
            "quantizer": lambda row: " ".join(str(row[name]) for name in ("tool", "version") if row.get(name)),
            "setting": _text("setting"),
            "metric": _text("metric"),
            "float": _percent("float_score"),
            "quantized": _percent("score"),
            "drop": _drop("score"),
            "same class": _percent("agreement"),
            "seconds to quantize": _number("seconds_quantize", 0),
        }
        tables.append(f"{_title(summary, network, rows)}\n\n{_table(columns, [*ours, *rows], 3)}")
    return (
        "## Other quantizers\n\n"
        f"    {_BENCH} --only 'peers/*'\n\n"
        + _paragraph(
            "The same checkpoints, calibration pictures and scores. The others keep scales, biases and much of the arithmetic in "
            "floating point (`triovit/bench/peers` says what); each has the best of its settings found over both networks."
        )
        + "\n\n"
        + "\n\n".join(tables)
    )


def _speed(summary: dict[str, Any]) -> str:
    quantized = _section(
        "Speed and memory",
        f"{_BENCH} --only 'accuracy/*' --only 'speed/*'",
        f"On {summary['cores']} cores. CPU seconds count every core: where they are fewer than the seconds by the clock, other "
        "programs had the cores. Pictures a second are the golden model's as `evaluate` gives them. Memory is the most that the "
        "process held, that of `evaluate` with the float network's.",
        {
            "network": lambda row: summary["networks"][row["network"]],
            "size": _text("size"),
            "rounding": _text("rounding"),
            "quantize, s": _inner("quantize", _number("seconds", 0)),
            "CPU s": _inner("quantize", _number("cpu_seconds", 0)),
            "memory, MB": _inner("quantize", _megabytes),
            "evaluate, pictures/s": _number("images_per_second", 1),
            "its memory, MB": _megabytes,
        },
        summary["accuracy"],
        3,
    )
    golden = _table(
        {
            "run, one picture at a time": lambda row: summary["networks"][row["network"]],
            "size": _text("size"),
            "golden model, pictures/s": _number("golden_images_per_second", 2),
            "float torch, pictures/s": _number("float_images_per_second", 2),
            "golden / float": _ratio,
        },
        summary["speed"],
        2,
    )
    return f"{quantized}\n\n{golden}"


def _family(summary: dict[str, Any]) -> str:
    return _section(
        "The rest of the family",
        f"{_BENCH} --only 'family/*'",
        "No checkpoint is at hand, so the weights are random, each layer's scaled to unit deviation; quantizer, artifact and "
        "golden model are those of the trained networks. SQNR sets the golden logits beside the float ones, on pictures that the "
        "quantizer has not seen.",
        {
            "network": _text("network"),
            "size": _text("size"),
            "parameters": _number("parameters", 0),
            "MACs": _number("macs", 0),
            "SQNR of the logits, dB": _number("sqnr", 1),
            "seconds to quantize": _number("seconds", 0),
            "golden seconds/picture": lambda row: f"{row['golden_seconds'] / row['compared']:.2f}",
            "memory, MB": _megabytes,
        },
        summary["family"],
        2,
    )


def _section(title: str, command: str, text: str, columns: dict[str, Callable[[Row], str]], rows: list[Row], named: int) -> str:
    return f"## {title}\n\n    {command}\n\n{_paragraph(text)}\n\n{_table(columns, rows, named)}"


def _paragraph(text: str) -> str:
    return fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _table(columns: dict[str, Callable[[Row], str]], rows: Iterable[Row], named: int) -> str:
    """A table; the first ``named`` columns tell what a row is, and of one without numbers the next says why."""
    heads = list(columns)
    lines = [_line(heads), _line(["---"] * named + ["---:"] * (len(heads) - named))]
    for row in rows:
        cells = [cell(row) for cell in list(columns.values())[:named]]
        reason = _reason(row)
        if reason is None:
            cells += [cell(row) for cell in list(columns.values())[named:]]
        else:
            cells += [reason, *[""] * (len(heads) - named - 1)]
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("  |", " |")


def _reason(row: Row) -> str | None:
    """Why a row has no numbers; None where it has."""
    if "missing" in row:
        return row["missing"] if row["missing"] == "not measured" else f"not measured: {_cell(row['missing'])}"
    return f"error: {_cell(row['error'])}" if row.get("error") else None


def _cell(text: str) -> str:
    """A text of one line that leaves the table whole."""
    return " ".join(text.split()).replace("|", "\\|")


def _text(name: str) -> Callable[[Row], str]:
    return lambda row: _cell(str(row.get(name, "")))


def _percent(name: str) -> Callable[[Row], str]:
    return lambda row: "" if row.get(name) is None else f"{100 * row[name]:.2f}"


def _number(name: str, digits: int) -> Callable[[Row], str]:
    return lambda row: "" if row.get(name) is None else f"{row[name]:,.{digits}f}"


def _drop(name: str) -> Callable[[Row], str]:
    return lambda row: f"{100 * (row['float_score'] - row[name]):.2f}"


def _inner(name: str, cell: Callable[[Row], str]) -> Callable[[Row], str]:
    return lambda row: cell(row[name])


def _pixels(row: Row) -> str:
    if row.get("float_pixel_accuracy") is None:
        return ""
    return f"{100 * row['float_pixel_accuracy']:.2f}, {100 * row['int_pixel_accuracy']:.2f}"


def _megabytes(row: Row) -> str:
    return f"{row['peak_bytes'] / 1e6:,.0f}"


def _ratio(row: Row) -> str:
    return f"{row['golden_images_per_second'] / row['float_images_per_second']:.2f}"


def _title(summary: dict[str, Any], network: str, rows: list[Row]) -> str:
    return f"### {summary['networks'][network]}, {rows[0]['size']}"


def _by_network(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    names = list(dict.fromkeys(row["network"] for row in rows))
    return [(name, [row for row in rows if row["network"] == name]) for name in names]
