"""The five systems on small random checkpoints: who reads what, what is trained on what, what an answer costs."""

from dataclasses import replace

import checkpoints
import numpy as np
import pytest

from nbutils import generation, models, paths, pilot, rag, retrieval, training
from nbutils.data import Passage, question_example
from nbutils.errors import InputError

CORPUS = {
    "chad": Passage("Chad", "The capital of Chad is N'Djamena, and its official languages are French and Arabic."),
    "peru": Passage("Peru", "The capital of Peru is Lima; its currency is the sol."),
    "japan": Passage("Japan", "The currency of Japan is the yen."),
    "france": Passage("France", "The capital of France is Paris."),
    "russia": Passage("Russia", "Russia has the largest area."),
}
QUESTIONS = [
    question_example(f"q{i}", text, (answer,), (gold,))
    for i, (text, answer, gold) in enumerate(
        [
            ("What is the capital of Chad?", "N'Djamena", "chad"),
            ("What is the capital of Peru?", "Lima", "peru"),
            ("What is spent in Japan?", "yen", "japan"),
            ("What is the capital of France?", "Paris", "france"),
        ]
    )
]
ITEMS = QUESTIONS
SETTINGS = training.TrainingSettings(3, 2, lora_rank=4)


pytestmark = pytest.mark.usefixtures("cache_folder")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    generator = models.load_generator(checkpoints.llama(tmp_path_factory.mktemp("llama"), positions=1024))
    other = models.load_generator(checkpoints.llama(tmp_path_factory.mktemp("other"), seed=1, positions=1024))
    third = models.load_generator(checkpoints.llama(tmp_path_factory.mktemp("third"), seed=2, positions=1024))
    encoder = models.load_encoder(checkpoints.minilm(tmp_path_factory.mktemp("minilm")))
    tuned = models.load_encoder(checkpoints.minilm(tmp_path_factory.mktemp("tuned"), seed=1))
    index = retrieval.build_dense(encoder, CORPUS)
    generators = {"untuned": generator, "closed-book": other, "reading": third}
    return pilot.SharedModels(
        generators, {"frozen": encoder, "tuned": tuned}, index, CORPUS, tuple(QUESTIONS[:1]), 2, 0.1, 4
    )


def test_every_system_answers_the_same_questions(shared):
    answers = pilot.answer(shared, ITEMS)
    assert list(answers) == list(pilot.SYSTEMS)
    for system, of_system in answers.items():
        assert len(of_system.texts) == len(of_system.logprobs) == len(of_system.sources) == len(ITEMS)
        assert {len(row) for row in of_system.sources} == ({2} if system in pilot.RAG_SYSTEMS else {0})
        assert {len(row) for row in of_system.prompt_tokens} == ({2} if system in pilot.RAG_SYSTEMS else {1})
        assert (of_system.logprobs < 0).all() and min(of_system.new_tokens) >= 1
        assert all((n > 0) == (system in pilot.RAG_SYSTEMS) for n in of_system.n_candidates)
    with pytest.raises(InputError, match="no system 'both'"):
        pilot.answer(shared, ITEMS, ["both"])


def test_a_closed_book_answer_is_the_likeliest_continuation(shared):
    answers = pilot.answer(shared, ITEMS, ["fine-tuned", "prompting"])
    prompts = [generation.build_prompt(item.question) for item in ITEMS]
    assert answers["fine-tuned"].texts == generation.generate(shared.generators["closed-book"], prompts, 4)
    shown = [generation.build_prompt(item.question, examples=shared.examples) for item in ITEMS]
    assert answers["prompting"].texts == generation.generate(shared.generators["untuned"], shown, 4)
    tokens = [len(ids) for ids in shared.generators["untuned"].tokenizer(shown)["input_ids"]]
    assert [row[0] for row in answers["prompting"].prompt_tokens] == tokens


