"""End-to-end training: gradients reach the passage encoder, and the index follows it."""

import contextlib
import dataclasses
import functools
import socket
from types import SimpleNamespace

import numpy as np
import pytest
from substitution import substitute, uncached
from test_training import (
    CORPUS,
    EXAMPLES,
    SHORT,
    TEMPERATURE,
    cache_folder,
    distance,
    encoder,
    generators,
    interrupted,
    llama,
    require_same,
    run_folder,
    runs,
    undisturbed,
)

from nbutils import data, generation, models, rag, retrieval, training
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.rag import likelihoods as likelihoods_module
from nbutils.retrieval import dense as dense_module
from nbutils.training import cluster as cluster_module
from nbutils.training import loop as loop_module
from nbutils.training import refresh as refresh_module

__all__ = ["cache_folder", "encoder", "generators", "llama"]  # fixtures
TEXTS = [retrieval.passage_text(passage) for passage in CORPUS.values()]
# Of unequal lengths, so that the last bits of a vector tell with which other texts it was encoded.
UNEQUAL = {
    id: Passage(passage.title, " ".join([passage.text] * (1 + 2 * i))) for i, (id, passage) in enumerate(CORPUS.items())
}


@pytest.fixture
def train(llama, encoder):
    """Function refresh_every, ... -> what train_end2end returns."""

    def run(refresh_every=3, settings=SHORT, corpus=CORPUS, **options):
        options = {"temperature": TEMPERATURE, "n_docs": 3, **options}
        return training.train_end2end(
            llama, encoder, encoder, corpus, EXAMPLES, settings, refresh_every=refresh_every, **options
        )

    return run


@pytest.fixture
def made(monkeypatch):
    """List of (encoder, index) of every index that is made."""
    seen, build = [], retrieval.build_dense

    def recorded(encoder, *arguments, **options):
        seen.append((encoder, build(encoder, *arguments, **options)))
        return seen[-1][1]

    substitute(monkeypatch, dense_module, "build_dense", recorded)
    return seen


def vectors(index):
    return index.faiss_index.reconstruct_n(0, len(index.passage_ids))


@pytest.mark.parametrize("marginalization", training.MARGINALIZATIONS)
def test_all_three_parts_move_and_the_index_follows(llama, encoder, train, marginalization):
    system = train(marginalization=marginalization)
    question, passage, history = system.question_encoder, system.passage_encoder, system.history
    assert min(distance(encoder.model, question.model), distance(encoder.model, passage.model)) > 1e-3
    assert distance(question.model, passage.model) > 1e-3
    assert distance(llama.model, system.generator.model) > 1e-3
    assert len({encoder.sha256, question.sha256, passage.sha256}) == 3
    assert history["index_age"] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert history["loss"][-1] < history["loss"][0]
    assert np.array_equal(vectors(system.index), uncached(models.encode, passage, TEXTS))
    assert not list(run_folder().glob("snapshot-*"))


def test_every_index_is_a_fresh_encoding_bit_for_bit(train, made):
    """And an encoder with its dropout on, the fault of an earlier implementation, would be noticed."""
    passage = train().passage_encoder
    assert len(made) == 4 and len({index.sha256 for _, index in made}) == 4  # the start, steps 3 and 6, the end
    for snapshot, index in made:
        assert np.array_equal(vectors(index), uncached(models.encode, snapshot, TEXTS))
    assert not any(parameter.requires_grad for snapshot, _ in made[1:] for parameter in snapshot.model.parameters())
    passage.model.train()
    assert not np.allclose(vectors(made[-1][1]), uncached(models.encode, passage, TEXTS), atol=1e-3)


def test_an_index_that_is_never_made_anew(train, made):
    system = train(None)
    assert system.history["index_age"] == list(range(SHORT.n_steps)) and len(made) == 2
    assert not np.array_equal(vectors(made[0][1]), vectors(system.index))  # that of the end is the learned encoder's


@pytest.mark.parametrize("tower", training.TOWERS)
def test_one_tower_alone(encoder, train, tower):
    system = train(3 if tower == "passage" else None, towers=(tower,))
    question, passage = system.question_encoder, system.passage_encoder
    moved, kept = (question, passage) if tower == "question" else (passage, question)
    assert kept is encoder and distance(encoder.model, moved.model) > 1e-3


