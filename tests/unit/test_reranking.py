"""Re-rankers against brute force, sentence-transformers and plain transformers; what is cut, and what never is."""

import dataclasses
import json
import shutil

import checkpoints
import numpy as np
import pytest
import word_checkpoints
from substitution import substitute

from nbutils import generation, models, retrieval
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import cross_encoder as cross_encoder_module
from nbutils.models import encoding as encoding_module
from nbutils.retrieval import BiEncoder, HybridRetriever, QueryLikelihood, RerankedRetriever, rerank

pytestmark = pytest.mark.usefixtures("cache_folder")

CORPUS = {
    "p0": Passage("Peru", "The capital of Peru is Lima"),
    "p1": Passage("Chad", "its official languages are French and Arabic"),
    "p2": Passage("Japan", "the yen is spent"),
    "p3": Passage("", "which country has the largest area"),
    "p4": Passage("Faust", "Goethe"),
}
QUERIES = ["what is the capital of peru", "who wrote faust", "which languages"]
IDS = np.array([["p3", "p0", "p1", "p4"], ["p4", "p2", "", ""], ["", "", "", ""]])
POSITIONS = 64


def load(loader, name, dtype="float32"):
    return checkpoints.load_on_cpu(loader, str(name), dtype)


@pytest.fixture(scope="module")
def cross_encoder_folder(tmp_path_factory):
    return checkpoints.cross_encoder(tmp_path_factory.mktemp("cross_encoder"))


@pytest.fixture(scope="module")
def cross_encoder(cross_encoder_folder):
    return load(models.load_cross_encoder, cross_encoder_folder)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(models.load_encoder, checkpoints.minilm(tmp_path_factory.mktemp("minilm")))


