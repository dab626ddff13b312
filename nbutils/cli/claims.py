"""`python -m nbutils claims`: what is claimed, what came of it, and what was fixed before it was run."""

import csv
import sys

import click

from nbutils import paths
from nbutils.errors import InputError
from nbutils.presets import SCALES


@click.group()
def claims() -> None:
    """List claims, show one with its scores, lock a notebook's primary claims, and check all."""


@claims.command(name="list")
@click.option("--scale", default="tiny", show_default=True, help="Whose records: smoke, tiny, gpu or paper.")
def list_(scale) -> None:
    """List every claim: primary or exploratory, its verdict, and whether it was locked before the run."""
    from nbutils.record import locks

    for file, content in _notebooks(scale):
        for id_, claim in file.claims.items():
            outcome = content["claims"].get(id_) if content else None
            verdict = outcome["verdict"] if outcome else _not_judged(content, id_)
            kind = "primary" if claim["primary"] else "exploratory"
            status = locks.lock_status(file, id_, outcome)
            click.echo("  ".join(part for part in (f"{id_:40} {kind:11} {verdict}", status) if part))


@claims.command()
@click.argument("id_", metavar="ID")
@click.option("--scale", default="tiny", show_default=True, help="Whose record: smoke, tiny, gpu or paper.")
@click.option("--scores", is_flag=True, help="The scores of every question, as CSV.")
def show(id_, scale, scores) -> None:
    """Show one claim: what the paper says, the rule, what came of it, the cell that judges it, and its scores."""
    from nbutils.record import claim_files, locks
    from nbutils.record.wording import outcome_text

    path = claim_files.claims_path(id_)
    file = claim_files.load_file(path) if path.is_file() else None
    if file is None or id_ not in file.claims:
        raise InputError(f"there is no claim {id_!r}: python -m nbutils claims list shows all")
    claim, content = file.claims[id_], _record(id_[:2], scale)
    outcome = content["claims"].get(id_) if content else None
    if scores:
        if outcome is None:
            raise InputError(f"claim {id_} has no scores at {scale}: {_not_judged(content, id_)}")
        _write_scores(claim, content["scores"])
        return
    click.echo(f"{id_}  ({'primary' if claim['primary'] else 'exploratory'})\n{claim['sentence']}")
    for label in ("paper", "where", "paper_values", "note"):
        if claim[label] not in ("", "-"):
            click.echo(f"{label.replace('_', ' ')}: {claim[label]}")
    click.echo(f"quantity: {claim['quantity']}\nrule: {claim['rule']}\nnull: {claim['null']}")
    if outcome is None:
        click.echo(_not_judged(content, id_))
        return
    click.echo(f"{outcome['verdict']}: {outcome_text(outcome)}, p = {outcome['p']:.2g}")
    if "holm" in outcome:
        low, high = outcome["holm"]["low"], outcome["holm"]["high"]
        click.echo(f"adjusted for the number of primary claims: [{low:.3f}, {high:.3f}]")
    if "mde" in outcome:
        needed = outcome["n_needed"]
        more = f"; about {needed:,} questions would decide" if needed else ""
        click.echo(f"smallest effect that this run would find (80 % power): {outcome['mde']:.3f}{more}")
    null = outcome["null"]
    click.echo(f"null input: {null['value']:+.3f} [{null['low']:.3f}, {null['high']:.3f}], {null['verdict']}")
    if status := locks.lock_status(file, id_, outcome):
        click.echo(f"lock: {status}")
    click.echo(f"judged in notebooks/{content['notebook']}.ipynb, {_cell(content['notebook'], id_)}")
    click.echo(f"scores of every question: python -m nbutils claims show {id_} --scores")


