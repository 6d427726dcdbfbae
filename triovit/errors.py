"""The two kinds of failure: the user's and ours."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something the user can mend: a file, a network, an option, a missing tool.

    The message is one line that names the file, the layer (where there is one) and the remedy.
    The command line prints it and exits with code 2.
    """


class InternalError(Exception):
    """A broken promise inside triovit; never the user's fault. Shown with its traceback."""


@contextmanager
def about(source: object) -> Iterator[None]:
    """Put ``source``, a file or a name, before the user's errors of the block that begin with a layer and name no file.

    Raises
    ------
    UserError
        What the block raised.
    """
    try:
        yield
    except UserError as error:
        if str(error).startswith("layer "):
            raise UserError(f"{source}: {error}") from error
        raise
