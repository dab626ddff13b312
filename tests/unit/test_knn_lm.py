"""kNN-LM against brute force: neighbors, p_kNN, the mixture, the cache; and what a leak would look like."""

import importlib
import math

import checkpoints
import numpy as np
import pytest
from substitution import substitute

from nbutils import generation, models, retrieval
from nbutils.errors import InputError
from nbutils.retrieval import Interpolation

nearest_module = importlib.import_module("nbutils.retrieval.nearest_states")
knn_module = importlib.import_module("nbutils.retrieval.knn_lm")

VOCABULARY = 262_144
WIDTH = 16


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# p_kNN


def plain_knn(distances, tokens, n_vocabulary, temperature):
    """(B, V) by the formula of the paper, with nothing subtracted from an exponent."""
    found = np.zeros((len(distances), n_vocabulary))
    for row in range(len(distances)):
        for distance, token in zip(distances[row], tokens[row], strict=True):
            found[row, token] += math.exp(-float(distance) / temperature)
        found[row] /= math.fsum(math.exp(-float(distance) / temperature) for distance in distances[row])
    return found


@pytest.mark.parametrize("temperature", [0.3, 1.0, 25.0])
def test_p_knn_is_the_formula(rng, temperature):
    """Over neighbors of which some are equally near, some have the same token, and some queries no right one."""
    distances = rng.integers(0, 9, (50, 8)).astype(np.float32)
    tokens, labels = rng.integers(0, 6, (50, 8)), rng.integers(0, 6, 50)
    expected = plain_knn(distances, tokens, 6, temperature)
    found = retrieval.knn_probabilities(distances, tokens, labels, temperature)
    assert found.dtype == np.float64 and (found == 0).any() and (found > 0.5).any()
    np.testing.assert_allclose(found, expected[np.arange(50), labels], rtol=1e-12)
    whole = retrieval.knn_distribution(distances, tokens, 6, temperature)
    np.testing.assert_allclose(whole, expected, rtol=1e-12)
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(whole[np.arange(50), labels], found, rtol=1e-12)
    # All of them twice: the same.
    doubled = np.tile(distances, 2), np.tile(tokens, 2)
    np.testing.assert_allclose(retrieval.knn_probabilities(*doubled, labels, temperature), found, rtol=1e-12)


def test_far_neighbors_count_as_near_ones_do(rng):
    """exp of minus the distances is 0 in every float here; only their differences matter."""
    distances, tokens = rng.random((20, 5)) * 4, rng.integers(0, 4, (20, 5))
    near, far = (retrieval.knn_distribution(d, tokens, 4) for d in (distances, distances + 1e6))
    np.testing.assert_allclose(near, far, rtol=1e-8)
    nearest_only = retrieval.knn_distribution(distances * 1e9, tokens, 4)
    assert (nearest_only.argmax(axis=1) == tokens[np.arange(20), distances.argmin(axis=1)]).all()
    np.testing.assert_allclose(nearest_only.max(axis=1), 1)


def test_a_neighbor_at_infinity_is_none(rng):
    distances, tokens = rng.random((4, 6)), rng.integers(0, 5, (4, 6))
    fewer = retrieval.knn_probabilities(distances[:, :4], tokens[:, :4], tokens[:, 0])
    distances[:, 4:] = np.inf
    np.testing.assert_allclose(retrieval.knn_probabilities(distances, tokens, tokens[:, 0]), fewer, rtol=1e-12)
    np.testing.assert_allclose(retrieval.knn_distribution(distances, tokens, 5).sum(axis=1), 1)
    distances[2] = np.inf
    found = retrieval.knn_probabilities(distances, tokens, tokens[:, 0])
    assert np.isnan(found).tolist() == [False, False, True, False]


def test_without_neighbors_nothing_is_known_of_any_token():
    distances, tokens = np.array([[1.0, np.inf], [np.inf, np.inf]]), np.array([[3, 0], [3, 0]])
    whole = retrieval.knn_distribution(distances, tokens, 5)
    assert whole[0].tolist() == [0, 0, 0, 1, 0] and np.isnan(whole[1]).all()


