"""Office holders of two years: the file is checked, and swapping leaves nothing that tells of the other year's."""

import re
from dataclasses import replace

import pytest

from nbutils import metrics
from nbutils.data import Passage, factbook, office_holders
from nbutils.errors import InputError
from nbutils.text import contains_exactly, contains_words, slugify

HEADER = "country,office,name_2015,since_2015,name_2025,since_2025,changed,independent\n"
ALBANIA = "Albania,chief of state,Bujar Nishani,2012,Bajram Begaj,2022,true,true\n"
GOOD = HEADER + ALBANIA + "Albania,head of government,Edi Rama,2013,Edi Rama,2013,false,true\n"


@pytest.fixture(scope="module")
def offices():
    return office_holders.load_office_holders()


@pytest.fixture(scope="module")
def corpus():
    return factbook.build().corpus


@pytest.fixture(scope="module")
def questions(offices):
    return {year: office_holders.office_holder_questions(offices, year) for year in office_holders.YEARS}


def load(tmp_path, text):
    path = tmp_path / "leaders.csv"
    path.write_text(text, encoding="utf-8")
    return office_holders.load_office_holders(path)


# The file


def test_the_file_has_enough_changed_offices_and_controls(offices):
    changed = [office for office in offices if office.changed]
    assert len([office for office in changed if office.independent]) == 316
    assert (len(offices), len(changed)) == (454, 387)