def test_the_gradients_are_the_loss_s(llama, encoder):
    """One whole graph gives both encoders the same gradients as the passes that meet at the scores."""
    import torch

    rows, found = [0, 2, 3, 5], {}
    index = retrieval.build_dense(encoder, CORPUS)
    both = {"question": encoder, "passage": encoder}
    loss = training.RagLoss(CORPUS, EXAMPLES, "token", TEMPERATURE, 200)
    for how in ("cut", "whole"):
        learning = {tower: training.trainable_encoder(encoder) for tower in both}
        generator, _ = training.trainable_generator(llama, SHORT, 0)
        if how == "cut":
            learners = training.Learners(generator, learning, {}, contextlib.nullcontext())
            training.End2EndObjective(loss, 3, SimpleNamespace(current=index), both).step(learners, rows)
        else:
            batch = [EXAMPLES[row] for row in rows]
            ids, _ = retrieval.search(retrieval.DenseRetriever(index, encoder), [example.query for example in batch], 3)
            asked = training.embed_texts(learning["question"], [example.query for example in batch])
            scores = torch.stack(
                [
                    training.embed_texts(learning["passage"], [retrieval.passage_text(CORPUS[id]) for id in row])
                    @ vector
                    for row, vector in zip(ids, asked, strict=True)
                ]
            )
            prompts = [
                [generation.build_prompt(example.question, CORPUS[id]) for id in row]
                for example, row in zip(batch, ids, strict=True)
            ]
            parts = rag.answer_token_logprobs(generator, prompts, [example.answers[0] for example in batch])
            prior = rag.doc_logprobs(scores, TEMPERATURE)
            (-rag.rag_token_logprobs(prior, *parts).sum(-1).mean()).backward()
        found[how] = {
            (tower, name): parameter.grad
            for tower, learner in learning.items()
            for name, parameter in learner.model.named_parameters()
            if parameter.grad is not None
        }
    assert found["cut"].keys() == found["whole"].keys() and len(found["cut"]) > 20
    for name, gradient in found["whole"].items():
        assert gradient.abs().max() > 0 or "key.bias" in name[1]
        torch.testing.assert_close(found["cut"][name], gradient, rtol=1e-4, atol=1e-6)


def test_an_interrupted_run_goes_on_with_the_index_it_had(tmp_path, train):
    """Checkpoints after 3 and 6 steps, new indexes before steps 2, 4 and 6: interrupted between them."""
    whole, *rest = runs(tmp_path, lambda: train(2), undisturbed, interrupted(2), interrupted(5), interrupted(7))
    for other in rest:
        require_same(whole, other)
        assert np.array_equal(vectors(whole.index), vectors(other.index))


def test_statements_are_reconstructed_from_what_they_retrieve(llama, encoder, monkeypatch):
    """The generator reads the passages and the mark of a statement, never the statement that it has to write."""
    statements = data.statement_examples(CORPUS, 1.0, 0, min_words=2)
    read, answered = [], rag.answer_token_logprobs

    def seen(generator, prompts, answers):
        read.extend(zip(prompts, answers, strict=True))
        return answered(generator, prompts, answers)

    substitute(monkeypatch, likelihoods_module, "answer_token_logprobs", seen)
    settings = dataclasses.replace(SHORT, n_steps=3, warmup_steps=0)
    system = training.train_end2end(llama, encoder, encoder, CORPUS, statements, settings, 3, 2, "token", TEMPERATURE)
    assert len(read) == 3 * SHORT.batch_size and np.isfinite(system.history["loss"]).all()
    passages = {generation.build_prompt(None, passage) for passage in CORPUS.values()}
    assert all({*prompts} <= passages and answer in {s.answers[0] for s in statements} for prompts, answer in read)


def failing(monkeypatch, *numbers):
    """The makings of an index with these numbers fail."""
    asked, build = [], retrieval.build_dense

    def build_or_fail(*arguments, **options):
        asked.append(0)
        if len(asked) in numbers:
            raise RuntimeError("out of memory")
        return build(*arguments, **options)

    substitute(monkeypatch, dense_module, "build_dense", build_or_fail)


def test_a_refresh_that_fails_is_tried_once_more(tmp_path, monkeypatch, train):
    with monkeypatch.context() as patch:
        failing(patch, 2)
        tried = train()
    (whole,) = runs(tmp_path, train, undisturbed)
    assert tried.history == whole.history


def test_a_refresh_that_fails_twice_stops_the_run_and_leaves_its_checkpoint(monkeypatch, train):
    with monkeypatch.context() as patch:
        failing(patch, 3, 4)  # the start, step 3, and step 6 in both tries
        with pytest.raises(InputError, match=r"before step 7 the index could not be made anew, twice: out of memory"):
            train()
    assert training.read_state(run_folder())["step"] == 6
    assert len(train().history["loss"]) == SHORT.n_steps


# By Ray actors, while training goes on


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    yield ray
    ray.shutdown()


def encode_here(patch):
    """In place of Ray's actors, shares of the texts that this process encodes as soon as it is asked to."""

    def submit(actors, encoder):
        return [uncached(models.encode, encoder, share) for share in actors]

    substitute(patch, refresh_module, "start_actors", lambda _, texts, n, *rest: refresh_module.split_texts(texts, n))
    substitute(patch, refresh_module, "submit", submit)
    substitute(patch, refresh_module, "collect", lambda submitted: np.concatenate(submitted))
    substitute(patch, refresh_module, "stop_actors", lambda actors: None)


