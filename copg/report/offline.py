"""What a page brings along, so that it asks no network for anything, and what it lets run."""

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

FOLDER = Path(__file__).parent


def brought_along(figures: dict[str, Any]) -> dict[str, Markup]:
    """Names of a template: ``figures``, ``plotly``, ``script``, ``style`` and ``security_policy``.

    The policy forbids every request, and every script but these two, whose hashes it names: nothing in a text
    of the page can run.

    Args:
        figures: of the charts, by the id of the element that each is drawn in.
    """
    plotly, script = _plotly(), (FOLDER / "page.js").read_text(encoding="utf-8")
    found = {
        "figures": _json(figures),
        "plotly": plotly,
        "script": script,
        "style": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "security_policy": _policy(plotly, script),
    }
    return {name: Markup(text) for name, text in found.items()}


def _policy(*scripts: str) -> str:
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _json(value: Any) -> str:
    """JSON that no text inside can end early."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").encode("utf-8", "replace").decode()


def _plotly() -> str:
    """plotly.js as its Python package ships it; line ends as a browser reads them, for the hash."""
    found = files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")
    return found.replace("\r\n", "\n").replace("\r", "\n")
