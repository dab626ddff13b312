"""The embedded data set, put together."""

from dataclasses import replace

from nbutils.data.factbook.claims import country_claims, country_clues
from nbutils.data.factbook.country import N_COUNTRIES, countries
from nbutils.data.factbook.facts import collect_facts
from nbutils.data.factbook.passages import pack
from nbutils.data.factbook.questions import country_questions, multi_hop_questions
from nbutils.data.schema import Dataset, content_sha256
from nbutils.errors import InputError


def build(n_countries: int | None = None) -> Dataset:
    """The data set over the first `n_countries` entries of a fixed order (None: all).

    Independent states with long entries come first; from 6 on, each size holds train, dev and test countries in about
    the proportion of `SPLITS`, and a country's records are the same at every size.
    Raises InputError when the package is missing or holds other data than the pinned.
    """
    if n_countries is not None and (type(n_countries) is not int or not 1 <= n_countries <= N_COUNTRIES):
        raise InputError(f"n_countries is {n_countries!r}; it must be 1 to {N_COUNTRIES}, or None for all of them")
    everyone = countries()
    chosen = everyone[:n_countries]
    facts = collect_facts(everyone)
    corpus = pack(chosen)
    parts = [make(country, corpus, facts) for country in chosen for make in (country_questions, multi_hop_questions)]
    examples = [question for part in parts for question in part]
    examples += [claim for country in chosen for claim in country_claims(country, corpus, facts)]
    examples += [clue for country in chosen for clue in country_clues(country, corpus, facts)]
    dataset = Dataset("factbook", corpus, examples)
    return replace(dataset, sha256=content_sha256(dataset))