@claims.command()
@click.argument("notebook", metavar="NN")
def lock(notebook) -> None:
    """Write digests of NN's primary claims and of its draw into its claims file, before the run that decides them."""
    from nbutils import run
    from nbutils.record import claim_files, locks

    (path,) = run.find_notebooks([notebook])
    draw = run.notebook_parameters(path).get("draw", {}).get("default")
    if draw is None:
        raise InputError(f"{path.name} has no parameter `draw`: its test questions are not separate from its seed")
    records = {scale: content for scale in SCALES[1:] if (content := _results(path.stem[:2], scale))}
    digests = locks.lock(claim_files.claims_path(path.stem), draw, records)
    click.echo(f"locked {len(digests)} primary claims of {path.stem} on draw {draw}: {', '.join(digests)}")


@claims.command()
@click.option("--scale", default="tiny", show_default=True, help="Whose records: smoke, tiny, gpu or paper.")
def check(scale) -> None:
    """Check claims against records: what changed after its results, cannot fail, or is no longer as it was judged."""
    from nbutils.record import claims as judging
    from nbutils.record import locks
    from nbutils.record.sections import same_outcome

    problems = []
    for file, content in _notebooks(scale):
        found = dict(content["claims"]) if content else {}
        known = {id_: file.claims[id_] for id_ in found if id_ in file.claims}
        try:
            again = judging.judge_all(known, content["scores"], scale) if content else {}
        except InputError as error:  # a score that the record does not have: the claim was changed
            problems.append(f"{content['notebook']}: {error}")
            again = {}
        for id_ in file.claims:
            outcome = found.pop(id_, None)
            if (status := locks.lock_status(file, id_, outcome)) in (locks.CHANGED, locks.LATE):
                problems.append(f"{id_}: {status}")
            if outcome and outcome["verdict"] == judging.REFUSED:
                problems.append(f"{id_}: refused, {outcome['why']}")
            elif outcome and id_ in again and not same_outcome(again[id_], outcome):
                problems.append(f"{id_}: is no longer judged as in its record; python -m nbutils run {id_[:2]}")
        problems += [f"{id_}: in the record, but no longer a claim" for id_ in found]
    for problem in problems:
        click.echo(problem)
    if problems:
        sys.exit(1)
    click.echo(f"claims and records of scale {scale} agree")


def _notebooks(scale):
    """(claims file, record or None) of every notebook."""
    from nbutils.record import claim_files

    if scale not in SCALES:
        raise InputError(f"no scale {scale!r}: use one of {', '.join(SCALES)}")
    for path in sorted(paths.CLAIMS.glob("*.yaml")):
        yield claim_files.load_file(path), _record(path.stem, scale)


def _record(number, scale):
    """The record of the notebook of that number, or None."""
    from nbutils.record import load_record

    files = sorted((paths.FIGURES / scale).glob(f"{number}_*/record.json"))
    return load_record(files[0]) if files else None


def _results(number, scale):
    """The record, or None where there is none that can be read: those of earlier formats have no draw."""
    try:
        return _record(number, scale)
    except InputError:
        return None


def _not_judged(content, id_) -> str:
    if content is None:
        return "not run"
    return f"skipped: {content['skipped'][id_]}" if id_ in content["skipped"] else "not judged in the record"


def _cell(notebook, id_) -> str:
    """Which cell printed the verdict: "cell [12]"."""
    from nbutils.record.sections import cell_numbers
    from nbutils.run.notebook import read_cells

    number = cell_numbers(read_cells(paths.NOTEBOOKS / f"{notebook}.ipynb")).get(id_)
    return f"cell [{number}]" if number else "no cell of the notebook as it lies there"


def _write_scores(claim, scores) -> None:
    """One line per question: id, subject, field, and each score that the claim names."""
    names = next(iter(claim["quantity"].values()))
    names = [names] if isinstance(names, str) else names
    first = scores[names[0]]
    columns = [dict(zip(scores[name]["ids"], scores[name]["values"], strict=True)) for name in names]
    blank = [""] * len(first["ids"])
    writer = csv.writer(sys.stdout)
    writer.writerow(["id", "subject", "field", *names])
    labels = zip(first["ids"], first.get("subjects", blank), first.get("fields", blank), strict=True)
    for id_, subject, field in labels:
        writer.writerow([id_, subject, field, *(column[id_] for column in columns)])
