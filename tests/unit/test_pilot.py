"""The five systems on small random checkpoints: who reads what, what is trained on what, what an answer costs."""

from dataclasses import replace

import checkpoints
import numpy as np
import pytest

from nbutils import costs, data, decision, generation, models, pilot, rag, retrieval, training
from nbutils.data import Passage, Question
from nbutils.errors import InputError

CORPUS = {
    "chad": Passage("Chad", "The capital of Chad is N'Djamena, and its official languages are French and Arabic."),
    "peru": Passage("Peru", "The capital of Peru is Lima; its currency is the sol."),
    "japan": Passage("Japan", "The currency of Japan is the yen."),
    "france": Passage("France", "The capital of France is Paris."),
    "russia": Passage("Russia", "Russia has the largest area."),
}
QUESTIONS = [
    Question(f"q{i}", text, (answer,), (gold,))
    for i, (text, answer, gold) in enumerate(
        [
            ("What is the capital of Chad?", "N'Djamena", "chad"),
            ("What is the capital of Peru?", "Lima", "peru"),
            ("What is spent in Japan?", "yen", "japan"),
            ("What is the capital of France?", "Paris", "france"),
        ]
    )
]
ITEMS = data.question_items(QUESTIONS)
SETTINGS = training.TrainingSettings(3, 2, lora_rank=4)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    from nbutils import cache, paths

    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    generator = models.load_generator(checkpoints.llama(tmp_path_factory.mktemp("llama"), positions=1024))
    other = models.load_generator(checkpoints.llama(tmp_path_factory.mktemp("other"), seed=1, positions=1024))
    third = models.load_generator(checkpoints.llama(tmp_path_factory.mktemp("third"), seed=2, positions=1024))
    encoder = models.load_encoder(checkpoints.minilm(tmp_path_factory.mktemp("minilm")))
    tuned = models.load_encoder(checkpoints.minilm(tmp_path_factory.mktemp("tuned"), seed=1))
    index = retrieval.build_dense(encoder, CORPUS)
    readers = {"untuned": generator, "closed-book": other, "reading": third}
    return pilot.Parts(readers, {"frozen": encoder, "tuned": tuned}, index, CORPUS, tuple(QUESTIONS[:1]), 2, 0.1, 4)


def test_every_system_answers_the_same_questions(parts):
    answers = pilot.answer(parts, ITEMS)
    assert list(answers) == list(pilot.SYSTEMS)
    for system, said in answers.items():
        assert len(said.texts) == len(said.logprobs) == len(said.sources) == len(ITEMS)
        assert {len(row) for row in said.sources} == ({2} if system in pilot.RETRIEVING else {0})
        assert {len(row) for row in said.prompt_tokens} == ({2} if system in pilot.RETRIEVING else {1})
        assert (said.logprobs < 0).all() and min(said.new_tokens) >= 1
        assert all((n > 0) == (system in pilot.RETRIEVING) for n in said.n_candidates)
    with pytest.raises(InputError, match="no system 'both'"):
        pilot.answer(parts, ITEMS, ["both"])


def test_a_closed_book_answer_is_the_likeliest_continuation(parts):
    said = pilot.answer(parts, ITEMS, ["fine-tuned", "prompting"])
    prompts = [generation.build_prompt(item.question) for item in ITEMS]
    assert said["fine-tuned"].texts == generation.generate(parts.readers["closed-book"], prompts, 4)
    shown = [generation.build_prompt(item.question, examples=parts.examples) for item in ITEMS]
    assert said["prompting"].texts == generation.generate(parts.readers["untuned"], shown, 4)
    tokens = [len(ids) for ids in parts.readers["untuned"].tokenizer(shown)["input_ids"]]
    assert [row[0] for row in said["prompting"].prompt_tokens] == tokens