@pytest.fixture(scope="module", params=["llama", "gemma3", "bart"])
def generator(request, tmp_path_factory):
    return load(models.load_generator, getattr(checkpoints, request.param)(tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def word_generator(tmp_path_factory):
    """A decoder-only model of 512 positions, whose tokens are words."""
    return load(models.load_generator, word_checkpoints.llama(tmp_path_factory.mktemp("words"), n_words=40))


# What was retrieved, in another order


def brute_force(reranker, query, passage):
    if isinstance(reranker, BiEncoder):
        title = f"{passage.title}. " if passage.title else ""
        return float(np.prod(models.encode(reranker.encoder, [query, title + passage.text]), axis=0).sum())
    if isinstance(reranker, QueryLikelihood):
        return float(retrieval.query_likelihoods(reranker.generator, [query], [passage])[0])
    return float(models.pair_scores(reranker, [query], [retrieval.passage_text(passage)])[0])


@pytest.fixture(params=["bi-encoder", "query likelihood", "cross-encoder"])
def reranker(request, encoder, word_generator, cross_encoder):
    return {
        "bi-encoder": BiEncoder(encoder),
        "query likelihood": QueryLikelihood(word_generator),
        "cross-encoder": cross_encoder,
    }[request.param]


def test_reranking_is_sorting_by_the_score_of_each_pair(reranker):
    ids, scores = rerank(IDS, QUERIES, CORPUS, reranker)
    assert ids.shape == scores.shape == IDS.shape and scores.dtype == np.float32
    for row, query in enumerate(QUERIES):
        expected = {id_: brute_force(reranker, query, CORPUS[id_]) for id_ in IDS[row].tolist() if id_}
        assert [id_ for id_ in ids[row].tolist() if id_] == sorted(expected, key=lambda id_: -expected[id_])
        found = dict(zip(ids[row].tolist(), scores[row].tolist(), strict=True))
        assert {id_: score for id_, score in found.items() if id_} == pytest.approx(expected, abs=1e-5)
        assert len({round(score, 3) for score in expected.values()}) == len(expected)  # an order to be found out
    # Places without a passage stay last, as `search` leaves them.
    assert np.isneginf(scores[1, 2:]).all() and (scores[2] == 0).all() and (ids[2] == "").all()


def test_some_of_what_was_retrieved(reranker):
    whole = rerank(IDS, QUERIES, CORPUS, reranker)
    for n_docs in (1, 3, 4):
        ids, scores = rerank(IDS, QUERIES, CORPUS, reranker, n_docs)
        assert ids.tolist() == whole[0][:, :n_docs].tolist() and scores.tolist() == whole[1][:, :n_docs].tolist()


def test_a_place_without_a_passage_goes_last_wherever_it_stood(cross_encoder):
    ids, scores = rerank(np.array([["", "p0", "", "p1"]]), QUERIES[:1], CORPUS, cross_encoder)
    assert {*ids[0, :2]} == {"p0", "p1"} and (ids[0, 2:] == "").all() and np.isneginf(scores[0, 2:]).all()


def test_equal_scores_keep_the_order_of_retrieval(reranker):
    corpus = {name: CORPUS["p0"] for name in "zayb"}
    ids, scores = rerank(np.array([list("zayb"), list("byaz")]), QUERIES[:2], corpus, reranker)
    assert ids.tolist() == [list("zayb"), list("byaz")]
    assert all(len(set(row)) == 1 for row in scores.tolist())


def test_each_passage_is_encoded_once(encoder, monkeypatch):
    encoded, compute = [], encoding_module._encode

    def counted(encoder, texts, label):
        encoded.extend(texts)
        return compute(encoder, texts, label)

    substitute(monkeypatch, encoding_module, "_encode", counted)
    rerank(np.array([["p0", "p1"], ["p1", "p0"], ["p1", ""]]), QUERIES, CORPUS, BiEncoder(encoder))
    assert sorted(encoded) == sorted([*QUERIES, *(retrieval.passage_text(CORPUS[id_]) for id_ in ("p0", "p1"))])


def test_the_vectors_of_an_index_are_those_that_would_be_made(encoder):
    ids = np.array([["p0", "p2"], ["p1", "p0"], ["p1", ""]])
    index = retrieval.build_dense(encoder, CORPUS)
    found, scores = rerank(ids, QUERIES, CORPUS, BiEncoder(encoder, index))
    expected_ids, expected = rerank(ids, QUERIES, CORPUS, BiEncoder(encoder))
    assert (found == expected_ids).all() and np.allclose(scores, expected, atol=1e-6)
    part = retrieval.build_dense(encoder, {id_: CORPUS[id_] for id_ in list(CORPUS)[1:]})
    with pytest.raises(InputError, match="has no vector of passage 'p0': build its index on this corpus"):
        rerank(ids, QUERIES, CORPUS, BiEncoder(encoder, part))


def test_the_prompts_of_an_encoder_count(encoder):
    prompted = dataclasses.replace(encoder, query_prompt="question: ", passage_prompt="the ")
    _, scores = rerank(np.array([["p0"]]), QUERIES[:1], CORPUS, BiEncoder(prompted))
    texts = [f"question: {QUERIES[0]}", f"the {retrieval.passage_text(CORPUS['p0'])}"]
    assert scores[0, 0] == pytest.approx(float(np.prod(models.encode(encoder, texts), axis=0).sum()), abs=1e-5)


@pytest.mark.parametrize(
    ("ids", "queries", "n_docs", "message"),
    [
        ([["p0", "p9"]], QUERIES[:1], None, r"passage 'p9' \(one of 1\) is not in the corpus"),
        ([["p0", "p1"]], QUERIES, None, r"ids \(1, 2\) for 3 questions"),
        (["p0", "p1"], QUERIES[:2], None, r"ids \(2,\) for 2 questions"),
        ([["p0", "p1"]], QUERIES[:1], 3, "n_docs = 3: 2 passages a question were retrieved"),
        ([["p0", "p1"]], QUERIES[:1], 0, "n_docs = 0: 2 passages a question were retrieved"),
    ],
)
def test_what_cannot_be_reranked_is_refused(ids, queries, n_docs, message):
    with pytest.raises(InputError, match=message):
        rerank(np.array(ids), queries, CORPUS, None, n_docs)


def test_a_reranked_retriever_is_searched_like_any_other(cross_encoder):
    bm25 = retrieval.build_bm25(CORPUS)
    queries = ["the capital of Peru, the yen and Goethe", "unknown"]
    retrieved, _ = retrieval.search(bm25, queries, 2)
    for retriever in (bm25, HybridRetriever((bm25, bm25), depth=2)):
        reranked = RerankedRetriever(retriever, cross_encoder, CORPUS, depth=2)
        for n_docs in (1, 2):
            ids, scores = retrieval.search(reranked, queries, n_docs)
            expected = rerank(retrieved, queries, CORPUS, cross_encoder, n_docs)
            assert ids.tolist() == expected[0].tolist() and scores.tolist() == expected[1].tolist()
    # It cannot bring what was not retrieved; K is smaller than n_docs only where the corpus is.
    assert {*ids[0]} == {*retrieved[0]} and (ids[1] == "").all() and (scores[1] == 0).all()
    deep = RerankedRetriever(bm25, cross_encoder, CORPUS)
    assert retrieval.search(deep, queries, 50)[0].shape == (2, 5)
    again = HybridRetriever((deep, bm25))
    assert retrieval.search(again, queries, 3)[0].shape == (2, 3)


@pytest.mark.parametrize(
    ("retriever", "n_docs", "message"),
    [
        (RerankedRetriever(None, None, CORPUS, depth=20), 21, "only the 20 best are re-ranked: raise depth"),
        (RerankedRetriever(HybridRetriever((None,)), None, CORPUS, depth=60), 1, "only the 50 best are fused"),
        (HybridRetriever((None, RerankedRetriever(None, None, CORPUS, depth=9))), 1, "only the 9 best are re-ranked"),
    ],
)
def test_more_than_is_gone_through_is_refused_before_any_search(retriever, n_docs, message):
    with pytest.raises(InputError, match=message):
        retrieval.search(retriever, QUERIES, n_docs)


# Cross-encoders


PAIRS = [(query, retrieval.passage_text(passage)) for query in QUERIES for passage in CORPUS.values()]
PAIRS += [(QUERIES[0], ""), (QUERIES[1], "lima " * 30)]  # both short enough not to be cut


def baseline_scores(folder, pairs):
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu")
    return model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)


def test_scores_are_those_of_sentence_transformers(cross_encoder, cross_encoder_folder, tmp_path):
    from sentence_transformers import CrossEncoder

    questions, passages = map(list, zip(*PAIRS, strict=True))
    scores = models.pair_scores(cross_encoder, questions, passages)
    np.testing.assert_allclose(scores, baseline_scores(cross_encoder_folder, PAIRS), atol=1e-5)
    assert np.ptp(scores) > 0.5 and scores.dtype == np.float32
    # Saved by that library, in its own form.
    CrossEncoder(str(cross_encoder_folder), device="cpu").save_pretrained(str(tmp_path / "saved"))
    saved = load(models.load_cross_encoder, tmp_path / "saved")
    np.testing.assert_allclose(models.pair_scores(saved, questions, passages), scores, atol=1e-6)
    # Question and passage are told apart.
    assert np.abs(models.pair_scores(cross_encoder, passages[:3], questions[:3]) - scores[:3]).max() > 0.01


def test_scores_do_not_depend_on_the_batches(cross_encoder, monkeypatch):
    questions, passages = map(list, zip(*PAIRS, strict=True))
    expected = models.pair_scores(cross_encoder, questions, passages)
    alone = [models.pair_scores(cross_encoder, [q], [p])[0] for q, p in PAIRS]
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    monkeypatch.setattr(cross_encoder_module, "PAIRS_AT_ONCE", 4)
    np.testing.assert_allclose(models.pair_scores(cross_encoder, questions, passages), expected, atol=1e-5)
    long = [passage + " lima" * 60 for passage in passages]
    assert models.n_pairs_cut(cross_encoder, questions, long) == len(PAIRS)


@pytest.fixture
def read(cross_encoder, monkeypatch):
    """List of the token ids that the model has read, one list a batch."""
    calls, forward = [], cross_encoder.model.forward

    def recorded(**batch):
        calls.append(batch["input_ids"].tolist())
        return forward(**batch)

    monkeypatch.setattr(cross_encoder.model, "forward", recorded)
    return calls


def test_the_question_is_never_cut(cross_encoder, read):
    """A question of 8 tokens and a passage of 500, of which 64 - 8 - 3 are read."""
    words = (checkpoints.SENTENCES[0] + checkpoints.SENTENCES[1]).lower().split()
    words = [word for word in words if word.isalpha()]
    question, other = " ".join(words[:8]), " ".join(words[2:10])
    passage = " ".join((words * 50)[:500])
    count = lambda text: len(cross_encoder.tokenizer(text, add_special_tokens=False)["input_ids"])  # noqa: E731
    assert (count(question), count(other), count(passage), cross_encoder.max_length) == (8, 8, 500, POSITIONS)
    (score,) = models.pair_scores(cross_encoder, [question], [passage])
    ((tokens,),) = read
    first = cross_encoder.tokenizer(question)["input_ids"]
    assert len(tokens) == POSITIONS and tokens[: len(first)] == first
    beginning = " ".join(passage.split()[: POSITIONS - 8 - 3])
    assert score == models.pair_scores(cross_encoder, [question], [beginning])[0]
    assert score != models.pair_scores(cross_encoder, [question], [" ".join(passage.split()[: POSITIONS - 12])])[0]
    assert abs(score - models.pair_scores(cross_encoder, [other], [passage])[0]) > 1e-4
    assert models.n_pairs_cut(cross_encoder, [question] * 3, [passage, beginning, f"{beginning} lima"]) == 2
    # As it was met: the last tokens are kept, and the question makes no difference.
    whole = [cross_encoder.tokenizer(q, passage)["input_ids"][-POSITIONS:] for q in (question, other)]
    assert whole[0] == whole[1]


def test_a_question_that_leaves_no_room_is_refused(cross_encoder, read):
    fits, too_long = "peru " * (POSITIONS - 4), "peru " * (POSITIONS - 3)
    assert np.isfinite(models.pair_scores(cross_encoder, [fits], ["lima"])).all()
    read.clear()
    for function in (models.pair_scores, models.n_pairs_cut):
        with pytest.raises(
            InputError, match=r"question of 61 tokens .'peru peru .*leaves no room for a passage in the 64"
        ):
            function(cross_encoder, ["peru", too_long], ["lima", "lima"])
        with pytest.raises(InputError, match="2 questions and 1 passages"):
            function(cross_encoder, ["a", "b"], ["lima"])
        with pytest.raises(InputError, match="0 questions"):
            function(cross_encoder, [], [])
    assert read == []


def test_scores_are_kept_by_content(cross_encoder, cross_encoder_folder, read):
    questions, passages = ["peru", "chad"], ["lima", "french"]
    scores = models.pair_scores(cross_encoder, questions, passages)
    assert models.pair_scores(cross_encoder, questions, passages).tolist() == scores.tolist() and len(read) == 1
    models.pair_scores(cross_encoder, questions, ["lima", "arabic"])
    models.pair_scores(cross_encoder, questions[::-1], passages)
    models.pair_scores(dataclasses.replace(cross_encoder, max_length=40), questions, passages)
    models.pair_scores(dataclasses.replace(cross_encoder, sha256="other"), questions, passages)
    assert len(read) == 5
    renamed = dataclasses.replace(cross_encoder, name="other")
    assert models.pair_scores(renamed, questions, passages).tolist() == scores.tolist() and len(read) == 5


def test_the_limit_is_what_the_checkpoint_says(cross_encoder_folder, tmp_path):
    folder = shutil.copytree(cross_encoder_folder, tmp_path / "limited")
    assert load(models.load_cross_encoder, folder).max_length == POSITIONS
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32}))
    assert load(models.load_cross_encoder, folder).max_length == 32
    shorter = checkpoints.load_on_cpu(lambda name: models.load_cross_encoder(name, max_length=20), str(folder))
    assert shorter.max_length == 20
    with pytest.raises(InputError, match=r"max_length = 65: .* has positions for 64 tokens"):
        models.load_cross_encoder(str(folder), max_length=65)