def test_a_query_that_is_the_key_of_the_last_token(rng):
    """Token ids beyond what 16 bits hold."""
    keys, tokens = rng.standard_normal((4, WIDTH)).astype(np.float16), np.array([5, 32768, 65536, 262143], np.int32)
    distances, rows = retrieval.nearest(keys, keys, 1)
    assert rows[:, 0].tolist() == [0, 1, 2, 3] and distances.tolist() == [[0]] * 4
    assert retrieval.knn_probabilities(distances, tokens[rows], tokens).tolist() == [1] * 4
    assert retrieval.knn_probabilities(distances, tokens[rows], tokens[::-1]).tolist() == [0] * 4
    whole = retrieval.knn_distribution(distances, tokens[rows], VOCABULARY)
    assert whole[3, 262143] == 1 and whole.sum(axis=1).tolist() == [1] * 4
    assert retrieval.interpolate(np.array([-9.0]), (whole[3:, 262143], 1.0)).tolist() == [0]


def test_rows_in_blocks_are_the_rows_of_the_whole(rng, monkeypatch):
    distances, tokens = np.sort(rng.random((50, 8)), axis=1), rng.integers(0, 5, (50, 8))
    labels = rng.integers(0, 5, 50)
    whole = retrieval.knn_probabilities(distances, tokens, labels, 0.5)
    substitute(monkeypatch, knn_module, "BLOCK_ROWS", 7)
    assert (retrieval.knn_probabilities(distances, tokens, labels, 0.5) == whole).all()


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature):
    arguments = np.ones((2, 3)), np.ones((2, 3), int)
    for refused in (
        lambda: retrieval.knn_probabilities(*arguments, np.ones(2, int), temperature),
        lambda: retrieval.knn_distribution(*arguments, 5, temperature),
        lambda: retrieval.neighbor_weights(arguments[0], temperature),
        lambda: retrieval.cache_probabilities(np.ones((2, 3)), np.ones(2, int), [2], temperature),
    ):
        with pytest.raises(InputError, match=f"^temperature {temperature}: give a number above 0$"):
            refused()


@pytest.mark.parametrize(("shape", "n_labels"), [((2, 4), 2), ((3, 3), 2), ((2, 3), 3), ((2, 3), 1)])
def test_shapes_that_do_not_fit_are_refused(shape, n_labels):
    with pytest.raises(InputError, match=r"distances \(2, 3\), tokens .*: do not fit"):
        retrieval.knn_probabilities(np.ones((2, 3)), np.ones(shape, int), np.ones(n_labels, int))


@pytest.mark.parametrize("token", [-1, 5, 262_143])
def test_a_token_that_is_not_in_the_vocabulary_is_refused(token):
    with pytest.raises(InputError, match=f"tokens from {min(token, 1)} to {max(token, 1)}: the vocabulary has 5"):
        retrieval.knn_distribution(np.ones((1, 2)), np.array([[1, token]]), 5)


# The mixture


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_the_mixture_is_the_formula(rng):
    logprobs, p, q = -rng.random(40) * 20, rng.random(40), rng.random(40)
    p[:5], q[3:8] = 0, 0
    found = retrieval.interpolate(logprobs, (p, 0.25), (q, 0.5))
    np.testing.assert_allclose(found, np.log(0.25 * np.exp(logprobs) + 0.25 * p + 0.5 * q), rtol=1e-12)
    # Where the model's own p is 0 in every float.
    (found,) = retrieval.interpolate(np.array([-2000.0]), (np.zeros(1), 0.25))
    assert found == pytest.approx(-2000 + math.log(0.75))
    everything = retrieval.interpolate(logprobs, (p, 1.0))
    assert np.isneginf(everything[:5]).all() and np.allclose(everything[5:], np.log(p[5:]))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_with_nothing_added_the_values_are_the_models_bit_for_bit(rng, kind):
    logprobs, p = (-rng.random(1000) * 9).astype(kind), rng.random(1000)
    logprobs[:3], p[2:5] = (-np.inf, 0, -1e-30), (0, 1, np.nan)
    for parts in ([], [(p, 0.0)], [(p, 0), (p, 0.0)], [(np.full(1000, np.nan), 0.5)] * 2):
        assert (retrieval.interpolate(logprobs, *parts) == logprobs).all()
    p[::7] = np.nan
    mixed = retrieval.interpolate(logprobs, (p, 0.3))
    assert (mixed == logprobs)[np.isnan(p)].all() and (mixed != logprobs)[~np.isnan(p)].all()