@pytest.mark.parametrize("n_actors", [1, 2])
def test_actors_encode_as_one_does_here(ray, encoder, n_actors):
    """With the weights of the moment at which they are asked, whatever becomes of the encoder afterwards."""
    import torch

    actors = training.start_actors(encoder, TEXTS, n_actors, n_threads=1)
    learner = training.trainable_encoder(encoder)
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.add_(0.01)
    here = uncached(models.encode, learner, TEXTS)
    submitted = training.submit(actors, learner)
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.zero_()
    there = training.collect(submitted)
    training.stop_actors(actors)
    if n_actors == 1:
        assert np.array_equal(here, there)
    np.testing.assert_allclose(here, there, atol=1e-6)
    assert not np.allclose(there, uncached(models.encode, encoder, TEXTS), atol=1e-3)
    with pytest.raises(RuntimeError, match="an actor that encodes passages failed"):
        training.collect(training.submit(actors, learner))


def test_the_index_of_actors_is_put_in_place_one_interval_later(ray, tmp_path, train, made):
    curves = train(2, n_actors=1).history
    assert curves["index_age"] == [0, 1, 2, 3, 2, 3, 2, 3]
    (at_once,) = runs(tmp_path, lambda: train(2), undisturbed)
    losses = at_once.history["loss"]
    assert losses[:2] == curves["loss"][:2] and losses != curves["loss"]
    # Both trained alike up to step 2, so the snapshot is the same: one index was made there, the other here.
    (first,) = {i for i, (_, index) in enumerate(made) if index.sha256 == made[1][1].sha256 and i > 1}
    assert np.array_equal(vectors(made[1][1]), vectors(made[first][1]))


def test_actors_that_die_are_replaced_and_nothing_is_lost(ray, tmp_path, monkeypatch, train, made, capsys):
    """Bit for bit: this process encodes the same shares of the texts as they do."""
    run = functools.partial(train, 2, corpus=UNEQUAL, n_actors=2)
    (whole,) = runs(tmp_path, run, lambda patch, run: encode_here(patch) or run())
    submit, started, start = training.submit, [], training.start_actors

    def killed(actors, encoder):
        submitted = submit(actors, encoder)
        if len(started) == 1:
            training.stop_actors(actors)
        return submitted

    substitute(monkeypatch, refresh_module, "submit", killed)
    substitute(monkeypatch, refresh_module, "start_actors", lambda *options: started.append(0) or start(*options))
    other = run()
    assert len(started) == 2
    require_same(whole, other)
    assert len(made) == 2 * 4  # of each run at the start, of steps 2 and 4, and at the end
    for (_, one), (_, again) in zip(made[:4], made[4:], strict=True):
        assert np.array_equal(vectors(one), vectors(again))
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("Before step 5 the index could not be made anew (an actor that encodes passages failed: ")


def test_a_wait_for_vectors_ends_when_a_host_is_lost(ray, monkeypatch):
    """As where an actor has yet to start and needs what only the lost host had."""
    monkeypatch.setattr(refresh_module, "_LOOK_S", 0.1)
    cluster_module.connect(None)
    never = ray.remote(resources={"of the lost host": 1})(lambda: None).remote()
    hosts = cluster_module.living_hosts()
    submitted = refresh_module.Submitted([never], hosts | {"lost"})
    with pytest.raises(RuntimeError, match="1 of 2 hosts that encode passages lost"):
        training.collect(submitted)


def test_an_interrupted_run_with_actors(ray, tmp_path, train):
    whole, *rest = runs(tmp_path, lambda: train(2, n_actors=1), undisturbed, interrupted(5), interrupted(7))
    for other in rest:
        require_same(whole, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refresh_every": 8}, r"refresh_every = 8: give 1 to 7, or None"),
        ({"refresh_every": 0}, r"refresh_every = 0"),
        ({"towers": ("question",)}, r"the passage encoder does not learn"),
        ({"n_actors": 1, "refresh_every": None}, r"n_actors = 1 with refresh_every = None"),
        ({"towers": ()}, r"name one or both of question, passage"),
        ({"towers": ("both",)}, r"name one or both of question, passage"),
        ({"marginalization": "documents"}, r"marginalization 'documents' is unknown"),
        ({"temperature": 0.0}, r"temperature = 0.0"),
        ({"n_docs": 7}, r"n_docs = 7: the index has 6 passages"),
        ({"settings": dataclasses.replace(SHORT, batch_size=0)}, r"batch_size = 0"),
    ],
)
def test_bad_input_is_one_line(train, options, message):
    with pytest.raises(InputError, match=message):
        train(**options)