def test_in_bfloat16_scores_are_still_told_apart(cross_encoder, cross_encoder_folder):
    import torch

    coarse = load(models.load_cross_encoder, cross_encoder_folder, "bfloat16")
    questions, passages = map(list, zip(*PAIRS, strict=True))
    scores = models.pair_scores(coarse, questions, passages)
    np.testing.assert_allclose(scores, models.pair_scores(cross_encoder, questions, passages), atol=0.1)
    rounded = torch.tensor(scores).to(torch.bfloat16).float().numpy()
    assert coarse.model.dtype == torch.bfloat16 and (scores != rounded).mean() > 0.9


def without(folder, name):
    """The checkpoint in `folder` without one of its weights."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def set_json(folder, file, value):
    (folder / file).write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: without(f, "classifier.weight"), "classifier.weight is not in the checkpoint"),
        (lambda f: without(f, "bert.pooler.dense.weight"), "bert.pooler.dense.weight is not in the checkpoint"),
        (lambda f: (f / "model.safetensors").rename(f / "model.bin"), "no [*].safetensors in it"),
        (lambda f: set_json(f, "modules.json", [{}, {}]), "modules.json with 2 modules is not supported"),
        (
            lambda f: set_json(f, "config_sentence_transformers.json", {"default_prompt_name": "x"}),
            "default_prompt_name = 'x' is not supported",
        ),
        (lambda f: set_json(f, "sentence_bert_config.json", {"do_lower_case": True}), "do_lower_case is not supported"),
        (lambda f: set_json(f, "sentence_bert_config.json", {"max_seq_length": "9"}), "max_seq_length = '9'"),
    ],
)
def test_a_checkpoint_that_would_score_otherwise_is_refused(cross_encoder_folder, tmp_path, damage, message):
    folder = shutil.copytree(cross_encoder_folder, tmp_path / "damaged")
    damage(folder)
    with pytest.raises(InputError, match=message):
        models.load_cross_encoder(str(folder))


def test_what_is_no_cross_encoder_is_refused(tmp_path):
    with pytest.raises(InputError, match="makes 3 scores of a pair"):
        models.load_cross_encoder(str(checkpoints.cross_encoder(tmp_path / "three", num_labels=3)))
    checkpoints.minilm(tmp_path / "encoder")
    with pytest.raises(InputError, match=r"modules.json with 3 modules is not supported"):
        models.load_cross_encoder(str(tmp_path / "encoder"))
    with pytest.raises(InputError, match="the hub did not give it"):
        models.load_cross_encoder("nobody/nothing at all")


def test_other_architectures(tmp_path):
    """RoBERTa has two separators and a head of its own, a decoder's score is that of its last token."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification, RobertaConfig
    from transformers import RobertaForSequenceClassification as Roberta

    for name, make in (
        ("roberta", lambda size, sizes: Roberta(RobertaConfig(vocab_size=size, max_position_embeddings=66, **sizes))),
        ("llama", lambda size, sizes: LlamaForSequenceClassification(LlamaConfig(vocab_size=size, **sizes))),
    ):
        folder = tmp_path / name
        checkpoints.bart(folder)  # for its tokenizer
        size = len(AutoTokenizer.from_pretrained(folder))
        sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        torch.manual_seed(0)
        make(size, {**sizes, "num_labels": 1, "pad_token_id": 0, "initializer_range": 0.25}).save_pretrained(folder)
        loaded = load(models.load_cross_encoder, folder)
        assert loaded.max_length == (65 if name == "roberta" else 2048)
        pairs = [(q, p[:20]) for q, p in PAIRS[:6]]
        scores = models.pair_scores(loaded, *map(list, zip(*pairs, strict=True)))
        np.testing.assert_allclose(scores, baseline_scores(folder, pairs), atol=1e-5)