def test_a_part_that_knows_nothing_leaves_its_share_to_the_model():
    logprobs, half = np.log([0.2, 0.2, 0.2, 0.2]), np.array([0.5] * 4)
    p, q = np.array([1, np.nan, 1, np.nan]), np.array([1, 1, np.nan, np.nan])
    found = np.exp(retrieval.interpolate(logprobs, (p, 0.25), (q * half, 0.25)))
    assert found == pytest.approx([0.1 + 0.25 + 0.125, 0.15 + 0.125, 0.15 + 0.25, 0.2])


def test_probabilities_of_the_whole_vocabulary_sum_to_one(rng):
    """With neighbors and a cache, for each of several contexts, with neighbors missing for some."""
    n_vocabulary, n_contexts, k = 300, 12, 7
    logprobs = log_softmax(rng.standard_normal((n_contexts, n_vocabulary)) * 3)
    distances = rng.random((2, n_contexts, k)) * 5
    distances[0, :3], distances[1, 2:5], distances[0, 6, 2:] = np.inf, np.inf, np.inf
    knn, cached = (
        retrieval.knn_distribution(d, rng.integers(0, n_vocabulary, (n_contexts, k)), n_vocabulary) for d in distances
    )
    for row in range(n_contexts):
        mixed = retrieval.interpolate(logprobs[row], (knn[row], 0.4), (cached[row], 0.35))
        assert np.exp(mixed).sum() == pytest.approx(1, abs=1e-12)
        assert (mixed == logprobs[row]).all() == (row == 2)


@pytest.mark.parametrize(
    ("shares", "text"), [([-0.1], "-0.1"), ([1.01], "1.01"), ([0.6, 0.5], "0.6, 0.5"), ([1.2, -0.3], "1.2, -0.3")]
)
def test_shares_that_are_none_are_refused(shares, text):
    with pytest.raises(InputError, match=f"^shares {text}: give numbers from 0, at most 1 in all$"):
        retrieval.interpolate(np.zeros(2), *((np.ones(2), share) for share in shares))


def test_shares_that_make_one_but_for_rounding_are_not():
    assert 1 - 0.9 - 0.1 < 0
    found = retrieval.interpolate(np.full(2, -1.0), (np.ones(2), 0.9), (np.array([1, 0.5]), 0.1))
    assert found == pytest.approx([0, math.log(0.95)])
    assert np.isfinite(retrieval.interpolate(np.full(2, -1.0), (np.ones(2), 1 + 1e-12))).all()


def test_perplexity_counts_each_token_once():
    """Text A has 2 tokens of 1 nat, text B 6 of 1/2."""
    logprobs = -np.array([1, 1, *[0.5] * 6], dtype=np.float32)
    assert retrieval.perplexity(logprobs) == pytest.approx(1.868246, abs=1e-6)
    wrong = [math.exp(0.75), (math.e + math.exp(0.5)) / 2, math.exp((2 + 3 + 4 * 12) / 12)]
    assert wrong == pytest.approx([2.117, 2.184, 82.8], abs=0.05)
    assert retrieval.perplexity(np.full(10, -math.log(VOCABULARY))) == pytest.approx(VOCABULARY)
    # In float32 a sum of so many is another one.
    many = np.full(20_000_000, np.float32(-1.1))
    assert retrieval.perplexity(many) == pytest.approx(math.exp(float(np.float32(1.1))), rel=1e-9)


# What is chosen on dev tokens


