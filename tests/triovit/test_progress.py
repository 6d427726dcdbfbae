"""Progress on a terminal and elsewhere."""

import io

from triovit import progress


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_plain_lines_tell_the_time_left():
    stream, clock = io.StringIO(), Clock()
    show = progress.PlainProgress(stream, interval=2.0, clock=clock)
    for done in range(11):
        show("simulate", done, 10)
        clock.now += 1.0
    assert stream.getvalue().splitlines() == [
        "simulate: step 0/10",
        "simulate: step 2/10, 8 s left",
        "simulate: step 4/10, 6 s left",
        "simulate: step 6/10, 4 s left",
        "simulate: step 8/10, 2 s left",
        "simulate: step 10/10, done in 10.0 s",
    ]


def test_plain_stage_can_run_again():
    stream, clock = io.StringIO(), Clock()
    show = progress.PlainProgress(stream, clock=clock)
    show("load", 1, 1)
    clock.now += 5.0
    show("load", 0, 1)
    clock.now += 1.0
    show("load", 1, 1)
    assert stream.getvalue().splitlines() == ["load: step 1/1, done in 0.0 s", "load: step 0/1", "load: step 1/1, done in 1.0 s"]


def test_stream_without_terminal_gets_lines():
    stream = io.StringIO()
    with progress.shown(stream) as show:
        show("quantize", 0, 2)
        show("quantize", 2, 2)
    assert stream.getvalue().startswith("quantize: step 0/2\nquantize: step 2/2, done in ")


def test_terminal_gets_bars():
    stream = Terminal()
    with progress.shown(stream) as show:
        show("quantize", 0, 2)
        show("quantize", 2, 2)
    assert "quantize" in stream.getvalue()
    assert "2/2" in stream.getvalue()


def test_silent_shows_nothing(capsys):
    progress.silent("quantize", 1, 2)
    assert capsys.readouterr() == ("", "")
