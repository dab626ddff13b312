"""What holds for every unit test."""

import shutil

import pytest


@pytest.fixture(scope="session", autouse=True)
def float32_on_every_processor():
    """Models are loaded and trained in float32 here also where the processor multiplies bfloat16.

    Values are compared with those of other implementations, closer than bfloat16 would allow; tests of bfloat16 ask
    for it themselves.
    """
    import torch

    without = dict.fromkeys(("avx512_bf16", "amx_bf16", "amx_tile", "bf16"), False)
    known = torch.cpu.get_capabilities()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", lambda: {**known, **without})
        yield


@pytest.fixture
def n_compiled(request, monkeypatch):
    """Function () -> the number of functions compiled in this test, for tests that need a C++ compiler.

    Code is compiled anew here where another test's model of the same sizes has left its own, and what that gives on
    disk is kept between runs of the suite: compiling takes 10 s a layer.
    """
    import torch

    if not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("no C++ compiler: nothing is compiled on such a machine, and compile_layers says so")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(request.config.cache.mkdir("compiled")))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    return lambda: torch._dynamo.utils.counters["frames"]["ok"]