def test_the_best_of_all_combinations_is_chosen(rng):
    distances = np.sort(rng.random((200, 8)) * 10, axis=1).astype(np.float32)
    tokens, labels = rng.integers(0, 5, (200, 8)), rng.integers(0, 5, 200)
    tokens[:80, 0] = labels[:80]  # the nearest is right more often than by chance
    logprobs = -rng.random(200) * 4
    ks, temperatures, shares = (1, 3, 8), (0.5, 1.0, 4.0), (0.0, 0.2, 0.6)
    unit = float(np.median(distances[:, 0]))
    found = {}
    for k in ks:
        for temperature in temperatures:
            p = plain_knn(distances[:, :k], tokens[:, :k], 5, temperature * unit)[np.arange(200), labels]
            for share in shares:
                mixed = np.log((1 - share) * np.exp(logprobs) + share * p)
                found[Interpolation(k, temperature * unit, share)] = mixed.mean()
    best = max(found, key=found.get)
    arguments = distances, tokens, labels, logprobs
    chosen = retrieval.choose_interpolation(*arguments, ks, temperatures, shares)
    assert chosen == best and best.share > 0 and len({*found.values()}) >= 15
    mixed = retrieval.mixed_logprobs(*arguments, chosen)
    assert mixed.mean() == pytest.approx(found[best]) and mixed.shape == (200,)
    alone = retrieval.choose_interpolation(*arguments, ks, temperatures, (0.0,))
    assert (retrieval.mixed_logprobs(*arguments, alone) == logprobs).all()
    for k in (8, 9, 10**6):  # more than there are: all of them
        some = retrieval.choose_interpolation(*arguments, (k,), temperatures, shares)
        assert some == max((one for one in found if one.k == 8), key=found.get)
    for ks in ((0, 8), (3, -1)):
        with pytest.raises(InputError, match=f"^k of {min(ks)} to {max(ks)}: give at least 1$"):
            retrieval.choose_interpolation(*arguments, ks, temperatures, shares)


def test_the_best_shares_of_several_parts_are_chosen():
    """Of one and of two parts; where one of them knows nothing, its share stays with the model."""
    rng = np.random.default_rng(2)
    p_lm, parts = rng.random(200), rng.random((2, 200)) ** [[2], [3]]
    parts[0, :70] += 0.5
    parts[1, 130:] += 0.5
    parts[0, ::9], parts[1, ::5] = np.nan, np.nan
    grids = [(0.9, 0.5, 0.2, 0.0), (0.05, 0.3, 0.6)]

    def mean(*shares):
        mixed = []
        for row in range(200):
            there = [(share, p[row]) for share, p in zip(shares, parts, strict=False) if not math.isnan(p[row])]
            mixed.append((1 - sum(share for share, _ in there)) * p_lm[row] + sum(share * p for share, p in there))
        return np.log(mixed).mean()

    one = {(share,): mean(share) for share in grids[0]}
    two = {(first, second): mean(first, second) for first in grids[0] for second in grids[1] if first + second < 1}
    for n_parts, found in enumerate((one, two), start=1):
        best = max(found, key=found.get)
        assert min(best) > 0 and len({*found.values()}) == len(found)
        assert retrieval.choose_shares(np.log(p_lm), parts[:n_parts], grids[:n_parts]) == best
    assert best[0] != max(one, key=one.get)[0]  # not each for itself


def test_shares_that_leave_the_model_nothing_are_not_chosen():
    """Not even where a part is always right; without such shares there is no choice."""
    logprobs, right = np.full(5, -3.0), np.ones(5)
    assert retrieval.choose_shares(logprobs, [right], [(0.2, 1.0, 0.5)]) == (0.5,)
    assert retrieval.choose_shares(logprobs, [right, right / 2], [(0.2, 0.9), (0.1, 0.4)]) == (0.2, 0.4)
    for grids in ([(1.0, 1.5)], [(0.5, 0.7), (0.5, 0.9)]):
        with pytest.raises(InputError, match=r"^every combination of shares reaches 1: nothing .* would be left$"):
            retrieval.choose_shares(logprobs, [right] * len(grids), grids)


# The cache


