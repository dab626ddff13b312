"""What holds for every unit test."""

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