# Query likelihood


def plain_likelihood(generator, prompt_ids, question_ids):
    """Mean log p of the question's tokens after the prompt, one forward pass a token, by transformers alone."""
    import torch

    model, total = generator.model, 0.0
    for t, token in enumerate(question_ids):
        if generator.seq2seq:  # BART's targets begin with <s>
            start = [model.config.decoder_start_token_id, generator.tokenizer.bos_token_id, *question_ids[:t]]
            inputs = {"input_ids": torch.tensor([prompt_ids]), "decoder_input_ids": torch.tensor([start])}
        else:
            inputs = {"input_ids": torch.tensor([prompt_ids + question_ids[:t]])}
        with torch.inference_mode():
            total += float(model(**inputs).logits[0, -1].log_softmax(-1)[token])
    return total / len(question_ids)


PROMPT = "Passage: {passage}\nPlease write a question based on this passage.\nQuestion:"


def test_query_likelihood_is_a_plain_loop(generator):
    questions = ["What is the capital?", "Who wrote Faust?", "x"]
    passages = [CORPUS["p0"], CORPUS["p4"], CORPUS["p3"]]
    texts = ["Peru. The capital of Peru is Lima", "Faust. Goethe", "which country has the largest area"]
    scores = retrieval.query_likelihoods(generator, questions, passages)
    for score, question, text in zip(scores, questions, texts, strict=True):
        prompt_ids = generator.tokenizer(PROMPT.replace("{passage}", text))["input_ids"]
        written = question if generator.seq2seq else f" {question}"
        question_ids = generator.tokenizer(written, add_special_tokens=False)["input_ids"]
        assert score == pytest.approx(plain_likelihood(generator, prompt_ids, question_ids), abs=1e-4)
    assert retrieval.question_prompts(generator, questions, passages) == (
        [PROMPT.replace("{passage}", text) for text in texts], 0,
    )  # fmt: skip
    assert len({*retrieval.query_likelihoods(generator, ["Who?"] * 3, passages).round(4).tolist()}) == 3


