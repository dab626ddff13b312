"""The cost model against torch's own counter, brute force and hand values."""

import checkpoints
import pytest

from nbutils import models, pilot, training
from nbutils.errors import InputError

TINY = pilot.TransformerShape(2, 32, 4, 2, 8, 64, 320)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return models.load_generator(checkpoints.llama(tmp_path_factory.mktemp("llama")))


def counted(function):
    """FLOPs of a call, by torch; attention as plain products, since the counter does not know a CPU's fused one."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.fixture(scope="module")
def eager(generator):
    usual = generator.model.config._attn_implementation
    generator.model.set_attn_implementation("eager")
    yield generator.model
    generator.model.set_attn_implementation(usual)


@pytest.mark.parametrize(("n_tokens", "n_prompts"), [(7, 1), (40, 3)])
def test_reading_is_what_torch_counts(eager, n_tokens, n_prompts):
    import torch

    shape = pilot.shape_of(eager.config)
    tokens = torch.randint(5, 100, (n_prompts, n_tokens))

    def read():
        hidden = eager.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
        eager.get_output_embeddings()(hidden[:, -2:].reshape(-1, shape.hidden_size))

    predicted = n_prompts * pilot.forward_flops(shape, n_tokens, n_logits=2)
    assert counted(read) == pytest.approx(predicted, rel=2e-3)
    # Planted faults: attention forgotten, the output layer asked at every position.
    assert n_prompts * pilot.forward_flops(shape, n_tokens, n_logits=n_tokens) > 1.05 * predicted


def test_later_tokens_see_the_cache(eager):
    import torch

    shape = pilot.shape_of(eager.config)

    def write():
        eager.generate(
            torch.randint(5, 100, (1, 20)), max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0
        )

    assert counted(write) == pytest.approx(pilot.query_flops(shape, [20], 6), rel=5e-3)


def test_an_ensemble_scores_its_candidates():
    one = pilot.query_flops(TINY, [20], 4)
    assert pilot.query_flops(TINY, [20, 20], 4) == 2 * one
    more = pilot.query_flops(TINY, [20, 20], 4, n_candidates=3) - 2 * one
    assert more == 6 * pilot.forward_flops(TINY, 4, 20, 4)


@pytest.mark.parametrize(("rank", "n_trained"), [(None, None), (4, 2), (4, 1)])
def test_training_is_what_torch_counts(eager, generator, rank, n_trained):
    import torch

    shape, length, answer = pilot.shape_of(eager.config), 24, 5
    settings = training.TrainingSettings(1, 1, lora_rank=rank, lora_layers=n_trained)
    job = training.Run(None, generator, {}, settings, 0, 1, None)
    copy, model = training.trainable_generator(job)
    tokens = torch.randint(5, 100, (1, length))

    def step():
        hidden = copy.model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
        copy.model.get_output_embeddings()(hidden[0, -answer:]).sum().backward()

    predicted = pilot.training_flops(shape, [length], [answer], rank, n_trained)
    assert counted(step) == pytest.approx(predicted, rel=1e-2)
    assert model is not None and predicted > 1.2 * pilot.forward_flops(shape, length, n_logits=answer)


def test_sizes_are_those_of_the_checkpoint(generator):
    shape = pilot.shape_of(generator.model.config)
    matrices = [p for p in generator.model.parameters() if p.ndim == 2]
    assert pilot.n_parameters(shape) == sum(p.numel() for p in matrices)
    assert pilot.weight_bytes(shape) == 2 * pilot.n_parameters(shape)
    assert pilot.kv_cache_bytes(TINY, 10) == 2 * 2 * 2 * 8 * 10 * 2
    assert pilot.n_adapter_parameters(TINY, 4, 1) * 2 == pilot.n_adapter_parameters(TINY, 4)
    assert pilot.training_bytes(TINY, None) > pilot.training_bytes(TINY, 4) > pilot.weight_bytes(TINY)


def test_published_sizes():
    """Names say how many billions there are."""
    for name, shape in pilot.LARGER_MODELS.items():
        n_billions = float(name.rpartition("-")[2].removesuffix("B"))
        assert pilot.n_parameters(shape) / 1e9 == pytest.approx(n_billions, rel=0.25), name


def test_encoders_have_no_output_layer(tmp_path):
    encoder = models.load_encoder(checkpoints.minilm(tmp_path))
    shape = pilot.shape_of(encoder.model.config)
    assert shape.vocab_size == 0 and not shape.gated and shape.n_kv_heads == shape.n_heads
    assert pilot.forward_flops(shape, 5, n_logits=9) == pilot.forward_flops(shape, 5)
    assert pilot.search_flops(1_000, 384) == 768_000


def test_models_with_other_matrices_are_refused(tmp_path):
    generator = models.load_generator(checkpoints.bart(tmp_path))
    with pytest.raises(InputError, match="bart"):
        pilot.shape_of(generator.model.config)


def test_times_are_a_line():
    start, slope = pilot.fit_seconds([1e9, 2e9, 4e9], [0.3, 0.5, 0.9])
    assert start == pytest.approx(0.1) and slope == pytest.approx(2e-10)
    start, slope = pilot.fit_seconds([1e9, 2e9], [0.1, 0.3])  # the line would start below 0
    assert start == 0 and 1e-10 < slope < 1.5e-10
    for flops, seconds in (([1e9], [0.3]), ([1e9, 2e9], [0.3, 0.0]), ([1e9, 2e9], [0.3])):
        with pytest.raises(InputError, match="two measured points"):
            pilot.fit_seconds(flops, seconds)


def test_reading_is_timed_and_leaves_the_model_whole(generator):
    before = len(generator.model.get_decoder().layers)
    assert pilot.forward_seconds(generator, 8, 2, n_layers=1, n_runs=1) > 0
    assert len(generator.model.get_decoder().layers) == before
    assert pilot.with_layers(TINY, 7).n_layers == 7


def test_a_bill_by_hand():
    prices = pilot.Prices(hour=3.6, flops=1e12, gigabyte_month=0.5, example=0.1, release=10)
    assert pilot.price_of(2e12, prices) == pytest.approx(2e-3)
    tuned = pilot.system_cost(1e12, 0, 0, 5e12, 100, True, prices)
    rag = pilot.system_cost(4e12, 1e12, 2e9, 0, 100, False, prices)
    both = pilot.system_cost(4e12, 1e12, 2e9, 5e12, 100, False, prices)
    assert (tuned.query, tuned.update, tuned.storage, tuned.start) == pytest.approx((1e-3, 20.005, 0, 20.005))
    assert (rag.query, rag.update, rag.storage, rag.start) == pytest.approx((4e-3, 1e-3, 1.0, 0))
    assert (both.update, both.start) == pytest.approx((1e-3, 20.005))
    assert both.per_month(100, 2, months=10) == pytest.approx(100 * 30 * 4e-3 + 2e-3 + 1 + 2.0005)


def test_break_even_is_where_the_bills_meet():
    dear, cheap = pilot.Cost(0.001, 100, 0), pilot.Cost(0.004, 1, 1)
    volume = pilot.break_even(dear, cheap, 1)
    assert dear.per_month(volume, 1) == pytest.approx(cheap.per_month(volume, 1))
    assert pilot.break_even(cheap, dear, 1) == pytest.approx(volume)
    assert pilot.break_even(pilot.Cost(1, 1, 1), pilot.Cost(2, 2, 2), 1) is None
    assert pilot.break_even(pilot.Cost(1, 1, 1), pilot.Cost(1, 2, 2), 1) is None


def test_prices_that_are_none():
    for wrong in ({"hour": -1}, {"flops": 0}, {"gigabyte_month": float("nan")}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            pilot.Prices(**wrong)
    with pytest.raises(InputError, match="prompt"):
        pilot.query_flops(TINY, [], 4)
    with pytest.raises(InputError, match="one each"):
        pilot.training_flops(TINY, [3], [])
