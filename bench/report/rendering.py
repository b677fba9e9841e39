"""How templates become text, for the pages beside the report: all text escaped, a missing value is an error.

The policy of these pages lets their one style sheet through, by its hash, and the empty icon; nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

#: The report's own, then what only these pages have.
STYLES = ("style.css", "pages.css")


def rendered(template: str, **values: Any) -> str:
    """``bench/report/templates/<template>`` with ``values``."""
    loader = PackageLoader("bench.report")
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = "\n".join(loader.get_source(templates, name)[0] for name in STYLES)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    # Two files of this package: no text from records is in them.
    return templates.get_template(template).render(values | {"style": Markup(style), "policy": policy})