def test_rag_is_the_ensemble_of_its_own_passages(shared):
    """Read together with those of another system, an answer is the one that its own passages give."""
    together = pilot.answer(shared, ITEMS, ["RAG", "RAG, tuned retriever"])
    for system in together:
        alone = pilot.answer(shared, ITEMS, [system])[system]
        ids, scores = retrieval.search(
            retrieval.DenseRetriever(shared.index, shared.question_encoders[pilot.SYSTEMS[system][1]]),
            [i.query for i in ITEMS],
            2,
        )
        assert alone.sources == together[system].sources == ids.tolist()
        assert [*map(sorted, alone.prompt_tokens)] == [*map(sorted, together[system].prompt_tokens)]
        for i, item in enumerate(ITEMS):
            prompts = [[generation.build_prompt(item.question, CORPUS[id_], shared.examples) for id_ in ids[i]]]
            (found,) = rag.sequence_candidates(shared.generators["untuned"], prompts, 4)
            log = scores[i] / 0.1 - np.log(np.exp(scores[i] / 0.1).sum())
            assert alone.texts[i] == rag.best_answer(found, log)
            assert alone.logprobs[i] == pytest.approx(rag.marginal_logprobs(found, log).max(), rel=1e-3)


def test_given_passages_are_the_ones_that_are_read(shared):
    given = np.array([["russia"]] * len(ITEMS)), np.zeros((len(ITEMS), 1))
    answers = pilot.answer_with_passages(shared, "reading", ITEMS, {"given": given})["given"]
    prompts = [generation.build_prompt(item.question, CORPUS["russia"]) for item in ITEMS]
    assert answers.texts == generation.generate(shared.generators["reading"], prompts, 4)
    assert answers.sources == [["russia"]] * len(ITEMS)


def test_where_a_search_found_nothing_there_is_no_passage(shared):
    """What BM25 gives: one passage, and nothing at all. Empty places are neither read, nor a source."""
    ids, scores = retrieval.search(retrieval.build_bm25(CORPUS), ["russia", "zebra"], 3)
    assert retrieval.found(ids) == [["russia"], []]
    answers = pilot.answer_with_passages(shared, "reading", ITEMS[:2], {"BM25": (ids, scores)})["BM25"]
    prompts = [
        generation.build_prompt(ITEMS[0].question, CORPUS["russia"]),
        generation.build_prompt(ITEMS[1].question),
    ]
    alone = [rag.sequence_candidates(shared.generators["reading"], [[prompt]], 4)[0] for prompt in prompts]
    assert answers.texts == [rag.best_answer(found, np.zeros(1)) for found in alone]
    best = [rag.marginal_logprobs(found, np.zeros(1)).max() for found in alone]
    np.testing.assert_allclose(answers.logprobs, best, rtol=1e-4)
    assert answers.sources == [["russia"], []] and [len(row) for row in answers.prompt_tokens] == [1, 1]
    assert pilot.has_answer(answers.texts, ids.tolist(), CORPUS).shape == (2,)


def test_the_three_trainings_see_the_same_questions(shared):
    generator, encoder = shared.generators["untuned"], shared.question_encoders["frozen"]
    closed_book = pilot.train_closed_book(generator, ITEMS, SETTINGS, 0)
    closed, again = closed_book.generator, pilot.train_closed_book(generator, ITEMS, SETTINGS, 0).generator
    ids = [["chad", "peru"]] * len(ITEMS)
    reading = pilot.train_with_passages(generator, ITEMS, ids, CORPUS, SETTINGS, 0).generator
    retriever = pilot.train_retriever(
        generator, encoder, shared.index, CORPUS, ITEMS, 3, replace(SETTINGS, encoder_learning_rate=1e-3), 0.1, 0.01, 0
    )
    assert closed.sha256 == again.sha256 and len({generator.sha256, closed.sha256, reading.sha256}) == 3
    assert len(closed_book.history["loss"]) == len(retriever.history["loss"]) == 3
    assert retriever.question_encoder.sha256 != encoder.sha256
    assert (closed.name, reading.name) == ("fine-tuned", "fine-tuned + RAG")


