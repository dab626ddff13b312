"""Queries by type: each rule by hand, and on the real data sets that every type has its queries and keeps its word."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest

from nbutils import data
from nbutils.data import Passage, downloads, query_types, question_example, squadshifts
from nbutils.data.factbook import load_tables
from nbutils.data.query_types import draws, function_words, misspelling, overlap, paraphrases, rewording, snippets
from nbutils.errors import InputError
from nbutils.text import word_spans

PERU = Passage(
    "Peru", "Capital: Lima, a large city on the coast. Currency: nuevo sol. Lowest point: Pacific Ocean 0 m."
)
CHAD = Passage(
    "Chad", "Capital: N'Djamena. Climate: tropical in the south and desert in the north, with hot dry winds."
)
CORPUS = {"p": PERU, "c": CHAD}


def fact(id, text, wording=0, gold=("p",), field="capital", subject="Peru", split="test", task="fact"):
    return question_example(id, text, ("Lima",), gold, task, split, field, subject, wording)


def human(id, text, gold=("p",)):
    return question_example(id, text, ("Lima",), gold, subject="Peru")


FACTS = [fact("f-0", "What is the capital of Peru?"), fact("f-1", "Which large city is the capital of Peru?", 1)]
FACTS += [fact("g-0", "Which currency is used in Peru?", field="currency")]
EXPLAIN = fact("l-0", "What is the climate of Chad like?", 0, ("c",), "about_climate", "Chad", task="long_form")


# A question as it is typed


@pytest.mark.parametrize(
    ("question", "typed"),
    [
        ("What is the capital of Peru?", "capital of peru"),
        ("What is the capital city of Peru called?", "capital city of peru"),
        ("What is a citizen of Peru called?", "citizen of peru called"),  # without the last word it says less
        ("Name one of the main exports of the Gambia.", "main exports of gambia"),
        ("Give me the name of Peru's president!", "name of peru's president"),
        ("To which religious group do most people in Peru belong?", "religious group most people in peru belong"),
        ("How many World Heritage Sites are there in Peru?", "how many world heritage sites in peru"),
        ("When did Peru gain its independence?", "when peru gain independence"),
        ("Does Peru have a unicameral or a bicameral legislature?", "peru unicameral or bicameral legislature"),
        ("What is the St. Helena non-native share of 1,350.5?", "st helena non-native share of 1,350.5"),
        ("Who is the head of state of Peru?", "head of state of peru"),
        ("Who leads the government of Peru?", "who leads government of peru"),
        ("Who is who?", "who is who"),
        ("What do stripes on the U.S. flag mean?", "stripes on us flag mean"),
        ("???", "???"),
    ],
)
def test_a_question_is_typed_without_its_frame(question, typed):
    assert query_types.web_like(question) == typed


def test_keywords_are_the_rarest_content_words_rarest_first():
    frequencies = query_types.document_frequencies(CORPUS)
    counts, n = frequencies
    assert n == 2 and (counts["capit"], counts["peru"], counts["coast"], counts["mount"]) == (2, 1, 1, 0)
    ranked = query_types.keywords("What is the capital of Peru, a mountain or a coast?", frequencies)
    # log(2 / 1) of the mountain, log(2 / 2) of Peru and coast in the order of the question, log(2 / 3) of the capital
    assert ranked == "mountain peru coast capital"
    five = query_types.keywords("Name a mountain, river, lake, peak or hill in Peru.", frequencies)
    assert five == "mountain river lake peak"  # none is in the corpus: the first four
    assert query_types.keywords("Which river is called Lima?", frequencies) == "river lima"  # a light verb goes
    assert query_types.keywords("What is it called?", frequencies) == "called"  # unless nothing else is left
    assert query_types.keywords("Who is it?", frequencies) == "it"  # no content word: as typed


def test_a_name_is_one_keyword_and_stays_together():
    frequencies = Counter({"trinidad": 1, "tobago": 1, "capit": 60, "heritag": 90, "world": 95, "site": 90}), 100
    asked = "What are the World Heritage Sites of the capital of Trinidad and Tobago?"
    assert query_types.keywords(asked, frequencies, ("Trinidad and Tobago",)) == (
        "trinidad tobago capital world heritage sites"
    )
    assert query_types.keywords(asked, frequencies) == "trinidad tobago capital world heritage sites"
    lower = asked.lower()
    assert query_types.keywords(lower, frequencies, ("Trinidad and Tobago",)).startswith("trinidad tobago capital")
    assert query_types.keywords(lower, frequencies) == "trinidad tobago capital heritage"  # no name: four words


def test_typed_questions_and_keywords_differ_in_order_and_function_words():
    frequencies = query_types.document_frequencies(CORPUS)
    asked = "Which city on the coast is the capital of Peru?"
    assert query_types.web_like(asked) == "city on coast capital of peru"
    assert set(query_types.keywords(asked, frequencies).split()) == {"city", "coast", "capital", "peru"}
    assert query_types.keywords(asked, frequencies).split()[-1] == "capital"  # in both passages


# Overlap


def test_overlap_is_the_share_of_content_words_in_passage_and_title():
    assert function_words.content_words("What are the big cities of Peru, and why?") == ["big", "cities", "peru"]
    assert query_types.word_overlap("What are the big cities of Peru, and why?", PERU) == pytest.approx(2 / 3)
    assert query_types.word_overlap("cities city CITY river", PERU) == 1 / 2  # each word once, without its ending
    assert query_types.word_overlap("Peru", PERU) == 1  # stands in the title alone
    assert query_types.word_overlap("Peru", CHAD) == 0
    assert query_types.word_overlap("Who is it?", PERU) == 0


def test_overlap_by_type_is_a_mean_over_queries_and_the_best_of_several_gold_passages():
    two = human("q", "Where in Peru is it hot?", gold=("c", "p"))
    assert query_types.gold_overlap(two, CORPUS) == 1 / 2
    one = human("r", "Is Lima in Peru?")
    means = query_types.mean_overlaps({"a": [two, one], "b": [one]}, CORPUS)
    assert list(means.items()) == [("a", 0.75), ("b", 1.0)]


# Typing errors


def edits(a, b):
    """Optimal string alignment distance: letters replaced, left out, added, and swapped with the next one."""
    rows = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i, j in itertools.product(range(1, len(a) + 1), range(1, len(b) + 1)):
        options = [rows[i - 1, j] + 1, rows[i, j - 1] + 1, rows[i - 1, j - 1] + (a[i - 1] != b[j - 1])]
        if i > 1 and j > 1 and (a[i - 1], a[i - 2]) == (b[j - 2], b[j - 1]):
            options.append(rows[i - 2, j - 2] + 1)
        rows[i, j] = min(options)
    return rows[len(a), len(b)]


def test_the_measure_of_edits_tells_them_apart():
    words = ("peru", "preu", "per", "peruu", "pero", "upper")
    assert [edits("peru", word) for word in words] == [0, 1, 1, 1, 1, 3]


def test_keys_that_touch():
    assert {letter: misspelling.NEIGHBORS[letter] for letter in "agpm"} == {
        "a": "qwsz", "g": "tyfhvb", "p": "ol", "m": "jkn",
    }  # fmt: skip
    assert all(b in misspelling.NEIGHBORS[a] for b, near in misspelling.NEIGHBORS.items() for a in near)


def test_the_four_kinds_of_error():
    assert misspelling.ERRORS["swapped"]("Peru", 1) == "Preu" and misspelling.ERRORS["left out"]("Peru", 3) == "Per"
    assert misspelling.ERRORS["doubled"]("Peru", 2) == "Perru"
    assert misspelling.ERRORS["replaced"]("PERU", 2, "key") in {f"PE{letter}U" for letter in "EDFT"}
    assert misspelling.ERRORS["replaced"]("T\u00fcrk", 1, "key") == "T\u00fcrk"  # no such key: another place is taken
    kinds = Counter()
    for i in range(400):
        wrong = misspelling.misspell_word("Botswana", str(i))
        assert edits("Botswana", wrong) == 1 and wrong[0] == "B"
        kinds[len(wrong) - 8, sorted(wrong) == sorted("Botswana")] += 1
    # left out, doubled, swapped, replaced; of 400 with p = 1/4 the standard deviation is 8.7
    assert set(kinds) == {(-1, False), (1, False), (0, True), (0, False)} and min(kinds.values()) > 65
    assert misspelling.misspell_word("oo", "a") in {"o", "ooo", "oi", "op", "ok", "ol", "o9"}


def test_one_error_for_two_content_words_and_all_else_kept():
    assert [query_types.n_errors(n) for n in range(7)] == [1, 1, 1, 1, 2, 2, 3]
    asked = "What is the national holiday of Trinidad and Tobago?"
    hit = Counter()
    for i in range(60):
        wrong = query_types.misspell(asked, "0", str(i))
        assert edits(asked, wrong) == 2
        changed = [(a, b) for a, b in zip(asked.split(), wrong.split(), strict=True) if a != b]
        assert len(changed) == 2 and all(a[0] == b[0] for a, b in changed)
        hit.update(a for a, _ in changed)
    assert set(hit) == {"national", "holiday", "Trinidad", "Tobago?"}  # names too, function words never
    assert query_types.misspell(asked, "0", "1") == query_types.misspell(asked, "0", "1")
    assert query_types.misspell("How old is it?", "0")[:4] == "How " and query_types.misspell("7 + 5?", "0") is None
    assert edits("Who is it?", query_types.misspell("Who is it?", "0")) == 1


# Snippets


WORDS = "one two three four five six seven eight nine ten eleven twelve"
TEXT = f"{WORDS.capitalize()}. Peru lies here. {WORDS.upper()}, said Peru"


def test_a_snippet_is_a_run_of_words_within_a_sentence_and_without_the_title():
    passage = Passage("Peru", TEXT)
    found = {query_types.snippet(passage, TEXT, str(i)) for i in range(200)}
    assert all(run in TEXT and 8 <= len(run.split()) <= 13 for run in found)
    assert all(run in WORDS.capitalize() or run in f"{WORDS.upper()}, said" for run in found)
    assert found >= {"One two three four five six seven eight", WORDS.upper(), f"{WORDS.upper()}, said"}
    assert {len(run.split()) for run in found} == {8, 9, 10, 11, 12, 13}  # drawn from 8 to 15, and no longer fits


def test_a_snippet_crosses_sentences_or_names_the_title_only_where_it_must():
    across = "One two three four five. Six seven eight nine ten. Eleven twelve."
    run = query_types.snippet(Passage("Peru", across), across, "a")
    assert run in across and ". " in run and len(run.split()) >= 8
    named = "Peru one two. Peru three four. Peru five six. Peru seven"
    assert "Peru" in query_types.snippet(Passage("Peru", named), named, "a")
    assert query_types.snippet(Passage("Peru", "One two three four five six seven."), "", "a") is None
    dashes = "- one two three four five six seven eight -"
    assert query_types.snippet(Passage("", dashes), dashes, "a") == "one two three four five six seven eight"


def test_a_snippet_stands_in_its_passage_alone():
    twice = f"{WORDS} and then"
    texts = f"{twice}\n{WORDS}"
    runs = {query_types.snippet(Passage("", twice), texts, str(i)) for i in range(40)}
    assert all(texts.count(run) == 1 and run.endswith(("and", "then")) for run in runs)
    assert query_types.snippet(Passage("", WORDS), texts, "a") is None
    assert texts.count("one two three four five six seven eight") == 2  # as it would be without the rule


# Low overlap


def test_every_short_fact_of_the_factbook_can_be_asked_in_other_words():
    asked = [row.key for row in load_tables().fields if not row.long_form]
    assert sorted(paraphrases.PARAPHRASES) == sorted(asked)
    for templates in paraphrases.PARAPHRASES.values():
        assert len(set(templates)) == len(templates) == 2
        assert all(template.count("{") == template.count("{c}") == 1 for template in templates)
        assert all(template.endswith(("?", ".")) and template[0].isupper() for template in templates)


def test_the_wording_with_the_fewest_shared_words_is_taken():
    ministries = Passage(
        "Gambia", "Capital: Banjul. The ministries sit in Banjul. The country is ruled from this city."
    )
    example = fact("f", "What is the capital of the Gambia?", gold=("g",), subject="Gambia")
    corpus = {"g": ministries}
    wordings = [example.query, "Which place holds the first rank in the Gambia?"]
    # Both paraphrases share "Gambia", with city and ruled, or ministries and sit; of the wordings one shares the name.
    assert query_types.low_overlap(example, corpus, wordings, "0") == wordings[1]
    assert query_types.low_overlap(example, corpus, wordings[:1], "0") == wordings[0]  # Gambia and capital are two
    plain = {"g": Passage("Gambia", "Capital: Banjul.")}
    drawn = {query_types.low_overlap(example, plain, wordings, str(i)) for i in range(20)}
    assert drawn == {"From which city is the Gambia ruled?", "Where do the ministries of the Gambia sit?"}


def test_questions_of_people_are_chosen_by_measured_overlap():
    assert rewording.MAX_OVERLAP == 0.4
    few = human("q", "Which harbor of Peru ships the most copper ore?")  # harbor, Peru, ships, copper, ore: 1 of 5
    many = human("r", "Which city of Peru lies on the coast?")  # city, Peru, lies, coast: 3 of 4
    assert query_types.low_overlap(few, CORPUS, [], "0") == few.query
    assert query_types.low_overlap(many, CORPUS, [], "0") is None
    assert [e.id for e in query_types.make([many, few], CORPUS, "low_overlap")] == ["q/low_overlap"]


# Types


def test_an_example_keeps_all_but_its_id_and_what_is_searched():
    for name in ("web_like", "keywords", "misspelt", "low_overlap", "exact_snippet", "fact"):
        (made,) = query_types.make(FACTS[2:], CORPUS, name)
        assert made == replace(FACTS[2], id=f"g-0/{name}", query=made.query) and made.question == FACTS[2].question
        assert made.query and (made.query == made.question) == (name == "fact")
    (made,) = query_types.make([EXPLAIN], CORPUS, "concept")
    assert made == replace(EXPLAIN, id="l-0/concept")


def test_a_snippet_has_one_gold_passage():
    both = fact("f", "What is the capital of Peru?", gold=("p", "c"))
    for seed in range(6):
        (made,) = query_types.make([both], CORPUS, "exact_snippet", seed)
        (gold,) = made.gold_passages
        assert made.query in CORPUS[gold].text and made.question == both.question


@pytest.mark.parametrize(
    ("text", "is_concept"),
    [
        ("Why is Lima the capital?", True),
        ("How did Peru change?", True),
        ("In the end, how can it be explained?", True),
        ("What is the main purpose of the canal?", True),
        ("What caused the war?", True),
        ("Explain the war.", True),
        ("How many people live in Lima?", False),
        ("How long is the coast?", False),
        ("What is the capital?", False),
        ("Who knows?", False),
    ],
)
def test_what_a_person_asks_is_a_concept_or_a_fact(text, is_concept):
    example = human("q", text)
    assert (query_types.is_concept(example), query_types.is_fact(example)) == (is_concept, not is_concept)


def test_tasks_decide_where_they_say_what_is_asked():
    why = fact("f", "Why is Lima the capital of Peru?")
    assert query_types.is_fact(why) and not query_types.is_concept(why)
    assert query_types.is_concept(EXPLAIN) and not query_types.is_fact(EXPLAIN)
    reverse = replace(FACTS[0], id="r", task="reverse")
    claim = data.claim_example("v", "The capital of Peru is Lima.", "supported", ("p",))
    examples = [*FACTS, EXPLAIN, reverse, claim]
    made = {name: [e.id for e in query_types.make(examples, CORPUS, name)] for name in ("concept", "fact", "reverse")}
    assert made["concept"] == ["l-0/concept"] and made["reverse"] == ["r/reverse"] and len(made["fact"]) == 2


def test_lengths_are_counted_in_words():
    texts = {n: " ".join(["What", *["word"] * (n - 2), "Lima?"]) for n in (2, 7, 8, 10, 11, 30)}
    examples = [human(str(n), text) for n, text in texts.items()]
    made = {name: [e.id for e in query_types.make(examples, CORPUS, name)] for name in query_types.LENGTHS}
    assert made == {
        "short": ["2/short", "7/short"],
        "medium": ["8/medium", "10/medium"],
        "long": ["11/long", "30/long"],
    }


def test_a_fact_counts_once_in_a_wording_drawn_by_seed():
    wordings = Counter(query_types.make(FACTS, CORPUS, "fact", seed)[0].id for seed in range(40))
    assert set(wordings) == {"f-0/fact", "f-1/fact"} and min(wordings.values()) > 8
    other = fact("h-0", "What is the capital of Chad?", gold=("c",), subject="Chad")
    for seed in range(5):  # whatever else there is
        assert (
            query_types.make([*FACTS, other], CORPUS, "fact", seed)[0]
            == query_types.make(FACTS, CORPUS, "fact", seed)[0]
        )
    assert len(query_types.make([replace(e, template=-1) for e in FACTS], CORPUS, "fact")) == 3


def test_choices_depend_on_the_key_alone():
    assert draws.drawn("abc", "x") == draws.drawn("abc", "x")
    counts = Counter(draws.drawn("abc", str(i)) for i in range(600))
    assert min(counts.values()) > 160  # 200 each, standard deviation 11.5
    orders = Counter("".join(draws.drawn_order("abc", str(i))) for i in range(1200))
    assert len(orders) == 6 and min(orders.values()) > 150


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (FACTS, CORPUS, "misspelled"),
            "no query type 'misspelled': use one of concept, fact, exact_snippet, web_like",
        ),
        (([], CORPUS, "fact"), "no examples to make queries of: give those of one split, as data.select returns them"),
        ((FACTS, CORPUS, "fact", 0, 0), "n is 0, it must be a whole number of at least 1, or None for all"),
        (
            (FACTS, CORPUS, "reverse"),
            r"no query of type 'reverse' can be made of these examples \(3 fact\): leave the t",
        ),
        (
            ([replace(FACTS[0], gold_passages=())], CORPUS, "exact_snippet"),
            "example 'f-0' has no gold passage: leave it",
        ),
        (([replace(FACTS[0], gold_passages=())], CORPUS, "low_overlap"), "example 'f-0' has no gold passage: leave it"),
        (
            ([human("q", "Who?", ())], CORPUS, "low_overlap"),
            "example 'q' has no gold passage: leave it out, this needs",
        ),
        ((FACTS, {"c": CHAD}, "exact_snippet"), "gold passage 'p' of '[fg]-[01]' is not in the corpus: give the whole"),
        (([human("q", "7 + 5?")], CORPUS, "misspelt"), "no query of type 'misspelt' can be made of these examples"),
        (
            (
                [human("q", "Was ist die Hauptstadt von Peru, und wie viele leben in der Stadt und im Land?")],
                CORPUS,
                "fact",
            ),
            "the questions are in German: the query types are made by English rules",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, message):
    with pytest.raises(InputError, match=f"^{message}") as error:
        query_types.make(*arguments)
    assert "\n" not in str(error.value)


def test_types_that_need_no_gold_passage_do_without():
    bare = [replace(example, gold_passages=()) for example in FACTS]
    for name in ("fact", "web_like", "keywords", "misspelt"):
        assert len(query_types.make(bare, CORPUS, name)) == 2


# The real data sets


@pytest.fixture(scope="module")
def factbook():
    return data.load_dataset("factbook")


@pytest.fixture(scope="module")
def by_type(factbook):
    """{type: 200 queries of the test split}."""
    examples = data.select(factbook.examples, split="test")
    return {name: query_types.make(examples, factbook.corpus, name, 0, 200) for name in query_types.TYPES}


def test_every_type_has_two_hundred_test_queries_of_the_factbook(by_type):
    assert {name: len(made) for name, made in by_type.items()} == dict.fromkeys(query_types.TYPES, 200)
    assert len({example.id for made in by_type.values() for example in made}) == 200 * len(query_types.TYPES)
    assert all(example.query.strip() and example.split == "test" for made in by_type.values() for example in made)


def test_types_made_of_facts_are_made_of_the_same_ones(by_type):
    bases = {name: [e.id.rpartition("/")[0] for e in by_type[name]] for name in query_types.TYPES}
    assert bases["fact"] == bases["web_like"] == bases["keywords"] == bases["misspelt"] == bases["low_overlap"]
    assert len(set(bases["fact"]) & set(bases["exact_snippet"])) > 190
    assert len({(e.field, e.subject) for e in by_type["fact"]}) == 200


def test_a_smaller_sample_is_part_of_a_larger_one(factbook):
    examples = data.select(factbook.examples, task="fact", split="test")
    all_ = {e.id: e for e in query_types.make(examples, factbook.corpus, "misspelt", 3)}
    some = query_types.make(examples, factbook.corpus, "misspelt", 3, 60)
    few = query_types.make(examples[::-1], factbook.corpus, "misspelt", 3, 20)
    assert {e.id for e in few} <= {e.id for e in some} and all(all_[e.id] == e for e in [*some, *few])
    other = {e.id for e in query_types.make(examples, factbook.corpus, "misspelt", 4, 60)}
    assert other.isdisjoint({e.id for e in some}) or len(other & {e.id for e in some}) < 20


def test_snippets_stand_in_their_passage_and_nowhere_else(factbook, by_type):
    texts = {id_: passage.text for id_, passage in factbook.corpus.items()}
    for example in by_type["exact_snippet"]:
        assert [id_ for id_, text in texts.items() if example.query in text] == [*example.gold_passages]
        assert len(word_spans(example.query)) in range(snippets.MIN_WORDS, snippets.MAX_WORDS + 1)
    named = [e for e in by_type["exact_snippet"] if query_types.word_overlap(e.subject, Passage("", e.query)) > 0]
    assert len(named) < 10


def test_misspelt_queries_have_the_stated_number_of_errors(by_type):
    for example in by_type["misspelt"]:
        words = [word for word in misspelling._WORD.findall(example.question) if len(word) > 1]
        content = [word for word in words if word.lower() not in function_words.FUNCTION_WORDS]
        hit = min(query_types.n_errors(len(content)), sum(len(word) >= 4 for word in content))
        pairs = zip(*(misspelling._WORD.findall(text) for text in (example.question, example.query)), strict=True)
        assert sorted(edits(*pair) for pair in pairs if pair[0] != pair[1]) == [1] * hit


def test_overlaps_of_the_types_are_in_order(factbook, by_type):
    means = query_types.mean_overlaps(by_type, factbook.corpus)
    assert means["low_overlap"] < 0.4 < means["fact"] - 0.2 and means["misspelt"] < means["fact"] - 0.2
    assert means["exact_snippet"] == 1
    for low, asked in zip(by_type["low_overlap"], by_type["fact"], strict=True):
        there = overlap.passage_stems(factbook.corpus[low.gold_passages[0]])
        assert len(overlap.query_stems(low.query) & there) <= len(overlap.query_stems(asked.query) & there)


def test_human_questions_have_all_types_but_the_factbooks_own():
    if not downloads.is_complete(squadshifts.SOURCE, squadshifts.FILES["squadshifts-wiki"]):
        pytest.skip("squadshifts-wiki is not in the cache; `python -m nbutils data show squadshifts-wiki` downloads it")
    wiki = data.load_dataset("squadshifts-wiki")
    examples = data.select(wiki.examples, split="test")
    for name in query_types.TYPES[:-2]:
        made = query_types.make(examples, wiki.corpus, name, 0, 200)
        assert len(made) == 200 and all(example.query.strip() for example in made), name