def test_rag_is_the_ensemble_of_its_own_passages(parts):
    """Read together with those of another system, an answer is the one that its own passages give."""
    together = pilot.answer(parts, ITEMS, ["RAG", "RAG, tuned retriever"])
    for system in together:
        alone = pilot.answer(parts, ITEMS, [system])[system]
        ids, scores = retrieval.search_dense(
            parts.index, parts.encoders[pilot.SYSTEMS[system][1]], [i.query for i in ITEMS], 2
        )
        assert alone.sources == together[system].sources == ids.tolist()
        assert [*map(sorted, alone.prompt_tokens)] == [*map(sorted, together[system].prompt_tokens)]
        for i, item in enumerate(ITEMS):
            prompts = [[generation.build_prompt(item.question, CORPUS[id_], parts.examples) for id_ in ids[i]]]
            (found,) = rag.sequence_candidates(parts.readers["untuned"], prompts, 4)
            log = scores[i] / 0.1 - np.log(np.exp(scores[i] / 0.1).sum())
            assert alone.texts[i] == rag.best_answer(found, log)
            assert alone.logprobs[i] == pytest.approx(rag.marginal_logprobs(found, log).max(), rel=1e-3)


def test_given_passages_are_the_ones_that_are_read(parts):
    given = np.array([["russia"]] * len(ITEMS)), np.zeros((len(ITEMS), 1))
    said = pilot.read(parts, "reading", ITEMS, {"given": given})["given"]
    prompts = [generation.build_prompt(item.question, CORPUS["russia"]) for item in ITEMS]
    assert said.texts == generation.generate(parts.readers["reading"], prompts, 4)
    assert said.sources == [["russia"]] * len(ITEMS)


def test_the_three_trainings_see_the_same_questions(parts):
    generator, encoder = parts.readers["untuned"], parts.encoders["frozen"]
    closed, curves = pilot.train_closed_book(generator, ITEMS, SETTINGS, 0)
    again, _ = pilot.train_closed_book(generator, ITEMS, SETTINGS, 0)
    ids = [["chad", "peru"]] * len(ITEMS)
    reading, _ = pilot.train_reading(generator, ITEMS, ids, CORPUS, SETTINGS, 0)
    tuned, lsr = pilot.train_retriever(
        generator, encoder, parts.index, CORPUS, ITEMS, 3, replace(SETTINGS, encoder_learning_rate=1e-3), 0.1, 0.01, 0
    )
    assert closed.sha256 == again.sha256 and len({generator.sha256, closed.sha256, reading.sha256}) == 3
    assert len(curves["loss"]) == len(lsr["loss"]) == 3 and tuned.sha256 != encoder.sha256
    assert (closed.name, reading.name) == ("fine-tuned", "fine-tuned + RAG")


@pytest.mark.parametrize("width", [1, 2, 3])
def test_as_many_steps_with_passages_see_as_many_questions(parts, monkeypatch, width):
    """Not only the first rows: one pass over the questions shows each of them, with one passage after the other."""
    seen = []
    monkeypatch.setattr(
        training, "fine_tune", lambda g, prompts, answers, settings, *_: seen.append((prompts, settings))
    )
    ids = [["chad", "peru", "japan"][:width]] * len(ITEMS)
    pilot.train_reading(parts.readers["untuned"], ITEMS, ids, CORPUS, SETTINGS, 0)
    ((prompts, settings),) = seen
    assert not settings.shuffle and len(set(prompts)) == len(prompts) == width * len(ITEMS)
    for turn in range(width):
        one_pass = prompts[turn * len(ITEMS) : (turn + 1) * len(ITEMS)]
        assert all(sum(item.question in prompt for prompt in one_pass) == 1 for item in ITEMS)


def test_parts_are_replaced_in_copies(parts):
    swapped = {**CORPUS, "chad": Passage("Chad", "The capital of Chad is Abeche.")}
    other = pilot.with_index(parts, retrieval.build_dense(parts.encoders["frozen"], swapped), swapped)
    assert other.corpus["chad"].text != parts.corpus["chad"].text and other.readers is parts.readers
    changed = pilot.with_readers(parts, reading=parts.readers["untuned"])
    assert changed.readers["reading"] is parts.readers["untuned"] is not parts.readers["reading"]


