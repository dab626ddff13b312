"""Are FLOPs a unit of time? Two sizes are timed, three others predicted: `make benchmarks` prints the ratios."""

import time

from nbutils import models, pilot

CALIBRATED = ((18, 64), (18, 256))  # layers, tokens of a prompt
PREDICTED = ((6, 128), (12, 192), (18, 384))
N_PROMPTS = 8


def test_three_sizes_are_predicted_within_30_percent(benchmark):
    generator = models.load_generator("gemma-3-270m")
    shape = pilot.shape_of(generator.model.config)

    def points(sizes):
        flops = [N_PROMPTS * pilot.forward_flops(pilot.with_layers(shape, layers), n) for layers, n in sizes]
        seconds = [pilot.forward_seconds(generator, n, N_PROMPTS, layers, n_runs=5) for layers, n in sizes]
        return flops, seconds

    start = time.perf_counter()
    overhead, slope = pilot.fit_seconds(*points(CALIBRATED))
    ratios = [(overhead + slope * flops) / seconds for flops, seconds in zip(*points(PREDICTED), strict=True)]
    print(f"\npredicted over measured: {', '.join(f'{ratio:.2f}' for ratio in ratios)}; {1 / slope:.2e} FLOP a second")
    benchmark.extra_info["ratios"] = ratios
    benchmark.pedantic(lambda: None)
    assert all(0.7 < ratio < 1.3 for ratio in ratios), f"{ratios} in {time.perf_counter() - start:.0f} s"
