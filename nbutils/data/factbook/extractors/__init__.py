"""From the text of one leaf to the answers that it gives.

An extractor takes the text and returns the answer strings, the one that stands in the text first, or nothing where the
text does not answer the question plainly: a doubtful cell is dropped, not guessed. `fields.yaml` names them.
"""

import functools
from collections.abc import Callable, Mapping

from nbutils.data.factbook.extractors import economy, general, geography, government, names, people
from nbutils.errors import InputError

EXTRACTORS: dict[str, Callable[..., tuple[str, ...]]] = {
    function.__name__: function
    for function in (
        general.pattern,
        general.list_items,
        general.first_sentences,
        geography.highest,
        geography.lowest,
        geography.elevation,
        geography.border_countries,
        geography.rivers,
        people.demonym,
        people.official_language,
        people.majority_group,
        people.largest_city,
        government.capital,
        government.government_type,
        government.legislature,
        government.chambers,
        government.independence,
        government.independence_from,
        names.office_holder,
        names.official_name,
        names.local_names,
        names.former_names,
        names.anthem,
        names.symbols,
        names.colors,
        names.holiday,
        names.holiday_date,
        names.sites,
        economy.currency,
        economy.top_partner,
    )
}
CLAIM_CLASSES: dict[str, Callable[[str], str]] = {"government_class": government.government_class}


def find_extractor(name: str, arguments: Mapping[str, object]) -> Callable[[str], tuple[str, ...]]:
    """The extractor called `name` with these arguments, as a function of the text. Raises InputError."""
    if name not in EXTRACTORS:
        raise InputError(f"no extractor is called {name!r}; there are: {', '.join(sorted(EXTRACTORS))}")
    return functools.partial(EXTRACTORS[name], **arguments) if arguments else EXTRACTORS[name]


def find_claim_class(name: str) -> Callable[[str], str]:
    """The function from a value to its class, called `name`. Raises InputError."""
    if name not in CLAIM_CLASSES:
        raise InputError(f"no claim class is called {name!r}; there are: {', '.join(sorted(CLAIM_CLASSES))}")
    return CLAIM_CLASSES[name]
