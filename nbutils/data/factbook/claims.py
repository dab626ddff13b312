"""The claims about a country, and the clues to it."""

from nbutils.data.factbook.country import Country, gives_away
from nbutils.data.factbook.facts import Facts, clue_sentences
from nbutils.data.factbook.hashing import hash_fraction
from nbutils.data.factbook.questions import fill_template, gold_passages
from nbutils.data.factbook.tables import Field, load_tables
from nbutils.data.schema import Example, Passage
from nbutils.data.tasks import claim_example, clue_example
from nbutils.text import contains_words, normalize, padded_words


def country_claims(country: Country, corpus: dict[str, Passage], facts: Facts) -> list[Example]:
    """A supported and a refuted claim for each value; both undecidable where the corpus does not hold it."""
    made = []
    for row in load_tables().fields:
        if not row.claim or row.key not in country.answers:
            continue
        value = country.answers[row.key][0]
        other = _swapped(country, row, facts)
        gold = gold_passages(country, row.leaf, value, corpus)
        if row.leaf in country.withheld:
            labelled = [("not_enough_information", value), ("not_enough_information", other)]
        else:
            labelled = [("supported", value), ("refuted", other)] if gold else []
        for i, (label, value) in enumerate(labelled):
            if value:
                tag = f"undecided-{i}" if row.leaf in country.withheld else label
                text = fill_template(row.claim, country, value)
                id = f"{country.slug}-{row.key}-{tag}"
                made.append(claim_example(id, text, label, gold, country.split, row.key, country.title))
    return made


def _swapped(country: Country, row: Field, facts: Facts) -> str:
    """Another country's value that is not true of this one, or "" when there is none to be sure of."""
    answers, text = country.answers[row.key], country.leaves[row.leaf]
    own = [padded_words(answer) for answer in (*answers, country.title, *country.aliases)]
    kind = row.claim_class(answers[0]) if row.claim_class else ""
    if row.claim_class and not kind:
        return ""
    pool = facts.pools[row.key]
    start = int(hash_fraction("swap", country.code, row.key) * len(pool))
    same_value = load_tables().same_value
    for value in pool[start:] + pool[:start]:
        spellings = [padded_words(spelling) for spelling in (value, *same_value.get(value, ()))]
        if any(a in b or b in a for a in spellings for b in own):
            continue
        if contains_words(text, value) or gives_away(value, country):
            continue
        if row.claim_class and row.claim_class(value) in ("", kind):
            continue
        # A list may be complete on one side only: Zambia names Botswana as a neighbour even if Botswana did not.
        other = facts.by_title.get(value)
        if other and contains_words(other.leaves.get(row.leaf, ""), country.title):
            continue
        return value
    return ""


def country_clues(country: Country, corpus: dict[str, Passage], facts: Facts) -> list[Example]:
    """Clues to one country: what one sentence of its entry says of its name, capital, flag, geography or anthem."""
    made = []
    for leaf, opening in load_tables().clues.items():
        number = 0
        for sentence in clue_sentences(country, leaf):
            words = frozenset(normalize(sentence).split())
            # Two tricolours are told apart by few words: a sentence much like another country's is no clue.
            if any(len(words & w) > 0.6 * len(words | w) for code, w in facts.clues[leaf] if code != country.code):
                continue
            gold = tuple(id for id in country.holders[leaf] if sentence in corpus[id].text)
            text = f"{opening.format(place=country.place)}: {sentence}."
            if gold and len(text.split()) <= 40:
                id = f"{country.slug}-clue-{leaf}-{number}"
                made.append(clue_example(id, text, country.title, country.named, gold, country.split))
                number += 1
    return made
