"""Work on joblib's back ends."""

import importlib.util

import pytest

from sim.explore.parallel import names, require, run
from triovit.errors import UserError


def square(value: int) -> int:
    return value * value


@pytest.mark.parametrize("backend", ["sequential", "threading", "multiprocessing", "loky"])
def test_results_are_in_order_and_counted(backend):
    heard: list[int] = []
    assert run(square, range(5), 2, backend, heard.append) == [0, 1, 4, 9, 16]
    assert heard == list(range(6))


def test_an_error_is_the_callers():
    def refuse(value: int) -> int:
        raise UserError(f"no {value}")

    with pytest.raises(UserError, match=r"^no 3$"):
        run(refuse, [3], 1, "threading", lambda done: None)


def test_an_unknown_backend():
    text = "backend 'cloud' is unknown; choose one of loky, threading, sequential, multiprocessing, dask, ray"
    with pytest.raises(UserError, match=f"^{text}$"):
        run(square, [1], 1, "cloud", lambda done: None)


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_backend_without_its_package(backend, package, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    text = f"backend {backend} needs the package {package}; install it with: pip install {package}"
    with pytest.raises(UserError, match=f"^{text}$"):
        run(square, [1], 1, backend, lambda done: None)


def test_joblibs_own_are_there():
    for name in names()[:4]:
        require(name)