def test_dev_questions_are_evaluated_as_they_are_trained(shared):
    """Closed-book on the questions alone, with passages each on the first of its own."""
    generator, settings = shared.generators["untuned"], replace(SETTINGS, evaluate_every=2)
    train, dev, answers = ITEMS[:2], ITEMS[2:], [item.answers[0] for item in ITEMS[2:]]
    ids, dev_ids = [["chad", "peru"]] * 2, np.array([["japan", "chad"], ["france", "chad"]])
    closed_book = pilot.train_closed_book(generator, train, settings, 0, dev)
    reading = pilot.train_with_passages(generator, train, ids, CORPUS, settings, 0, dev, dev_ids)
    read = [generation.build_prompt(item.question, CORPUS[row[0]]) for item, row in zip(dev, dev_ids, strict=True)]
    for system, prompts in ((closed_book, [generation.build_prompt(item.question) for item in dev]), (reading, read)):
        logprobs = np.concatenate(generation.answer_logprobs(generator, prompts, answers))
        assert system.history["dev_step"] == [0, 2, 3]
        assert system.history["dev_bits_per_token"][0] == pytest.approx(-logprobs.mean() / np.log(2), rel=1e-4)
    for rows in ([], dev_ids[:1], [["japan"], []]):
        with pytest.raises(InputError, match=f"^2 dev questions, {len(rows)} rows of passages: give each question"):
            pilot.train_with_passages(generator, train, ids, CORPUS, settings, 0, dev, rows)
    with pytest.raises(InputError, match="evaluate_every = 2 without dev examples"):
        pilot.train_closed_book(generator, train, settings, 0)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_as_many_steps_with_passages_see_as_many_questions(shared, monkeypatch, width):
    """Not only the first rows: one pass over the questions shows each of them, with one passage after the other."""
    seen = []
    monkeypatch.setattr(
        training, "fine_tune", lambda g, prompts, answers, settings, *_, **dev: seen.append((prompts, settings))
    )
    ids = [["chad", "peru", "japan"][:width]] * len(ITEMS)
    pilot.train_with_passages(shared.generators["untuned"], ITEMS, ids, CORPUS, SETTINGS, 0)
    ((prompts, settings),) = seen
    assert not settings.shuffle and len(set(prompts)) == len(prompts) == width * len(ITEMS)
    for turn in range(width):
        one_pass = prompts[turn * len(ITEMS) : (turn + 1) * len(ITEMS)]
        assert all(sum(item.question in prompt for prompt in one_pass) == 1 for item in ITEMS)


def test_models_are_replaced_in_copies(shared):
    swapped = {**CORPUS, "chad": Passage("Chad", "The capital of Chad is Abeche.")}
    other = pilot.with_index(shared, retrieval.build_dense(shared.question_encoders["frozen"], swapped), swapped)
    assert other.corpus["chad"].text != shared.corpus["chad"].text and other.generators is shared.generators
    changed = pilot.with_generators(shared, reading=shared.generators["untuned"])
    assert changed.generators["reading"] is shared.generators["untuned"] is not shared.generators["reading"]


def test_an_answer_is_found_by_words():
    ids = [["peru"], ["peru", "japan"], ["peru"], [], ["peru"], ["peru"]]
    assert pilot.has_answer(["Lima", "yen", "im", "Lima", " ", "\u200b"], ids, CORPUS).tolist() == [1, 1, 0, 0, 0, 0]
    assert pilot.has_answer(["Peru"], [["peru"]], CORPUS).tolist() == [1]


