"""`python -m nbutils data`: show data sets, and import one's own."""

from collections import Counter
from pathlib import Path

import click

_encoder = click.option(
    "--encoder", default="minilm", show_default=True, help="Whose limit of tokens counts: minilm, a folder or a hub id."
)


@click.group()
def data() -> None:
    """Show data sets and import your own."""


@data.command()
@click.argument("name", default="factbook")
@_encoder
def show(name, encoder) -> None:
    """Show the size of a data set, and what to know of its texts.

    NAME is "factbook", "squadshifts-wiki" (-reddit, -amazon), a folder, or a hub id.
    """
    from nbutils import models, retrieval, text
    from nbutils.data import load_dataset, questions
    from nbutils.metrics import is_label

    dataset = load_dataset(name)
    reading = models.load_reading(encoder)
    click.echo(f"{dataset.name}  sha256 {dataset.sha256}")
    n_of = Counter(example.task for example in dataset.examples)
    click.echo(f"{len(dataset.corpus)} passages, {n_of['verification']} claims, {n_of['clue']} clues")
    asked = questions(dataset.examples)
    counts = Counter((question.task, question.split) for question in asked)
    with_gold = Counter((question.task, question.split) for question in asked if question.gold_passages)
    for (kind, split), n in sorted(counts.items()):
        click.echo(f"{n:7d} questions  {kind}, {split}; {with_gold[kind, split]} name gold passages")
    click.echo(f"{with_gold.total()} of {len(asked)} questions name gold passages")
    n_labels = sum(is_label(question.answers[0]) for question in asked)
    if n_labels:
        click.echo(f"{n_labels} of {len(asked)} questions are answered by labels, such as yes or B, not by words")
    for what, n in dataset.left_out.items():
        click.echo(f"{n:7d} {what}")
    click.echo(retrieval.cut_note(reading, dataset.corpus))
    passages = [passage.text for passage in dataset.corpus.values()]
    shares = text.script_shares(passages)
    click.echo(f"letters: {', '.join(f'{script} {share:.0%}' for script, share in shares.items()) or 'none'}")
    for note in text.language_notes(passages):
        click.echo(note)


@data.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--split", help="Split of the questions: train, dev or test.  [default: test]")
@click.option("--skip-bad", is_flag=True, help="Leave bad records out, and list them.")
@_encoder
def import_(file, folder, split, skip_bad, encoder) -> None:
    """Convert FILE into a data set FOLDER, or add its questions to the data set there.

    FILE is SQuAD-style JSON, JSONL of question, answers and passage, or another form that holds passages: rows of the
    datasets library, DPR, HotpotQA, MRQA, also as an array, by gzip or in parquet. Texts are cut into passages of at
    most 100 words, or as many as the encoder reads. If FILE is a folder of a data set, it is copied in the one form
    that is written here, and not cut.
    """
    from nbutils.data import import_file
    from nbutils.models import load_reading
    from nbutils.retrieval import filling

    bad = [] if skip_bad else None
    try:
        sizes = import_file(file, folder, split, bad=bad, fill=filling(load_reading(encoder)))
    finally:
        for fault in bad or ():
            click.echo(f"left out: {fault}", err=True)
    click.echo(f"{folder}: " + ", ".join(f"{key} {value}" for key, value in sizes.items()))