def plain_cache(keys, tokens, lengths, temperature):
    found, start = [], 0
    for length in lengths:
        for t in range(start, start + length):
            weights = [math.exp(-float(((keys[t] - keys[i]) ** 2).sum()) / temperature) for i in range(start, t)]
            right = [weight for i, weight in zip(range(start, t), weights, strict=True) if tokens[i] == tokens[t]]
            found.append(math.fsum(right) / math.fsum(weights) if weights else math.nan)
        start += length
    return np.array(found)


@pytest.mark.parametrize("temperature", [1.0, 6.0])
def test_the_cache_is_a_plain_loop(rng, temperature):
    lengths = [7, 1, 20, 2]
    keys, tokens = rng.standard_normal((30, WIDTH)).astype(np.float16), rng.integers(0, 4, 30)
    found = retrieval.cache_probabilities(keys, tokens, lengths, temperature)
    expected = plain_cache(keys.astype(np.float64), tokens, lengths, temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.flatnonzero(np.isnan(found)).tolist() == [0, 7, 8, 28]  # the first of each text
    assert retrieval.cache_probabilities(keys[:0], tokens[:0], []).shape == (0,)


def test_the_cache_looks_back_only_and_into_its_own_text(rng):
    lengths = [10, 10]
    keys, tokens = rng.standard_normal((20, WIDTH)).astype(np.float32), rng.integers(0, 4, 20)
    before = retrieval.cache_probabilities(keys, tokens, lengths)
    for t in (0, 4, 9, 10, 13, 19):
        other_keys, other_tokens = keys.copy(), tokens.copy()
        other_keys[t], other_tokens[t] = 9, 3 - tokens[t]
        after = retrieval.cache_probabilities(other_keys, other_tokens, lengths)
        changed = np.flatnonzero(~np.isclose(before, after, rtol=1e-9, equal_nan=True))
        assert ((changed >= t) & (changed // 10 == t // 10)).all()
        assert changed.size or t % 10 in (0, 9)
    # That it could: the first text's tokens would help the second, a copy of it.
    twice = np.tile(keys[:10], (2, 1)), np.tile(tokens[:10], 2)
    apart, together = (retrieval.cache_probabilities(*twice, lengths) for lengths in ([10, 10], [20]))
    np.testing.assert_allclose(apart[11:], apart[1:10], rtol=1e-9)
    assert np.nanmean(together[10:]) > np.nanmean(apart[10:]) + 0.1


def test_the_token_itself_is_no_part_of_its_cache():
    """A token that was never there before gets nothing; one that always follows everything."""
    keys = np.zeros((4, WIDTH), np.float32)
    assert retrieval.cache_probabilities(keys, np.arange(4), [4])[1:].tolist() == [0, 0, 0]
    assert retrieval.cache_probabilities(keys, np.full(4, 7), [4])[1:].tolist() == [1, 1, 1]


# Neighbors


def plain_distances(keys, queries):
    return ((queries[:, None].astype(np.float64) - keys[None].astype(np.float64)) ** 2).sum(axis=-1)


def require_nearest(keys, queries, k, found):
    """Equally near keys in whatever order: at each place the right distance, and a row that is so far away."""
    distances, rows = found
    every = plain_distances(keys, queries)
    assert distances.shape == rows.shape == (len(queries), k) and distances.dtype == np.float32
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :k], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(every, rows, axis=1), distances, rtol=1e-5, atol=1e-4)
    assert all(len({*row}) == k for row in rows.tolist())


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("block_keys", [7, 100, 10**6])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_nearest_is_brute_force(rng, monkeypatch, kind, block_keys, k):
    """Over keys of which many are equally near; also where k is more than a block has."""
    substitute(monkeypatch, nearest_module, "BLOCK_KEYS", block_keys)
    for keys, queries in (
        (rng.integers(-2, 3, (100, 3)), rng.integers(-2, 3, (30, 3))),
        (rng.standard_normal((100, WIDTH)), rng.standard_normal((30, WIDTH))),
    ):
        keys, queries = keys.astype(kind), queries.astype(kind)
        require_nearest(keys, queries, k, retrieval.nearest(keys, queries, k))
        require_nearest(keys, queries[:1], k, retrieval.nearest(keys, queries[:1], k))


def test_nearest_of_keys_on_disk(rng, monkeypatch, tmp_path):
    keys = rng.standard_normal((500, WIDTH)).astype(np.float16)
    np.save(tmp_path / "keys.npy", keys)
    mapped = np.load(tmp_path / "keys.npy", mmap_mode="r")
    substitute(monkeypatch, nearest_module, "BLOCK_KEYS", 64)
    require_nearest(keys, keys[:40] + np.float16(0.1), 9, retrieval.nearest(mapped, keys[:40] + np.float16(0.1), 9))
    distances, rows = retrieval.nearest(mapped, mapped[:50], 1)
    assert rows[:, 0].tolist() == [*range(50)] and np.allclose(distances, 0, atol=1e-4)


def test_squared_distances(rng):
    keys, queries = rng.standard_normal((40, WIDTH)) + 100, rng.standard_normal((9, WIDTH)) + 100
    found = retrieval.squared_distances(queries, keys)
    np.testing.assert_allclose(found, plain_distances(keys, queries), rtol=1e-6)
    own = retrieval.squared_distances(keys.astype(np.float16), keys.astype(np.float16))
    assert own.dtype == np.float64 and (own >= 0).all() and np.allclose(np.diag(own), 0, atol=1e-6)


REFUSED = [
    ((10, 4), (3, 4), 11, "^k = 11 of 10 keys: give at least 1, and no more than there are$"),
    ((10, 4), (3, 4), 0, "^k = 0 of 10 keys"),
    ((10, 4), (3, 4), -1, "^k = -1 of 10 keys"),
    ((0, 4), (3, 4), 1, "^k = 1 of 0 keys"),
    ((10, 4), (3, 5), 2, r"^queries \(3, 5\) among keys \(10, 4\): give queries of the same width$"),
    ((10, 4), (4,), 2, r"^queries \(4,\) among keys \(10, 4\)"),
]


@pytest.mark.parametrize(("keys", "queries", "k", "message"), REFUSED)
def test_what_has_no_nearest_is_refused(keys, queries, k, message):
    index = retrieval.build_state_index(np.ones((10, 4), np.float32), "Flat")
    keys, queries = np.ones(keys, np.float32), np.ones(queries, np.float32)
    for search in (
        lambda: retrieval.nearest(keys, queries, k),
        lambda: retrieval.nearest_approximate(index, keys, queries, k, 1),
    ):
        with pytest.raises(InputError, match=message):
            search()


@pytest.fixture
def states(rng):
    """A datastore of 40 rows, and 12 queries with log p, both with keys of two kinds."""

    def draw(n):
        keys = {name: rng.standard_normal((n, WIDTH)).astype(np.float16) for name in ("ffn_input", "final_state")}
        tokens = rng.integers(0, 6, n).astype(np.int32)
        return generation.TokenStates(keys, tokens, np.array([n]), -rng.random(n).astype(np.float32))

    return draw(40), draw(12)


@pytest.mark.parametrize("k", [1, 7, 40, 41, 10**9])
def test_what_is_looked_up_is_what_followed_the_nearest(states, k):
    """All rows where there are fewer; what is scored are the queries' own tokens."""
    store, queries = states
    for key, options in (("ffn_input", {}), ("final_state", {"key": "final_state"})):
        found = retrieval.look_up(store, queries, k, **options)
        distances, rows = retrieval.nearest(store.keys[key], queries.keys[key], min(k, 40))
        require_nearest(store.keys[key], queries.keys[key], min(k, 40), (found.distances, rows))
        assert (found.distances == distances).all() and (found.tokens == store.tokens[rows]).all()
        assert (found.labels == queries.tokens).all() and (found.logprobs == queries.logprobs).all()
    chosen = retrieval.choose_interpolation(*found, (k,), (1.0,), (0.2,))
    assert chosen.k == min(k, 40)
    p = plain_knn(distances, store.tokens[rows], 6, chosen.temperature)[np.arange(12), queries.tokens]
    mixed = np.log(0.8 * np.exp(queries.logprobs) + 0.2 * p)
    np.testing.assert_allclose(retrieval.mixed_logprobs(*found, chosen), mixed, rtol=1e-6)


def test_nothing_is_looked_up_without_neighbors(states):
    store, queries = states
    empty = generation.TokenStates({"ffn_input": store.keys["ffn_input"][:0]}, store.tokens[:0], np.array([]), None)
    for refused, k, n in ((store, 0, 40), (store, -2, 40), (empty, 3, 0)):
        with pytest.raises(InputError, match=f"^k = {min(k, n)} of {n} keys: give at least 1"):
            retrieval.look_up(refused, queries, k)


# Approximate search


@pytest.fixture
def many(rng):
    """Keys and queries, in float16."""
    keys = rng.standard_normal((600, WIDTH)).astype(np.float16)
    return keys, (keys[:40] + 0.3 * rng.standard_normal((40, WIDTH))).astype(np.float16)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("index", ["IVF4,Flat", "Flat"])
def test_an_index_that_leaves_out_nothing_is_exact(many, monkeypatch, index, recompute):
    keys, queries = many
    substitute(monkeypatch, nearest_module, "BLOCK_KEYS", 64)
    substitute(monkeypatch, nearest_module, "N_TRAINING", 250)
    built = retrieval.build_state_index(keys, index)
    assert built.ntotal == len(keys)
    found = retrieval.nearest_approximate(built, keys, queries, 9, n_probe=4, recompute=recompute)
    require_nearest(keys, queries, 9, found)
    assert (found[1] == retrieval.nearest(keys, queries, 9)[1]).all()


@pytest.mark.parametrize("block_numbers", [1, 1000, 2**27])
def test_distances_of_compressed_keys_are_computed_again(many, monkeypatch, block_numbers):
    keys, queries = many
    built = retrieval.build_state_index(keys, "IVF4,PQ4x4")
    of_index, index_rows = retrieval.nearest_approximate(built, keys, queries, 9, n_probe=4, recompute=False)
    substitute(monkeypatch, nearest_module, "BLOCK_NUMBERS", block_numbers)
    distances, rows = retrieval.nearest_approximate(built, keys, queries, 9, n_probe=4)
    every = plain_distances(keys, queries)
    np.testing.assert_allclose(distances, np.take_along_axis(every, rows, axis=1), rtol=1e-5)
    assert (np.diff(distances, axis=1) >= 0).all() and distances.dtype == np.float32
    # The same neighbors as the index has, in another order, and what it says of them is something else.
    assert (np.sort(rows, axis=1) == np.sort(index_rows, axis=1)).all() and (rows != index_rows).any()
    assert np.abs(of_index - np.take_along_axis(every, index_rows, axis=1)).mean() > 0.5


def test_where_fewer_than_k_are_found(many):
    keys, queries = many
    built = retrieval.build_state_index(keys, "IVF16,Flat")
    tokens = np.arange(len(keys)) % 50
    for recompute in (False, True):
        distances, rows = retrieval.nearest_approximate(built, keys, queries, 200, n_probe=1, recompute=recompute)
        missing = np.isinf(distances)
        assert missing.any() and not missing.all(axis=1).any() and (rows[missing] == 0).all()
        assert all((np.diff(row[np.isfinite(row)]) >= 0).all() for row in distances)
        assert not np.diff(missing.astype(int), axis=1).min() < 0  # the last ones
        whole = retrieval.knn_distribution(distances, tokens[rows], 50)
        np.testing.assert_allclose(whole.sum(axis=1), 1)
        for row, there in enumerate(~missing):  # what is missing counts for nothing, token 0 of row 0 neither
            few = retrieval.knn_distribution(distances[row, there][None], tokens[rows[row, there]][None], 50)
            np.testing.assert_allclose(whole[row], few[0], atol=1e-12)


def test_more_lists_find_more(many):
    keys, queries = many
    built = retrieval.build_state_index(keys, "IVF16,Flat")
    exact = retrieval.nearest(keys, queries, 10)[1]
    recalls = []
    for n_probe in (1, 4, 16, 99):
        _, rows = retrieval.nearest_approximate(built, keys, queries, 10, n_probe)
        recalls.append(np.mean([len({*a} & {*b}) / 10 for a, b in zip(exact.tolist(), rows.tolist(), strict=True)]))
    assert recalls[0] < recalls[1] < recalls[2] == recalls[3] == 1


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("IVF4,PQ7", r"^index 'IVF4,PQ7' is none that faiss can make over 16 numbers \(.*multiple"),
        ("flat earth", "^index 'flat earth' is none that faiss can make over 16 numbers"),
        ("", "^index '' is none that faiss can make"),
        ("IVF601,Flat", "^index 'IVF601,Flat' has 601 lists for 600 keys: take fewer, or search exactly$"),
    ],
)
def test_indexes_that_cannot_be_are_refused(many, index, message):
    with pytest.raises(InputError, match=message) as error:
        retrieval.build_state_index(many[0], index)
    assert "\n" not in str(error.value)


