"""The page of a sweep: plots and tables in one file."""

import os
from collections import Counter
from pathlib import Path

from sim.explore.bounds import BOUNDS
from sim.explore.plot import AXES, BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, plot
from sim.explore.sweep import Exploration
from sim.templates import environment
from triovit.files import write_text

#: The page's name in its directory.
PAGE = "explore.html"
_TEMPLATES, _TEMPLATE = Path(__file__).parent, "page.html.j2"


def write_page(directory: str | os.PathLike[str], found: Exploration) -> Path:
    """Write ``explore.html`` into ``directory``, whole or not at all; return its path.

    The page is one file: styles and drawings are inside, nothing is fetched. The same sweep gives the same bytes.

    Raises
    ------
    UserError
        The file cannot be written, or jinja2 is missing.
    """
    path = Path(directory) / PAGE
    write_text(path, _render(found))
    return path


def _render(found: Exploration) -> str:
    height, width = found.resolution
    return environment(_TEMPLATES, "page").get_template(_TEMPLATE).render(
        title=f"{found.network} at {height}x{width} on {found.setting.board.name}",
        found=found,
        pareto=[found.named(name) for name in found.pareto],
        used=[bound for bound in BOUNDS if any(point.bounds[bound] for point in found.points)],
        plots=[plot(found, resource) for resource in AXES],
        box={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM},
        reasons=Counter(refused.reason for refused in found.refused).most_common(),
    )