def test_a_good_file_loads(tmp_path):
    president, minister = load(tmp_path, GOOD)
    assert president == office_holders.Office(
        "Albania", "chief of state", "Bujar Nishani", 2012, "Bajram Begaj", 2022, True, True
    )
    assert (president.holder(2015), president.since(2025)) == ("Bujar Nishani", 2022)
    assert minister.changed is False
    # Columns are found by name, not by place.
    swapped = "office,country,name_2015,since_2015,name_2025,since_2025,independent,changed\n"
    (other,) = load(tmp_path, swapped + "chief of state,Albania,Bujar Nishani,2012,Bajram Begaj,2022,false,true\n")
    assert (other.country, other.changed, other.independent) == ("Albania", True, False)
    with pytest.raises(InputError, match="no office holders of 2020"):
        president.holder(2020)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("independent\n", "independent,party\n", "line 1: unknown or missing column 'party'"),
        (",changed,", ",swapped,", "line 1: unknown or missing column 'changed'"),
        (",changed,", ",country,", "line 1: unknown or missing column"),
        ("Edi Rama,2013,Edi Rama", ",2013,", "line 3: name_2015 is ''"),
        ("Edi Rama,2013,Edi Rama", " Edi Rama,2013, Edi Rama", "line 3: name_2015 is ' Edi Rama'"),
        ("head of government", "chief of state", "line 3: chief of state of Albania stands on line 2 already"),
        ("head of government", "prime minister", "line 3: office is 'prime minister'"),
        ("Edi Rama,2013,false", "Edi Rama,2013,true", "line 3: changed is true, but the names"),
        ("Bajram Begaj,2022,true", "Bajram Begaj,2022,false", "line 2: changed is false, but the names"),
        ("Edi Rama,2013,false", "Edi Rama,2013,no", "line 3: changed is 'no'"),
        ("Bujar Nishani,2012", "Bujar Nishani,12", "line 2: since_2015 is '12'"),
        (",true,true\n", ",true\n", "line 2: 7 cells"),
        (GOOD, HEADER, "no offices"),
        (GOOD, "", "line 1"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(InputError, match=re.escape(message)):
        load(tmp_path, GOOD.replace(old, new, 1))


def test_what_is_no_file_or_no_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="no file"):
        office_holders.load_office_holders(tmp_path / "leaders.csv")
    (tmp_path / "leaders.csv").write_bytes(GOOD.replace("Edi", "\xc9di").encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        office_holders.load_office_holders(tmp_path / "leaders.csv")


# Passages and questions


def test_a_passage_names_every_office_of_its_country(offices):
    passages = {year: office_holders.office_holder_passages(offices, year) for year in office_holders.YEARS}
    albania = passages[2015]["leaders-albania"]
    assert (albania.title, albania.text) == (
        "Albania",
        "Executive branch. Chief of state: Bujar Nishani (since 2012). Head of government: Edi Rama (since 2013).",
    )
    # One person with two offices is named once for each.
    assert passages[2025]["leaders-angola"].text.count("Joao Manuel Goncalves Lourenco (since 2017)") == 2
    assert passages[2015].keys() == passages[2025].keys() and len(passages[2015]) == 235
    with pytest.raises(InputError, match="2020"):
        office_holders.office_holder_passages(offices, 2020)


def test_questions_are_the_same_in_both_years_but_for_their_answers(offices, questions):
    for office, old, new in zip(offices, questions[2015], questions[2025], strict=True):
        assert replace(old, answers=()) == replace(new, answers=())
        assert (old.answers[0], new.answers[0]) == (office.name_2015, office.name_2025)
        # What is right in one year is wrong in the other, in every accepted form.
        accepted = [{metrics.normalize_answer(answer) for answer in q.answers} for q in (old, new)]
        assert accepted[0].isdisjoint(accepted[1]) == office.changed, office
    assert len({question.id for question in questions[2015]}) == len(offices)
    asked = {question.id: question for question in questions[2025]}
    bahamas = asked["leaders-bahamas-head_of_government"]
    assert bahamas.question == "Who is the head of government of the Bahamas?"
    assert (bahamas.gold_passages, bahamas.task, bahamas.subject) == (("leaders-bahamas",), "fact", "Bahamas")


def test_every_answer_stands_in_its_gold_passage(offices, questions):
    for year in office_holders.YEARS:
        passages = office_holders.office_holder_passages(offices, year)
        for question in questions[year]:
            assert contains_exactly(passages[question.gold_passages[0]].text, question.answers[0])


def test_splits_are_those_of_the_factbook(questions):
    split_of = {country.title: country.split for country in factbook.countries()}
    countries = {slugify(title): split for title, split in split_of.items()}
    for question in questions[2015]:
        assert question.split == countries[question.gold_passages[0].removeprefix("leaders-")]
    assert {question.split for question in questions[2015]} == {"train", "dev", "test"}


def test_short_forms_are_accepted_where_no_other_holder_has_them(questions):
    answers = {year: {question.id: question.answers for question in questions[year]} for year in office_holders.YEARS}
    assert answers[2025]["leaders-united-states-chief_of_state"] == ("Donald J. Trump", "Donald Trump", "Trump")
    assert answers[2025]["leaders-philippines-chief_of_state"][1:] == ("Ferdinand Marcos", "Marcos")
    assert answers[2025]["leaders-angola-chief_of_state"][1:] == ("Joao Lourenco", "Lourenco")
    assert answers[2025]["leaders-austria-chief_of_state"][1:] == ("Van der Bellen",)
    assert answers[2015]["leaders-canada-head_of_government"][1:] == ("Trudeau",)
    assert answers[2015]["leaders-united-kingdom-chief_of_state"] == ("Elizabeth II", "Elizabeth")
    assert answers[2025]["leaders-france-head_of_government"][1:] == ("Lecornu", "Sebastien Lecornu")
    # Two premiers of Grenada are called Mitchell, a prime minister of Belgium is called Charles; Un is too short.
    assert answers[2015]["leaders-grenada-head_of_government"] == ("Keith Mitchell",)
    assert answers[2025]["leaders-united-kingdom-chief_of_state"] == ("Charles III",)
    assert "Un" not in answers[2025]["leaders-north-korea-chief_of_state"]


def test_an_unknown_country_is_refused(offices):
    with pytest.raises(InputError, match="no country 'Atlantis'"):
        office_holders.office_holder_questions([replace(offices[0], country="Atlantis")], 2015)


# The swapped corpus


def told(offices, questions, corpus):
    """Changed offices whose holder, in any accepted form, some passage of the country names; not the swapped ones."""
    texts = {}
    for id_, passage in corpus.items():
        if not id_.startswith("leaders-"):
            texts[passage.title] = f"{texts.get(passage.title, '')} | {passage.text}"
    return [
        question.id
        for office, question in zip(offices, questions, strict=True)
        if office.changed and any(contains_words(texts[office.country], answer) for answer in question.answers)
    ]


def test_swapping_cuts_exactly_what_the_factbook_says_of_its_offices(offices, corpus):
    passages = office_holders.office_holder_passages(offices, 2015)
    swapped = office_holders.swap_office_holders(corpus, passages)
    left = [passage.text for id_, passage in swapped.items() if id_ not in passages]
    assert not any(re.search(r"(?i)(?:chief of state|head of government):", text) for text in left)
    assert all(swapped[id_] == passage for id_, passage in passages.items())
    cut_words = {}
    for id_, passage in corpus.items():
        kept = swapped[id_].text.split() if id_ in swapped else []
        cut = cut_words.setdefault(passage.title, [])
        cut += passage.text.split()
        for word in kept:
            cut.remove(word)
    for country in factbook.countries():
        leaves = {"chief": "Chief of state", "head": "Head of government"}
        told_before = [f"{label}: {country.leaves[leaf].rstrip('.')}." for leaf, label in leaves.items()
                       if leaf in country.leaves and leaf not in country.withheld]  # fmt: skip
        assert sorted(cut_words[country.title]) == sorted(" ".join(told_before).split()), country.title


def test_only_the_swapped_passages_tell_who_holds_an_office(offices, corpus, questions):
    plain = office_holders.swap_office_holders(corpus, office_holders.office_holder_passages(offices, 2015))
    clean = office_holders.swap_office_holders(
        office_holders.without_mentions(corpus, offices), office_holders.office_holder_passages(offices, 2015)
    )
    # Planted fault: nothing swapped, so that nearly every country still says who holds its offices in 2025.
    assert len(told(offices, questions[2025], corpus)) > 370
    # Histories name 72 of the 387 in 2025, 80 in 2015: allowed, and cut by without_mentions.
    assert len(told(offices, questions[2025], plain)) == 72
    assert len(told(offices, questions[2015], plain)) == 80
    assert told(offices, questions[2025], clean) == told(offices, questions[2015], clean) == []


def test_without_mentions_cuts_sentences_and_nothing_else(offices):
    offices = [office for office in offices if office.country == "Albania"]
    text = "Background: Founded in 1912. In 2022, Bajram BEGAJ was elected; voters were few. Capital: Tirana."
    corpus = {
        "history": Passage("Albania", text),
        "other": Passage("Kosovo", "Background: Albania's president is Bajram BEGAJ."),
        "office": Passage("Albania", "Chief of state: President Bajram Begaj (since 2022). Capital: Tirana."),
        "only": Passage("Albania", "Background (continued): Edi RAMA leads it."),
    }
    clean = office_holders.without_mentions(corpus, offices)
    assert clean["history"].text == "Background: Founded in 1912. voters were few. Capital: Tirana."
    assert clean["other"] is corpus["other"] and clean["office"] == corpus["office"]
    assert "only" not in clean


def test_swapping_leaves_other_passages_alone(offices):
    corpus = {
        "a": Passage("Albania", "Suffrage: universal. Chief of state: President X (since 1 May 2022); note - "
                     "represented by Y. Head of government: Z (since 2013). Legislature: Parliament; note: small."),
        "b": Passage("Albania", "Chief of state: X. Head of government (continued): Z."),
        "c": Passage("Peru", "Background: installed a new head of government: nobody."),
    }  # fmt: skip
    passages = office_holders.office_holder_passages(offices, 2015)
    swapped = office_holders.swap_office_holders(corpus, passages)
    assert swapped["a"].text == "Suffrage: universal. Legislature: Parliament; note: small."
    assert swapped["c"] is corpus["c"]
    assert "b" not in swapped and len(swapped) == 2 + len(passages)
    with pytest.raises(InputError, match="'leaders-afghanistan' is in the corpus already"):
        office_holders.swap_office_holders(swapped, passages)
    with pytest.raises(InputError, match="tells of no office holder"):
        office_holders.swap_office_holders({"c": corpus["c"]}, passages)