def test_no_list_to_look_into_is_refused(many):
    keys, queries = many
    built = retrieval.build_state_index(keys, "IVF4,Flat")
    with pytest.raises(InputError, match=r"^n_probe = 0: look into at least 1 list$"):
        retrieval.nearest_approximate(built, keys, queries, 3, n_probe=0)


# A leak


@pytest.mark.usefixtures("cache_folder")
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2"])
def test_a_text_in_its_own_datastore_is_known_by_heart(checkpoint, architecture):
    """Perplexity near 1, of a model that knows nothing, is what shows a leak; other texts bring nothing like it."""
    generator = checkpoints.load_on_cpu(models.load_generator, checkpoint(architecture))
    scored = " ".join(checkpoints.SENTENCES[:2])
    others = " ".join(checkpoints.SENTENCES[2:])

    def states(*texts):
        ids = generator.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        sequences = [[checkpoints.START, *row] for row in ids]
        return generation.token_states(generator, sequences, ("ffn_input",), with_logprobs=True)

    def perplexity(store):
        distances, rows = retrieval.nearest(store.keys["ffn_input"], queries.keys["ffn_input"], 1)
        p = retrieval.knn_probabilities(distances, store.tokens[rows], queries.tokens)
        return retrieval.perplexity(retrieval.interpolate(queries.logprobs, (p, 0.99)))

    queries = states(scored)
    assert 1 < perplexity(states(scored)) < 1.011
    assert 1 < perplexity(states(others, scored)) < 1.2  # the token that begins a text is the same in both
    assert perplexity(states(others)) > 20 and retrieval.perplexity(queries.logprobs) > 20