def test_contained_compares_words():
    ids = [["peru"], ["peru", "japan"], ["peru"], [], ["peru"], ["peru"]]
    assert pilot.contained(["Lima", "yen", "im", "Lima", " ", "\u200b"], ids, CORPUS).tolist() == [1, 1, 0, 0, 0, 0]
    assert pilot.contained(["Peru"], [["peru"]], CORPUS).tolist() == [1]


def test_costs_of_an_answer_by_hand(parts):
    said = pilot.Answers(["a"], np.zeros(1), [["chad", "peru"]], [[30, 40]], [3], [2])
    assert pilot.tokens_a_query(said).tolist() == [76]
    shape, encoder = (
        costs.shape_of(parts.readers["untuned"].model.config),
        costs.shape_of(parts.encoders["frozen"].model.config),
    )
    reading = costs.query_flops(shape, [30, 40], 3, 2)
    assert pilot.flops_a_query(said, shape, None, 9, 1000, 32).tolist() == [reading]
    searching = costs.reading_flops(encoder, 9) + 2 * 1000 * 32
    assert pilot.flops_a_query(said, shape, encoder, 9, 1000, 32).tolist() == [reading + searching]


def test_training_costs_are_those_of_the_examples_seen(parts):
    generator = parts.readers["untuned"]
    prompts, answers = [generation.build_prompt("What is spent in Japan?")] * 3, ["yen"] * 3
    once = pilot.fine_tuning_flops(generator, prompts, answers, SETTINGS)
    (prompt,), (answer,) = generation.tokenize_pairs(generator, prompts[:1], answers[:1])
    shape = costs.shape_of(generator.model.config)
    by_hand = costs.training_flops(shape, [len(prompt) + len(answer) - 1], [len(answer)], 4) * 3 * 2
    assert once == pytest.approx(by_hand)
    assert pilot.fine_tuning_flops(generator, prompts, answers, replace(SETTINGS, n_steps=6)) == pytest.approx(2 * once)


def test_each_training_has_its_costs(parts):
    generator, encoder = parts.readers["untuned"], parts.encoders["frozen"]
    ids = [["chad"]] * len(ITEMS)
    found = pilot.trainings(generator, encoder, ITEMS, ids, CORPUS, SETTINGS, 3, SETTINGS)
    more = pilot.trainings(generator, encoder, ITEMS, ids, CORPUS, SETTINGS, 6, SETTINGS)
    assert found.keys() == {*pilot.TRAINED} and found["fine-tuned + RAG"] > found["fine-tuned"] > 0
    shape = costs.shape_of(generator.model.config)
    answer = len(generator.tokenizer(" yen", add_special_tokens=False)["input_ids"])
    prompt = len(generator.tokenizer(generation.build_prompt(ITEMS[2].question, CORPUS["chad"]))["input_ids"])
    one = costs.reading_flops(shape, prompt + answer, n_logits=answer + 1)
    scores = more["RAG, tuned retriever"] - found["RAG, tuned retriever"]  # of three more candidates a question
    assert scores / 3 / len(ITEMS) == pytest.approx(one, rel=0.2)
    short, long = pilot.encoding_flops(encoder, ["Lima"]), pilot.encoding_flops(encoder, ["Lima is in Peru " * 100])
    assert long == costs.reading_flops(costs.shape_of(encoder.model.config), encoder.max_length) > short > 0


def test_perplexity_is_of_the_words_after_the_first(parts):
    generator = parts.readers["untuned"]
    texts = ["The capital of Peru is Lima; its currency is the sol.", "Which country has the largest area?"]
    (row, _) = generation.answer_logprobs(
        generator, ["The capital", "Which country"], [t.split(" ", 2)[2] for t in texts]
    )
    losses = pilot.perplexity_losses(generator, texts, 2)
    assert losses[0] == pytest.approx(-row.mean()) and losses.shape == (2,)
    with pytest.raises(InputError, match="no more than 6 words"):
        pilot.perplexity_losses(generator, texts, 6)


