"""What is wrong with a data set of this form, how large it is, and a sample of it to be read."""

import re
from collections import Counter, defaultdict

from nbutils.data.factbook.hashing import hash_hex
from nbutils.data.schema import Dataset, Example, Passage
from nbutils.data.tasks import claim_label, questions, written_text
from nbutils.text import contains_exactly, contains_words, sentences

AUDIT = {"fact": 120, "reverse": 30, "multi_hop": 30, "long_form": 20}  # how many of each kind are read


def problems(dataset: Dataset) -> list[str]:
    """One line for each thing that is wrong with a data set of this form; the embedded one has none."""
    found = []
    split_of: dict[str, str] = {}
    wordings: dict[tuple, set[bool]] = defaultdict(set)
    for record in dataset.examples:
        missing = [id for id in record.gold_passages if id not in dataset.corpus]
        if missing:
            found.append(f"{record.id}: gold passage {missing[0]} is not in the corpus")
            continue
        for id in record.gold_passages:
            title = dataset.corpus[id].title
            if split_of.setdefault(title, record.split) != record.split:
                found.append(f"{record.id}: {title} is a country of split {split_of[title]}, not {record.split}")
        if re.search(r"[{}]|\s\s|^\s|\s$", written_text(record)):
            found.append(f"{record.id}: the text has a placeholder or stray spaces: {written_text(record)}")
    found += [f"{id}: stands {n} times" for id, n in Counter(e.id for e in dataset.examples).items() if n > 1]
    asked = questions(dataset.examples)
    for question in asked:
        found += [f"{question.id}: {reason}" for reason in _question_faults(question, dataset.corpus)]
        wordings[question.task, question.field, question.template].add(question.held_out_template)
    mixed = {wording for wording, held_out in wordings.items() if len(held_out) > 1}
    found += [f"{q.id}: its wording is held out elsewhere" for q in asked if (q.task, q.field, q.template) in mixed]
    for claim in (example for example in dataset.examples if example.task == "verification"):
        label, n = claim_label(claim), len(claim.gold_passages)
        if (label == "not_enough_information") == bool(n):
            found.append(f"{claim.id}: a claim that is {label} has {n} gold passages")
    for clue in (example for example in dataset.examples if example.task == "clue"):
        sentence = clue.answers[0].rstrip(".")
        if not all(sentence in dataset.corpus[id].text for id in clue.gold_passages if id in dataset.corpus):
            found.append(f"{clue.id}: a gold passage does not contain the clue")
        if contains_words(written_text(clue), clue.subject):
            found.append(f"{clue.id}: the clue contains its answer, {clue.subject}")
    return found


def _question_faults(question: Example, corpus: dict[str, Passage]) -> list[str]:
    faults = []
    gold = [corpus[id] for id in question.gold_passages if id in corpus]
    if question.held_out_template and question.split != "test":
        faults.append(f"a held-out wording in split {question.split}")
    if not gold or not question.answers:
        return [*faults, "no gold passage or no answer"]
    answered = [contains_exactly(f"{passage.title}. {passage.text}", question.answers[0]) for passage in gold]
    if question.task in ("fact", "reverse") and not all(answered):
        faults.append(f"the answer {question.answers[0]!r} is not in every gold passage")
    if question.task == "multi_hop":
        if all(answered) or not any(answered):
            faults.append(f"the answer {question.answers[0]!r} must stand in one of the two gold passages only")
        if len({passage.title for passage in gold}) > 1:
            faults.append("its gold passages are of different countries")
    if question.task in ("reverse", "multi_hop") and contains_words(question.query, question.answers[0]):
        faults.append(f"the question contains its answer, {question.answers[0]!r}")
    if question.task == "long_form":
        text = " ".join(passage.text for passage in gold)
        if not all(sentence.rstrip(" .;") in text for sentence in sentences(question.answers[0])):
            faults.append("a sentence of the answer is in no gold passage")
    return faults


def sizes(dataset: Dataset) -> dict[tuple[str, str], int]:
    """{(what, split): how many}; what is a kind of question, a label of claims, "clue", "country" or "passage"."""
    asked = questions(dataset.examples)
    split_of = {dataset.corpus[id].title: q.split for q in asked for id in q.gold_passages}
    records = [(claim_label(e) if e.task == "verification" else e.task, e.split) for e in dataset.examples]
    records += [("passage", split_of[passage.title]) for passage in dataset.corpus.values()]
    records += [("country", split) for split in split_of.values()]
    return dict(Counter(records))


def audit_sample(dataset: Dataset, seed: str) -> list[Example]:
    """The questions to be read and judged one by one: `AUDIT` says how many of each kind, from all splits."""
    chosen = []
    for kind, n in AUDIT.items():
        asked = [question for question in dataset.examples if question.task == kind]
        chosen += sorted(asked, key=lambda question: hash_hex(seed, question.id))[:n]
    return chosen
