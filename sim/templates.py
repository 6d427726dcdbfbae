"""The pages' templates: one set of rules for all of them."""

from pathlib import Path
from typing import TYPE_CHECKING

from triovit.errors import UserError

if TYPE_CHECKING:
    import jinja2


def environment(directory: Path, page: str) -> "jinja2.Environment":
    """Templates of a directory: what is poured in is escaped, and what is missing is an error. ``page`` is what needs them.

    Raises
    ------
    UserError
        jinja2 is missing.
    """
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise UserError(f"the {page} needs the package jinja2; install it with: pip install 'triovit[sim]'") from error
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(directory),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