def test_an_answer_is_found_in_other_scripts():
    corpus = {
        "zh": Passage("\u9a6c\u6d1b\u6e7e", "\u5b83\u7531\u674e\u660e\u4e8e1840\u5e74\u5efa\u7acb\u3002"),
        "ja": Passage("", "\u6771\u4eac\u90fd\u306f\u5e83\u3044\u3002"),
    }
    texts = ["\u674e\u660e", "1840\u5e74", "840", "\u9a6c\u6d1b\u6e7e", "\u738b\u82b3"]
    assert pilot.has_answer(texts, [["zh"]] * 5, corpus).tolist() == [1, 1, 0, 1, 0]
    assert pilot.has_answer(["\u6771\u4eac", "\u4eac\u90fd"], [["ja"]] * 2, corpus).tolist() == [
        1,
        0,
    ]  # no part of a word


def test_labels_stand_in_no_passage():
    def asked(*answers):
        return [question_example(f"q{i}", "Is it?", (answer,), ("peru",)) for i, answer in enumerate(answers)]

    assert pilot.stand_in_passages(asked("Lima", "Lima", "no"), CORPUS)
    for labels in (("yes", "no", "Lima"), ("A", "B.", "Lima"), ("negative", "positive", "Lima")):
        assert not pilot.stand_in_passages(asked(*labels), CORPUS), labels


def test_costs_of_an_answer_by_hand(shared):
    answers = pilot.Answers(["a"], np.zeros(1), [["chad", "peru"]], [[30, 40]], [3], [2])
    assert pilot.tokens_per_query(answers).tolist() == [76]
    shape, encoder = (
        pilot.shape_of(shared.generators["untuned"].model.config),
        pilot.shape_of(shared.question_encoders["frozen"].model.config),
    )
    reading = pilot.query_flops(shape, [30, 40], 3, 2)
    assert pilot.flops_per_query(answers, shape, None, 9, 1000, 32).tolist() == [reading]
    searching = pilot.forward_flops(encoder, 9) + 2 * 1000 * 32
    assert pilot.flops_per_query(answers, shape, encoder, 9, 1000, 32).tolist() == [reading + searching]


def test_training_costs_are_those_of_the_examples_seen(shared):
    generator = shared.generators["untuned"]
    prompts, answers = [generation.build_prompt("What is spent in Japan?")] * 3, ["yen"] * 3
    once = pilot.fine_tuning_flops(generator, prompts, answers, SETTINGS)
    (prompt,), (answer,) = generation.tokenize_pairs(generator, prompts[:1], answers[:1])
    shape = pilot.shape_of(generator.model.config)
    by_hand = pilot.training_flops(shape, [len(prompt) + len(answer) - 1], [len(answer)], 4) * 3 * 2
    assert once == pytest.approx(by_hand)
    assert pilot.fine_tuning_flops(generator, prompts, answers, replace(SETTINGS, n_steps=6)) == pytest.approx(2 * once)


def test_each_training_has_its_costs(shared):
    generator, encoder = shared.generators["untuned"], shared.question_encoders["frozen"]
    ids = [["chad"]] * len(ITEMS)
    found = pilot.training_flops_by_system(generator, encoder, ITEMS, ids, CORPUS, SETTINGS, 3, SETTINGS)
    more = pilot.training_flops_by_system(generator, encoder, ITEMS, ids, CORPUS, SETTINGS, 6, SETTINGS)
    assert found.keys() == {*pilot.TRAINED_SYSTEMS} and found["fine-tuned + RAG"] > found["fine-tuned"] > 0
    shape = pilot.shape_of(generator.model.config)
    answer = len(generator.tokenizer(" yen", add_special_tokens=False)["input_ids"])
    prompt = len(generator.tokenizer(generation.build_prompt(ITEMS[2].question, CORPUS["chad"]))["input_ids"])
    one = pilot.forward_flops(shape, prompt + answer, n_logits=answer + 1)
    scores = more["RAG, tuned retriever"] - found["RAG, tuned retriever"]  # of three more candidates a question
    assert scores / 3 / len(ITEMS) == pytest.approx(one, rel=0.2)
    short, long = pilot.encoding_flops(encoder, ["Lima"]), pilot.encoding_flops(encoder, ["Lima is in Peru " * 100])
    assert long == pilot.forward_flops(pilot.shape_of(encoder.model.config), encoder.max_length) > short > 0


