"""The questions about a country: facts, long answers, the country asked for, and two hops."""

import re

from nbutils.data.factbook.country import Country, with_article
from nbutils.data.factbook.facts import Facts, identifying_value
from nbutils.data.factbook.tables import load_tables
from nbutils.data.schema import Example, Passage
from nbutils.data.tasks import question_example
from nbutils.text import contains_exactly, contains_words, sentences


def fill_template(template: str, country: Country, value: str = "", named: str = "") -> str:
    """The template with the country (called `named`, or by its name) and the value put in, see `fields.yaml`."""
    named = named or country.named
    vowel = re.match(r"(?i)[aeio]|u(?!k|ru|g|ni)", value) and not value.startswith("Eu")
    the_value = with_article(value)
    return template.format(
        c=named,
        C=named[:1].upper() + named[1:],
        place=country.place,
        a=value,
        the_a=the_value,
        The_a=the_value[:1].upper() + the_value[1:],
        an_a=f"{'an' if vowel else 'a'} {value}",
    )


def gold_passages(country: Country, leaf: str, value: str, corpus: dict[str, Passage]) -> tuple[str, ...]:
    """The country's passages that hold the leaf and contain the value."""
    return tuple(id for id in country.holders.get(leaf, ()) if contains_exactly(corpus[id].text, value))


def _long_gold(country: Country, leaf: str, answer: str, corpus: dict[str, Passage]) -> tuple[str, ...]:
    """The country's passages that hold a sentence of the answer."""
    return tuple(
        id
        for id in country.holders.get(leaf, ())
        if any(sentence.rstrip(" .;") in corpus[id].text for sentence in sentences(answer))
    )


def _wordings(country: Country, templates: tuple[str, ...]) -> list[tuple[int, str, bool]]:
    """[(number, template, held out)]: outside the test split, all but the last."""
    last = len(templates) - 1
    return [(i, text, i == last) for i, text in enumerate(templates) if i < last or country.split == "test"]


def country_questions(country: Country, corpus: dict[str, Passage], facts: Facts) -> list[Example]:
    """The fact, long-form and reverse questions about one country."""
    made = []
    for row in load_tables().fields:
        answers = country.answers.get(row.key)
        if not answers or row.leaf in country.withheld:
            continue
        about = country.split, row.key, country.title
        if row.long_form:
            gold = _long_gold(country, row.leaf, answers[0], corpus)
        else:
            gold = gold_passages(country, row.leaf, answers[0], corpus)
        # The other values of a list that is split over passages stand in passages that would not count as gold.
        if gold and not (row.many and len(country.holders[row.leaf]) > 1):
            kind = "long_form" if row.long_form else "fact"
            for i, template, held_out in _wordings(country, row.questions):
                text = fill_template(template, country)
                id = f"{country.slug}-{row.key}-{i}"
                made.append(question_example(id, text, answers, gold, kind, *about, i, held_out))
        value = identifying_value(country, row, facts) if row.reverse else ""
        if value:
            gold = gold_passages(country, row.leaf, value, corpus)
            for i, template, held_out in _wordings(country, row.reverse):
                text = fill_template(template, country, value)
                id = f"{country.slug}-{row.key}-reverse-{i}"
                names = (country.title, *country.aliases)
                made.append(question_example(id, text, names, gold, "reverse", *about, i, held_out))
    return made


def multi_hop_questions(country: Country, corpus: dict[str, Passage], facts: Facts) -> list[Example]:
    """Questions about one country that is named only by a value in another passage than the answer."""
    made = []
    tables = load_tables()
    rows = {row.key: row for row in tables.fields}
    passages = [id for ids in country.holders.values() for id in ids]
    for bridge_key, target_key in tables.multi_hop:
        bridge, target = rows[bridge_key], rows[target_key]
        value, answers = identifying_value(country, bridge, facts), country.answers.get(target_key)
        if not value or not answers or target.leaf in country.withheld or contains_words(value, answers[0]):
            continue
        texts = (corpus[id].text for id in passages)
        if any(contains_exactly(text, value) and contains_exactly(text, answers[0]) for text in texts):
            continue
        first = gold_passages(country, bridge.leaf, value, corpus)
        gold = first + gold_passages(country, target.leaf, answers[0], corpus)
        phrase, statement = tables.bridges[bridge_key]
        question = target.questions[0]
        wordings = (phrase, statement)
        for i, wording, held_out in _wordings(country, wordings):
            # A bridge is either a phrase, put into the question, or a statement before it that the question refers to.
            bridged = fill_template(wording, country, value)
            text = fill_template(question, country, named=bridged if wording == phrase else f"that {country.place}")
            text = text if wording == phrase else f"{bridged} {text}"
            name = f"{bridge_key}-{target_key}"
            about = country.split, name, country.title
            id = f"{country.slug}-hop-{name}-{i}"
            made.append(question_example(id, text, answers, gold, "multi_hop", *about, i, held_out))
    return made