def test_the_ending_of_a_question_is_not_scored(word_generator):
    """A generator that never ends its questions has the same scores."""
    question, passage = word_checkpoints.prompt([1, 2, 3]).strip(), Passage("", word_checkpoints.prompt([4, 5]))
    (score,) = retrieval.query_likelihoods(word_generator, [question], [passage])
    prompts, _ = retrieval.question_prompts(word_generator, [question], [passage])
    (row,) = generation.answer_logprobs(word_generator, prompts, [question])
    assert len(row) == 4 and score == pytest.approx(row[:3].mean()) and score != pytest.approx(row.mean(), abs=1e-3)


@pytest.mark.parametrize("n_words", [50, 5000])
def test_a_long_passage_loses_its_end_only(word_generator, n_words):
    """Each word of passage and question is one token here: 5 of a question are scored whatever the passage's length."""
    words = word_checkpoints.prompt(np.random.default_rng(0).integers(0, 40, n_words)).strip()
    question = word_checkpoints.prompt([7, 8, 9, 10, 11]).strip()
    passage = Passage("", words)
    (prompt,), n_cut = retrieval.question_prompts(word_generator, [question], [passage])
    assert n_cut == int(n_words > 512)
    head, instruction = PROMPT.split("{passage}")
    assert prompt.startswith(head) and prompt.endswith(instruction)
    kept = prompt[len(head) : -len(instruction)]
    assert words.startswith(kept) and (kept == words) == (n_words == 50)
    (prompt_ids,) = generation.prompt_tokens(word_generator, [prompt])
    (question_ids,) = generation.answer_tokens(word_generator, [question], ended=False)
    (ended_ids,) = generation.answer_tokens(word_generator, [question])
    assert len(question_ids) == 5
    if n_words == 5000:  # not a token less than what fits
        assert len(prompt_ids) + len(ended_ids) == 512
        assert kept.split() == words.split()[: len(kept.split())] and len(kept.split()) > 480
    (score,) = retrieval.query_likelihoods(word_generator, [question], [passage])
    assert score == pytest.approx(plain_likelihood(word_generator, prompt_ids, question_ids), abs=1e-4)
    (other,) = retrieval.query_likelihoods(word_generator, [word_checkpoints.prompt([1, 2, 3]).strip()], [passage])
    assert abs(score - other) > 1e-3