# On the hosts of a cluster; two of them, of which one is lost, are in test_refresh_hosts.py


def test_where_actors_encode_is_no_part_of_what_is_learned(monkeypatch, train):
    """The run on a cluster is read back from the one without."""
    encode_here(monkeypatch)
    here, asked = train(2, n_actors=2), []
    substitute(monkeypatch, cluster_module, "connect", lambda address: asked.append(address))
    substitute(monkeypatch, loop_module, "train", lambda *run: pytest.fail("it learns again"))
    require_same(here, train(2, n_actors=2, ray_address="10.0.0.1:6379"))
    assert asked == ["10.0.0.1:6379"]


@pytest.fixture
def listening():
    """(host, port) of a socket that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        yield opened.getsockname()


def test_actors_take_turns_on_the_hosts_that_answer(monkeypatch, listening):
    ray = pytest.importorskip("ray")

    def host(name, port, n_gpus=0, alive=True):
        resources = {"GPU": float(n_gpus)} if n_gpus else {}
        address = {"NodeManagerAddress": "127.0.0.1", "NodeManagerPort": port}
        return {"NodeID": name, "Alive": alive, "Resources": resources, **address}

    port = listening[1]
    hosts = [host("here", 1, 1), host("idle", port), host("off", port, 4, alive=False), host("two", port, 2)]
    monkeypatch.setattr(ray, "nodes", lambda: [*hosts, host("cut off", 1, 4)])
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "here"))
    assert cluster_module.place_actors(1, on_gpu=False) == [("idle", 0)]
    assert [name for name, _ in cluster_module.place_actors(4, on_gpu=False)] == ["idle", "two", "here", "idle"]
    assert cluster_module.place_actors(2, on_gpu=True) == [("two", 1), ("here", 1)]
    two, here = ("two", 0.5), ("here", 0.5)  # three actors on two GPUs: no third of one is left where two have halves
    assert cluster_module.place_actors(5, on_gpu=True) == [two, here, two, here, two]


@pytest.fixture
def unconnected(monkeypatch):
    """Ray as in a process that has not begun with it."""
    monkeypatch.setattr(pytest.importorskip("ray"), "is_initialized", lambda: False)


NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ray_address": NOBODY}, r"ray_address = '127.0.0.1:1' with n_actors = 0: there is nothing to do on the"),
        ({"ray_address": "10.0.0.1", "n_actors": 1}, r"'10.0.0.1': give host:port, such as 10.0.0.1:6379"),
        ({"ray_address": "", "n_actors": 1}, r"ray_address = '': give host:port"),
        ({"ray_address": "ray://10.0.0.1:10001", "n_actors": 1}, r"give host:port"),
        ({"ray_address": "head:65536", "n_actors": 1}, r"give host:port"),
        ({"ray_address": NOBODY, "n_actors": 1}, r"no Ray cluster answers there \(.+\): start one with `ray start"),
        ({"ray_address": "no.such.host.invalid:6379", "n_actors": 1}, r"no Ray cluster answers there"),
    ],
)
def test_an_address_without_a_cluster_is_one_line_before_any_work(unconnected, made, train, options, message):
    with pytest.raises(InputError, match=message) as raised:
        train(**options)
    assert "\n" not in str(raised.value) and not made


def test_what_answers_and_is_no_cluster_is_given_up(unconnected, monkeypatch, made, train, listening):
    monkeypatch.setattr(cluster_module, "_CONNECT_S", 1)
    with pytest.raises(InputError, match=r"did not answer as a Ray cluster within 1 seconds: give the address that"):
        train(n_actors=1, ray_address=f"127.0.0.1:{listening[1]}")
    assert not made


def test_a_cluster_that_refuses_is_one_line_with_its_reason(unconnected, monkeypatch, made, train, listening):
    monkeypatch.setattr(cluster_module, "_ASK", "import sys\nsys.exit('a warning\\nInvalidAuthToken: missing. See')")
    address = f"127.0.0.1:{listening[1]}"
    with pytest.raises(InputError, match=rf"`ray start --address={address}` was .+: InvalidAuthToken: missing$"):
        train(n_actors=1, ray_address=address)
    assert not made


def test_another_cluster_than_the_present_one_is_refused(ray, made, train):
    """And the present one is known by all its names."""
    cluster_module.connect(None)
    with pytest.raises(InputError, match=r"'127.0.0.1:1': this process is connected with the Ray at .+:\d+ already"):
        train(n_actors=1, ray_address=NOBODY)
    assert not made
    present = ray.get_runtime_context().gcs_address
    for host in (present.rpartition(":")[0], "localhost"):
        cluster_module.connect(f"{host}:{present.rpartition(':')[2]}")