def test_keys_far_from_zero_keep_the_digits_of_their_distances():
    """As keys before the norm have them; faiss takes distances from products, which cancel there."""
    rng = np.random.default_rng(0)
    keys = (300 + 0.1 * rng.normal(size=(1_000, 64))).astype(np.float32)
    distances, rows = retrieval.nearest(keys, keys[:200] + np.float32(0.01), 2)
    assert rows[:, 0].tolist() == list(range(200))
    np.testing.assert_allclose(distances[:, 0], 64 * 1e-4, rtol=0.05)  # float32 holds 300.01 to 5 digits


@pytest.mark.parametrize("lengths", [[3, 2], [3, 0, 1], []])
def test_lengths_of_the_cache_that_are_not_those_of_the_tokens_are_refused(lengths):
    with pytest.raises(InputError, match="give the lengths of `token_states`"):
        retrieval.cache_probabilities(np.zeros((4, 2), dtype=np.float32), np.zeros(4, dtype=int), lengths)


def test_a_text_that_is_in_the_datastore_is_found_out_before_a_choice_is_made():
    distances, tokens = np.zeros((5, 3)), np.zeros((5, 3), dtype=int)
    with pytest.raises(InputError, match="their text is in the datastore"):
        retrieval.choose_interpolation(distances, tokens, tokens[:, 0], np.zeros(5), [1], [1.0], [0.5])