@pytest.mark.parametrize("kind", ["llama", "bart", "chat"])
def test_every_prompt_fits(tmp_path, kind):
    """Tokens that join where a passage ends, special tokens, turns of a chat: the whole is never too long."""
    if kind == "chat":
        template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
        turns = ["<|user|>", "<|assistant|>", "<|end|>"]
        folder = checkpoints.chat_parrot(tmp_path, template, turns)
    else:
        folder = getattr(checkpoints, kind)(tmp_path)
    generator = load(models.load_generator, folder)
    assert generator.chat == (kind == "chat")
    text = " ".join(checkpoints.SENTENCES).replace("\n", " ") + " caf\u00e9 \u4e2d\u6587 \U0001f600"
    questions = ["Who?", "What is the capital of Chad, and which are its official languages?"]
    passages = [Passage("Chad", text[start:] * 3) for start in range(40)]
    limit = generator.model.config.max_position_embeddings
    for question in questions:
        prompts, n_cut = retrieval.question_prompts(generator, [question] * 40, passages)
        assert n_cut == 40 and all(prompt.startswith("Passage: Chad. ") for prompt in prompts)
        assert all(prompt.endswith("\nPlease write a question based on this passage.\nQuestion:") for prompt in prompts)
        (answer,) = generation.answer_tokens(generator, [question])
        lengths = [len(ids) + len(answer) for ids in generation.prompt_tokens(generator, prompts)]
        assert max(lengths) <= limit and min(lengths) > limit - 8
    assert np.isfinite(retrieval.query_likelihoods(generator, questions, passages[:2])).all()


