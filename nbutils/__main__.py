"""The command line, `python -m nbutils`: run notebooks, render reports, pilot, import data, look after the cache."""

import os
import signal
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import click

from nbutils import paths
from nbutils import run as runner
from nbutils.cli.claims import claims
from nbutils.cli.data import data
from nbutils.cli.models import models
from nbutils.errors import InputError

FOLDERS = ("dataset", "encoder", "generator")  # parameters that may name one


def main() -> None:
    """Run the command line; input that is wrong ends it with one line and status 2, a full disk with status 1."""
    try:
        cli()
    except InputError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.errno in runner.DISK_FULL:
            click.echo(f"error: the disk is full; {error.filename or 'the file'} was not written", err=True)
        elif error.filename is not None:
            click.echo(f"error: {error.filename}: {error.strerror}; look at the path and its permissions", err=True)
        else:
            raise
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def cli() -> None:
    """Retrieval, fine-tuning, or both: the notebooks, from the command line."""


@cli.command()
@click.argument("notebooks", nargs=-1, metavar="[NB]...")
@click.option("--scale", default="tiny", show_default=True, help="Preset: smoke, tiny, gpu or paper.")
@click.option("--jobs", default=1, show_default=True, help="Notebooks side by side; the cores are shared out.")
@click.option("--timeout", default=runner.TIMEOUT_S, show_default=True, help="Seconds for a whole notebook.")
@click.option("--resume", is_flag=True, help="Skip notebooks whose results are fresh.")
@click.option("-p", "--parameter", "pairs", multiple=True, metavar="NAME=VALUE", help="Set a parameter (repeatable).")
@click.option("-o", "--out-dir", type=click.Path(file_okay=False), help="Where results go (default: figures/).")
def run(notebooks, scale, jobs, timeout, resume, pairs, out_dir) -> None:
    """Run notebooks, all of them or those named ("00", "00_start_here"), and regenerate their figures.

    At the default scale, parameters and folder the executed notebook replaces the committed one; otherwise it goes
    beside the record, into OUT_DIR/SCALE/NOTEBOOK/. Exit status: 0 all done, 1 a notebook failed, 2 wrong input,
    130 or 143 ended by Ctrl-C or SIGTERM.
    """
    if out_dir == "":
        raise InputError("-o is empty: name a folder, or leave it out")
    chosen = runner.find_notebooks(notebooks)
    with _progress_lines() as (progress, say):
        outcomes, signum = runner.run_notebooks(
            chosen,
            scale=scale,
            parameters=_parameters(pairs),
            out_dir=out_dir,
            timeout_s=timeout,
            jobs=jobs,
            resume=resume,
            progress=progress,
            ended=say,
        )
    if signum:
        sys.exit(128 + signum)
    done = [outcome.notebook for outcome in outcomes if outcome.status == "done"]
    if done and out_dir is None:
        from nbutils.record import report as reports

        click.echo(f"results: {reports.render(scale)[-1]}")
    elif done:
        click.echo("results: " + ", ".join(str(paths.results_dir(notebook, scale, out_dir)) for notebook in done))
    if any(outcome.status == "failed" for outcome in outcomes):
        sys.exit(1)


def _parameters(pairs) -> dict[str, str]:
    """`name=value` texts as a mapping; the values stay text until the notebook's annotations are known.

    A value that is a path to a folder becomes absolute, because the kernel runs in notebooks/: one with a slash in it,
    and any folder where the parameter may name one, but for "None", which is the preset's value.
    """
    parameters = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"-p {pair!r} is not NAME=VALUE")
        if name in parameters:
            raise InputError(f"-p {name} is given twice")
        folder = Path(value).expanduser()
        if name in FOLDERS and (value.endswith("/") or value.startswith((".", "~", "/"))) and not folder.is_dir():
            raise InputError(f"-p {pair}: there is no folder {folder}")
        is_path = "/" in value or (value and value != runner.NONE and name in FOLDERS)
        parameters[name] = str(folder.resolve()) if is_path and folder.is_dir() else value
    return parameters


def _outcome_line(outcome) -> str:
    """What to say when a notebook has ended."""
    if outcome.status == "fresh":
        return f"{outcome.notebook}: fresh, skipped"
    detail = f" ({outcome.message})" if outcome.message else ""
    return f"{outcome.notebook}: {outcome.status}{detail}, {outcome.seconds:.1f} s"


@contextmanager
def _progress_lines():
    """(progress, say): one line per running notebook, redrawn on a terminal; elsewhere a line when it starts."""
    from tqdm import tqdm

    bars, started = {}, set()
    lock = threading.Lock()  # notebooks that run side by side report from their own threads

    def progress(notebook: str, cell: int, cells: int, seconds: float) -> None:
        with lock:
            if sys.stderr.isatty():
                if notebook not in bars:
                    bars[notebook] = tqdm(bar_format="{desc}", leave=False, file=sys.stderr)
                where = f"cell {cell} of {cells}" if cell else "starting"
                bars[notebook].set_description_str(f"{notebook}: {where}, {seconds:.0f} s")
            elif notebook not in started:
                started.add(notebook)
                click.echo(f"{notebook}: started")

    def say(outcome) -> None:
        with lock:
            if outcome.notebook in bars:
                bars.pop(outcome.notebook).close()
            if outcome.status == "failed":
                tqdm.write(f"error: {outcome.message}", file=sys.stderr)
            else:
                tqdm.write(_outcome_line(outcome))

    try:
        yield progress, say
    finally:
        for bar in bars.values():
            bar.close()


