"""`python -m nbutils data`: show data sets, and import one's own."""

from collections import Counter
from pathlib import Path

import click


@click.group()
def data() -> None:
    """Show data sets and import your own."""


@data.command()
@click.argument("name", default="factbook")
def show(name) -> None:
    """Show the size of a data set: "factbook", "squadshifts-wiki" (-reddit, -amazon), a folder, or a hub id."""
    from nbutils.data import load_dataset, questions

    dataset = load_dataset(name)
    click.echo(f"{dataset.name}  sha256 {dataset.sha256}")
    n_of = Counter(example.task for example in dataset.examples)
    click.echo(f"{len(dataset.corpus)} passages, {n_of['verification']} claims, {n_of['clue']} clues")
    asked = questions(dataset.examples)
    counts = Counter((question.task, question.split) for question in asked)
    with_gold = Counter((question.task, question.split) for question in asked if question.gold_passages)
    for (kind, split), n in sorted(counts.items()):
        click.echo(f"{n:7d} questions  {kind}, {split}; {with_gold[kind, split]} name gold passages")
    click.echo(f"{with_gold.total()} of {len(asked)} questions name gold passages")
    for what, n in dataset.left_out.items():
        click.echo(f"{n:7d} {what}")


@data.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--split", help="Split of the questions: train, dev or test.  [default: test]")
@click.option("--skip-bad", is_flag=True, help="Leave bad records out, and list them.")
def import_(file, folder, split, skip_bad) -> None:
    """Convert FILE into a data set FOLDER, or add its questions to the data set there.

    FILE is SQuAD-style JSON, JSONL of question, answers and passage, or another form that holds passages: rows of the
    datasets library, DPR, HotpotQA, MRQA, also as an array, by gzip or in parquet. If FILE is a folder of a data set,
    it is copied in the one form that is written here.
    """
    from nbutils.data import import_file

    bad = [] if skip_bad else None
    try:
        sizes = import_file(file, folder, split, bad=bad)
    finally:
        for fault in bad or ():
            click.echo(f"left out: {fault}", err=True)
    click.echo(f"{folder}: " + ", ".join(f"{key} {value}" for key, value in sizes.items()))