def evidence(**changed):
    right = {
        n: {s: np.full(200, 1.0 if s == "RAG" or (n >= 64 and s == best) else 0.1) for s in pilot.SYSTEMS}
        for n, best in ((0, ""), (64, "fine-tuned + RAG"))
    }
    for scores in right.values():
        scores["RAG"] = scores["RAG"] * 0.5
    same = dict.fromkeys(pilot.SYSTEMS, 1e12)
    usual = pilot.Evidence(right, same, {"fine-tuned": 1e15, "fine-tuned + RAG": 1e15}, 1e12, 1e6, {}, {})
    return replace(usual, **changed)


def test_advice_counts_the_examples_that_there_are():
    for n, system in ((0, "RAG"), (63, "RAG"), (64, "fine-tuned + RAG"), (10_000, "fine-tuned + RAG")):
        assert pilot.advise(evidence(), decision.Needs(), costs.Prices(), n).system == system


def test_advice_knows_style_and_changed_facts():
    style = {system: np.full(50, float(system == "fine-tuned")) for system in pilot.SYSTEMS}
    styled = pilot.advise(evidence(style=style), decision.Needs(), costs.Prices(), 64, style=True)
    assert styled.system == "fine-tuned" and "house style" in styled.excluded["RAG"]
    assert not any("as measured" in reason for reason in styled.reasons)
    fewer = pilot.advise(evidence(style=style), decision.Needs(), costs.Prices(), 0, style=True)
    assert fewer.reasons[-1] == "house style: as measured with 64 training examples, not with 0"
    fresh = {system: np.full(50, float(system == "RAG")) for system in pilot.SYSTEMS}
    moving = evidence(fresh=fresh)
    assert pilot.advise(moving, decision.Needs(updates_per_month=1), costs.Prices(), 64).system == "RAG"
    assert pilot.advise(moving, decision.Needs(updates_per_month=0), costs.Prices(), 64).system == "fine-tuned + RAG"


def test_bills_say_who_is_trained_and_who_has_an_index():
    found = pilot.bills(
        dict.fromkeys(pilot.SYSTEMS, 1e12),
        {"fine-tuned": 1e15, "fine-tuned + RAG": 1e15},
        1e12,
        1e9,
        10,
        costs.Prices(),
    )
    assert found["prompting"].update == found["prompting"].start == found["prompting"].storage == 0
    assert found["fine-tuned"].update == found["fine-tuned"].start > 20 and found["fine-tuned"].storage == 0
    assert found["fine-tuned + RAG"].start > 20 > found["fine-tuned + RAG"].update == found["RAG"].update > 0
    assert found["RAG"].start == 0 < found["RAG"].storage


def test_a_fact_in_three_wordings():
    def asked(name, kind, template, passage="p"):
        return Question(name, name, ("x",), (passage,), kind=kind, field="capital", template=template)

    whole = [asked("a", "fact", 0), asked("b", "fact", 1), asked("c", "reverse", 0), asked("d", "fact", 0, "other")]
    ((first, second, back),) = pilot.wordings(whole, 5, 0)
    assert (first.id, second.id, back.id) == ("a", "b", "c")
    with pytest.raises(InputError, match="nothing to compare"):
        pilot.wordings(whole[:2], 5, 0)


def test_a_question_is_timed_without_the_cache(parts, monkeypatch):
    seen = []
    real = rag.sequence_candidates
    monkeypatch.setattr(
        rag, "sequence_candidates", lambda *a, use_cache: seen.append(use_cache) or real(*a, use_cache=use_cache)
    )
    assert pilot.seconds_a_query(parts, ITEMS[:2], "RAG") > 0
    assert seen == [False, False]
