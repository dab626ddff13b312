"""Static pages made of the templates: every value is escaped, and a name that nobody filled in is an error."""

from pathlib import Path
from typing import Any

_TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


def fill_template(name: str, **values: Any) -> str:
    """A page of `templates/` as one HTML text, with every value escaped; an unknown name in it is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template(name).render(**values)


def template_text(name: str) -> str:
    """A file of `templates/` as it stands."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")
