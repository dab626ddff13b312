"""The kernel that runs a notebook: always this environment's Python, whatever is installed under its name."""

import os
import sys
from pathlib import Path

from nbutils.errors import InputError
from nbutils.run.notebook import kernel_name

OWN = "python3"  # what Jupyter calls the kernel of the environment that it runs in
_BARE = {"python", f"python{sys.version_info[0]}", f"python{sys.version_info[0]}.{sys.version_info[1]}"}


def check_kernel(path: Path) -> None:
    """Raise InputError unless the kernel that the notebook at `path` asks for is of this environment.

    "python3" always is (see `kernel_specs`). One of another name is installed by somebody on purpose, and its
    kernel.json says which Python it starts.
    """
    name = kernel_name(path)
    if name.lower() == OWN:
        return
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    advice = "open it in JupyterLab, choose Python 3 and save"
    try:
        spec = KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel as error:
        raise InputError(f"{path.name} asks for kernel {name!r}, which is not installed; {advice}") from error
    except (OSError, ValueError, TypeError) as error:  # a kernel.json that cannot be read
        why = " ".join(str(error).split())
        raise InputError(f"{path.name} asks for kernel {name!r}, which cannot be read ({why}); {advice}") from error
    program = spec.argv[0] if spec.argv else ""
    if program not in _BARE and not _is_here(program):  # jupyter_client puts sys.executable for a bare name
        raise InputError(
            f"{path.name} asks for kernel {name!r}, and {spec.resource_dir}/kernel.json starts {program!r}, which is "
            f"not of this environment ({sys.prefix}); {advice}"
        )


def kernel_specs(name: str) -> object:
    """Where the kernel `name` is looked up: jupyter_client's KernelSpecManager.

    For "python3" it has no folder to look into and falls back to ipykernel's own specification, which starts
    sys.executable: a python3 that another environment has installed for the user is not seen.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    return KernelSpecManager(kernel_dirs=[]) if name.lower() == OWN else KernelSpecManager()


def _is_here(program: str) -> bool:
    """Whether a program lies beside this Python. Links are not followed: those of all environments lead to one file."""
    here, there = (os.path.realpath(os.path.dirname(file)) for file in (sys.executable, program))
    return os.path.isabs(program) and here == there