@cli.command(name="list")
def list_() -> None:
    """List the notebooks: title, parameters, and the verdicts of the last run at each scale."""
    for path in runner.find_notebooks():
        click.echo(f"{path.stem}  {runner.notebook_title(path)}")
        for name, parameter in runner.notebook_parameters(path).items():
            click.echo(f"    {name}: {parameter['type']} = {parameter['default']!r}  {parameter['help']}".rstrip())
        for scale, verdicts in _verdicts(path.stem).items():
            click.echo(f"    verdicts at {scale}: {verdicts}")


def _verdicts(notebook: str) -> dict[str, str]:
    """Scale -> "2 reproduced, 1 open" for the scales at which the notebook has a record."""
    from nbutils.presets import SCALES
    from nbutils.record import load_record

    found = {}
    for scale in SCALES:
        file = paths.results_dir(notebook, scale) / "record.json"
        if file.exists():
            counts = Counter(claim["verdict"] for claim in load_record(file)["claims"].values())
            found[scale] = ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) or "no claims"
    return found


@cli.command()
@click.option("--scale", default="tiny", show_default=True, help="Whose records: smoke, tiny, gpu or paper.")
@click.option("--every-eval-ever", "folder", metavar="FOLDER", help="Write the records there in this public schema.")
def report(scale, folder) -> None:
    """Render README.md's table, and in figures/SCALE/ README.md (the ledger of claims), index.html and answers.html."""
    from nbutils.record import every_eval_ever
    from nbutils.record import report as reports

    for path in every_eval_ever.export(scale, folder) if folder else reports.render(scale):
        click.echo(f"written: {path}")


@cli.command()
@click.option("--data", "name", required=True, help="Folder in BEIR's format, or the name of a data set.")
@click.option("-o", "--out", default="pilot.html", show_default=True, type=click.Path(path_type=Path), help="The page.")
@click.option("--questions", default=200, show_default=True, help="Test questions at most.")
@click.option("--generator", default=None, help="Language model: as in `models list`, a folder or a hub id.")
@click.option("--encoder", default=None, help="Retriever: as in `models list`, a folder or a hub id.")
@click.option("--seed", default=0, show_default=True, help="Draws the questions and the training batches.")
@click.option("--queries-per-day", default=1_000.0, show_default=True)
@click.option("--updates-per-month", default=1.0, show_default=True, help="How often the facts change.")
@click.option("--sources", is_flag=True, help="Answers must come with a passage that shows them.")
@click.option("--worth", default=0.01, show_default=True, help="Money that a right answer is worth.")
@click.option("--hour", default=2.0, show_default=True, help="Money for an hour of a machine.")
@click.option("--example", default=0.5, show_default=True, help="Money for one training example.")
@click.option("--release", default=20.0, show_default=True, help="Money for checking and releasing a trained model.")
@click.option("--flops", default=2e14, show_default=True, help="FLOP a second that the machine sustains.")
def pilot(
    name, out, questions, generator, encoder, seed, queries_per_day, updates_per_month, sources, worth, hour, example,
    release, flops,
) -> None:  # fmt: skip
    """Run five systems on your own data and write a one-page report: retrieval, fine-tuning, or both?

    A folder holds corpus.jsonl, queries.jsonl with answers, and qrels/ where gold passages are known; or name a data
    set, such as squadshifts-wiki. Takes about ten minutes for 200 questions on 2 cores, and longer for the index of a
    large corpus.
    """
    from nbutils.pilot import Prices, Requirements, make_page
    from nbutils.presets import load_preset

    os.environ.pop("MPLBACKEND", None)  # needed by no page; an unknown one would end the pilot after all work
    chosen = {"n_questions": questions, "generator": generator, "encoder": encoder}
    preset = load_preset("08_rag_or_finetune", "tiny", chosen)
    requirements = Requirements(queries_per_day, updates_per_month, sources, value_per_answer=worth)
    prices = Prices(hour=hour, flops=flops, example=example, release=release)
    recommendation = make_page(name, out, preset, requirements, prices, seed, click.echo)
    click.echo(f"{out}: {recommendation.headline}")


cli.add_command(claims)
cli.add_command(data)
cli.add_command(models)


@cli.group()
def cache() -> None:
    """Show and empty data/cache, where models, vectors, answers and trainings are kept.

    The environment variable NBUTILS_CACHE names another folder for it.
    """


@cache.command(name="show")
def show_cache() -> None:
    """Show what is kept, by kind: entries, size, first and last day of use."""
    from nbutils import cache as kept

    usage = kept.show()
    for kind, of_kind in usage.items():
        first, last = (datetime.fromtimestamp(time).date() for time in (of_kind.oldest, of_kind.newest))
        click.echo(f"{kind:12} {of_kind.n_entries:7d} entries {of_kind.n_bytes / 1e6:10.1f} MB  used {first} to {last}")
    click.echo(f"{paths.CACHE}: {_amount(usage)}")


@cache.command()
@click.option("--older-than", type=float, required=True, metavar="DAYS", help="Days since the last use.")
def prune(older_than) -> None:
    """Remove what was not used for DAYS days; converted models and downloads stay, and what is being used."""
    from nbutils import cache as kept

    click.echo(f"removed: {_amount(kept.prune(older_than))}")


@cache.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(yes) -> None:
    """Remove what is not being used, converted models and downloads too: it is made again when it is needed."""
    from nbutils import cache as kept

    if not yes:
        click.confirm(f"Remove {_amount(kept.show())} from {paths.CACHE}?", abort=True)
    click.echo(f"removed: {_amount(kept.clear())}")


def _amount(usage) -> str:
    """How much that is, all kinds together."""
    n_entries = sum(of_kind.n_entries for of_kind in usage.values())
    n_bytes = sum(of_kind.n_bytes for of_kind in usage.values())
    return f"{n_entries} entries, {n_bytes / 1e6:.1f} MB"


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # click would end with 1; `run` has a handler of its own
    main()
