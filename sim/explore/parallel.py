"""Work on all cores, or on a cluster, by joblib's back ends."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from triovit.errors import UserError

try:
    from joblib import Parallel, delayed, parallel_config
    from joblib.parallel import BACKENDS, EXTERNAL_BACKENDS, get_active_backend
except ModuleNotFoundError as error:
    raise UserError("exploring needs the package joblib; install it with: pip install 'triovit[sim]'") from error

A = TypeVar("A")
R = TypeVar("R")

#: Back ends that are packages of their own: what is imported, and what is installed.
_PACKAGES = {"dask": ("distributed", "distributed"), "ray": ("ray", "ray")}


def names() -> tuple[str, ...]:
    """The back ends, whether their packages are there or not."""
    return tuple(dict.fromkeys(("loky", *BACKENDS, *EXTERNAL_BACKENDS, *_PACKAGES)))


def require(backend: str) -> None:
    """Refuse a back end that cannot run.

    Raises
    ------
    UserError
        It is unknown, or its package is missing.
    """
    if backend not in names():
        raise UserError(f"backend {backend!r} is unknown; choose one of {', '.join(names())}")
    module, package = _PACKAGES.get(backend, ("joblib", "joblib"))
    if importlib.util.find_spec(module) is None:
        raise UserError(f"backend {backend} needs the package {package}; install it with: pip install {package}")


@contextmanager
def _cluster(backend: str) -> Iterator[None]:
    """Connect to the cluster that the back end's own environment variable names, or start one on this machine."""
    if backend == "dask":
        from distributed import Client

        with Client(os.environ.get("DASK_SCHEDULER_ADDRESS")):
            yield
    elif backend == "ray":
        import ray
        from ray.util.joblib import register_ray

        with ray.init(os.environ.get("RAY_ADDRESS"), log_to_driver=False):
            register_ray()
            yield
    else:
        yield


def run(function: Callable[[A], R], items: Sequence[A], jobs: int | None, backend: str, done: Callable[[int], None]) -> list[R]:
    """``function`` of each item, in the items' order; ``done`` hears how many are finished.

    Parameters
    ----------
    function, items
        Both travel to other processes, as the results do.
    jobs : int or None
        So many at a time; None for all cores.
    backend : str
        One of `names`.
    done : callable
        Called with 0 at first.

    Raises
    ------
    UserError
        The back end cannot run.
    """
    require(backend)
    results: list[R] = []
    done(0)
    with _cluster(backend), parallel_config(backend=backend, n_jobs=-1 if jobs is None else jobs):
        as_they_come = get_active_backend()[0].supports_return_generator
        for result in Parallel(return_as="generator" if as_they_come else "list")(delayed(function)(item) for item in items):
            results.append(result)
            done(len(results))
    return results