def test_the_loss_is_of_the_words_after_the_first(shared):
    generator = shared.generators["untuned"]
    texts = ["The capital of Peru is Lima; its currency is the sol.", "Which country has the largest area?"]
    (row, _) = generation.answer_logprobs(
        generator, ["The capital", "Which country"], [t.split(" ", 2)[2] for t in texts]
    )
    losses = pilot.continuation_nll(generator, texts, 2)
    assert losses[0] == pytest.approx(-row.mean()) and losses.shape == (2,)
    with pytest.raises(InputError, match="no more than 6 words"):
        pilot.continuation_nll(generator, texts, 6)


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
        assert pilot.recommend_from_evidence(evidence(), pilot.Requirements(), pilot.Prices(), n).system == system


def test_advice_knows_style_and_changed_facts():
    style = {system: np.full(50, float(system == "fine-tuned")) for system in pilot.SYSTEMS}
    styled = pilot.recommend_from_evidence(
        evidence(style_scores=style), pilot.Requirements(), pilot.Prices(), 64, style=True
    )
    assert styled.system == "fine-tuned" and "house style" in styled.excluded["RAG"]
    assert not any("as measured" in reason for reason in styled.reasons)
    fewer = pilot.recommend_from_evidence(
        evidence(style_scores=style), pilot.Requirements(), pilot.Prices(), 0, style=True
    )
    assert fewer.reasons[-1] == "house style: as measured with 64 training examples, not with 0"
    updated = {system: np.full(50, float(system == "RAG")) for system in pilot.SYSTEMS}
    moving = evidence(update_scores=updated)
    assert (
        pilot.recommend_from_evidence(moving, pilot.Requirements(updates_per_month=1), pilot.Prices(), 64).system
        == "RAG"
    )
    assert (
        pilot.recommend_from_evidence(moving, pilot.Requirements(updates_per_month=0), pilot.Prices(), 64).system
        == "fine-tuned + RAG"
    )


def test_costs_say_who_is_trained_and_who_has_an_index():
    found = pilot.costs_by_system(
        dict.fromkeys(pilot.SYSTEMS, 1e12),
        {"fine-tuned": 1e15, "fine-tuned + RAG": 1e15},
        1e12,
        1e9,
        10,
        pilot.Prices(),
    )
    assert found["prompting"].update == found["prompting"].start == found["prompting"].storage == 0
    assert found["fine-tuned"].update == found["fine-tuned"].start > 20 and found["fine-tuned"].storage == 0
    assert found["fine-tuned + RAG"].start > 20 > found["fine-tuned + RAG"].update == found["RAG"].update > 0
    assert found["RAG"].start == 0 < found["RAG"].storage


def test_a_fact_in_three_wordings():
    def asked(name, kind, template, passage="p"):
        return question_example(name, name, ("x",), (passage,), task=kind, field="capital", template=template)

    whole = [asked("a", "fact", 0), asked("b", "fact", 1), asked("c", "reverse", 0), asked("d", "fact", 0, "other")]
    ((first, second, back),) = pilot.paraphrase_triples(whole, 5, 0)
    assert (first.id, second.id, back.id) == ("a", "b", "c")
    with pytest.raises(InputError, match="nothing to compare"):
        pilot.paraphrase_triples(whole[:2], 5, 0)


def test_a_question_is_timed_without_the_cache(shared):
    assert pilot.seconds_per_query(shared, ITEMS[:2], "RAG") > 0
    assert not (paths.CACHE / "rag").exists()
    pilot.answer(shared, ITEMS[:2], ["RAG"])
    assert (paths.CACHE / "rag").exists()