def test_what_has_no_likelihood_is_refused(word_generator):
    passage = Passage("", word_checkpoints.prompt(range(30)))
    for function in (retrieval.query_likelihoods, retrieval.question_prompts):
        with pytest.raises(InputError, match="1 questions and 0 passages"):
            function(word_generator, ["w1"], [])
        with pytest.raises(InputError, match="0 questions"):
            function(word_generator, [], [])
        with pytest.raises(InputError, match="an empty question"):
            function(word_generator, ["w1", " "], [passage, passage])
        with pytest.raises(
            InputError, match=r"question number 1 \('w1 w1.*leave no room for a passage in the 512 tokens"
        ):
            function(word_generator, ["w1", "w1 " * 500], [passage, passage])


# What is cut


def test_how_many_passages_are_cut(encoder, word_generator, cross_encoder):
    corpus = {"short": Passage("", "w1"), "long": Passage("peru", "w1 " * 700), "other": Passage("", "w2 " * 600)}
    ids = np.array([["long", "short"], ["", ""], ["other", "long"]])
    for reranker in (BiEncoder(encoder), QueryLikelihood(word_generator), cross_encoder):
        assert retrieval.n_cut_by_reranker(ids, ["w1", "w1", "w3"], corpus, reranker) == 3
        assert retrieval.n_cut_by_reranker(ids[:2, 1:], ["w1", "w1"], corpus, reranker) == 0
        assert retrieval.n_cut_by_reranker(ids[1:2], ["w1"], corpus, reranker) == 0
    with pytest.raises(InputError, match="is not in the corpus"):
        retrieval.n_cut_by_reranker(np.array([["p0"]]), ["w1"], corpus, cross_encoder)
