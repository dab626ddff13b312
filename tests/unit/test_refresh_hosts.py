"""The index made anew on two hosts, one of which is lost meanwhile: two network namespaces with a cable between them.

A host has processes, a network and temporary files of its own, and a Ray node. The training runs on the first of them,
in a process that is this file too, see `train_on_first_host`.
"""

import dataclasses
import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from substitution import substitute
from test_end2end import UNEQUAL, encode_here, vectors
from test_training import EXAMPLES, SHORT, TEMPERATURE, load, use_caches

from nbutils import models, paths, retrieval, training
from nbutils.retrieval import dense as dense_module
from nbutils.training import refresh as refresh_module

IPS = ("10.0.0.1", "10.0.0.2")
ADDRESS = f"{IPS[0]}:6379"
SETTINGS = dataclasses.replace(SHORT, n_steps=10)  # snapshots before steps 2, 4, 6 and 8, each searched two steps later
SAYS = "The first host says "
LIFETIME_S = 600  # a host ends by itself where this test could not end it


def trained(folder, **options):
    """(history, digests of the three parts, the vectors of every index in the order in which they were made)."""
    import torch

    made, build = [], retrieval.build_dense

    def recorded(*arguments, **chosen):
        made.append(build(*arguments, **chosen))
        return made[-1]

    generator = load(models.load_generator, str(folder / "generator"))
    encoder = load(models.load_encoder, str(folder / "encoder"))
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # in all runs: gradients differ in their last bits from one number to another
    with pytest.MonkeyPatch.context() as patch:
        substitute(patch, dense_module, "build_dense", recorded)
        both = (encoder, encoder)
        options = {"n_docs": 3, "refresh_every": 2, "temperature": TEMPERATURE, "n_actors": 2, **options}
        system = training.train_end2end(generator, *both, UNEQUAL, EXAMPLES, SETTINGS, **options)
    torch.set_num_threads(n_threads)
    parts = (system.generator, system.question_encoder, system.passage_encoder)
    return system.history, [part.sha256 for part in parts], [vectors(index) for index in made]


def train_on_first_host(folder, results):
    """Say where actors are as they start, and before and after the second snapshot is given to them, and wait then."""
    start, submit, submitted = training.start_actors, training.submit, []

    def start_and_say(*options):
        import ray

        actors = start(*options)
        where = [actor.__ray_call__.remote(lambda _: (ray.util.get_node_ip_address(), os.getpid())) for actor in actors]
        say(ray.get(where))
        return actors

    def submit_and_wait(actors, encoder):
        submitted.append(0)
        if len(submitted) != 2:
            return submit(actors, encoder)
        wait("before")
        owed = submit(actors, encoder)
        wait("after")
        return owed

    def wait(when):
        say(when)
        sys.stdin.readline()

    def say(what):
        print(SAYS + json.dumps(what), flush=True)

    with pytest.MonkeyPatch.context() as patch:
        use_caches(patch, results / "cache")
        substitute(patch, refresh_module, "start_actors", start_and_say)
        substitute(patch, refresh_module, "submit", submit_and_wait)
        history, digests, made = trained(folder, ray_address=ADDRESS)
    np.save(results / "vectors.npy", np.stack(made))
    say({"history": history, "digests": digests})


# Hosts


class Host:
    """Namespaces of processes, files and network, which are there until the process that holds them is killed."""

    def __init__(self):
        keep = ["sh", "-c", f"echo up; exec sleep {LIFETIME_S}"]
        command = ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", *keep]
        self.holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "up\n":
            pytest.skip(f"network namespaces are not allowed here: {self.holder.stderr.read().strip()}")

    def command(self, *words):
        """What runs `words` on this host."""
        pid = self.holder.pid
        return ["nsenter", f"--target={pid}", "--net", "--mount", f"--pid=/proc/{pid}/ns/pid_for_children", *words]

    def shell(self, line):
        subprocess.run(self.command("sh", "-c", line), check=True, capture_output=True, text=True)

    def kill(self):
        """All its processes at once; its network and files go with them."""
        self.holder.kill()
        self.holder.communicate()


def connect(first, second):
    cable = ["eth0", "netns", str(first.holder.pid), "type", "veth", "peer", "name", "eth0"]
    command = ["ip", "link", "add", *cable, "netns", str(second.holder.pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"network namespaces cannot be joined here: {done.stderr.strip()}")
    for host, ip in zip((first, second), IPS, strict=True):
        host.shell("mount -t tmpfs tmpfs /dev/shm")  # Ray's files, by RAY_TMPDIR, and its shared memory
        host.shell(f"ip address add {ip}/24 dev eth0 && ip link set eth0 up && ip link set lo up")
        host.shell("ip route add default dev eth0")  # by which Ray finds its own address


@pytest.fixture
def hosts():
    pytest.importorskip("ray")
    for tool in ("ip", "nsenter", "unshare"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here, by which one machine is two hosts")
    started = []
    try:
        started += [Host()]
        started += [Host()]
        connect(*started)
        yield started
    finally:
        for host in started:
            host.kill()


@pytest.fixture
def environment():
    """Of all processes of the cluster: no setting of Ray's from outside, a token, a minute of silence made seconds."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    folders = [str(paths.ROOT), str(paths.ROOT / "tests"), str(Path(__file__).parent)]
    checks = {"initial_delay_ms": 1000, "period_ms": 1000, "timeout_ms": 2000, "failure_threshold": 4}
    return {
        **kept,
        **{f"RAY_health_check_{name}": str(value) for name, value in checks.items()},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_TMPDIR": "/dev/shm",  # noqa: S108  (short, as the paths of sockets must be; each host has its own)
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # or actors would wait for whatever else this machine has to do
        "OMP_NUM_THREADS": "1",
        "TQDM_DISABLE": "1",
        "PYTHONPATH": os.pathsep.join(folders),
    }


def start_ray(host, ip, environment, *options):
    """A Ray node that is as small as they come."""
    small = ["--num-cpus=1", "--object-store-memory=80000000", f"--node-ip-address={ip}"]
    command = host.command(sys.executable, "-m", "ray.scripts.scripts", "start", *options, *small)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def said(process, printed):
    """What it says next, as JSON; all else that it prints goes to `printed`."""
    for line in process.stdout:
        if line.startswith(SAYS):
            return json.loads(line.removeprefix(SAYS))
        printed.append(line)
    pytest.fail("the training ended: " + "".join(printed))


def answer(process):
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.fixture
def alone(tmp_path):
    """The folder of the models, and what one process without Ray trains of them."""
    folder = tmp_path / "alone"
    checkpoints.llama(folder / "generator")
    checkpoints.minilm(folder / "encoder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TQDM_DISABLE", "1")
        use_caches(patch, folder / "cache")
        encode_here(patch)
        return folder, trained(folder)


@pytest.mark.slow  # a minute or two: starts two Ray nodes, and a training and four actors that each import torch
def test_a_host_is_lost_and_nothing_else(tmp_path, hosts, alone, environment):
    """Both encode, then one is lost with a part of the work, then the other does it all: as one process without Ray."""
    (folder, (history, digests, made)), (first, second) = alone, hosts
    start_ray(first, IPS[0], environment, "--head", "--port=6379", "--include-dashboard=false")
    start_ray(second, IPS[1], environment, f"--address={ADDRESS}")
    program = "import sys, pathlib, test_refresh_hosts as t; t.train_on_first_host(*map(pathlib.Path, sys.argv[1:]))"
    process = subprocess.Popen(
        first.command(sys.executable, "-c", program, str(folder), str(tmp_path)),
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed = []
    placed = said(process, printed)
    assert [ip for ip, _ in placed] == [IPS[1], IPS[0]]
    assert said(process, printed) == "before"
    second.shell(f"kill -STOP {placed[0][1]}")  # it will have been given the work, and not have done it
    answer(process)
    assert said(process, printed) == "after"
    second.shell("ip link set eth0 down")  # harder than an end of its processes, which would be heard of
    answer(process)
    assert [ip for ip, _ in said(process, printed)] == [IPS[0], IPS[0]]
    assert said(process, printed) == {"history": history, "digests": digests}
    assert process.wait() == 0
    (repeated,) = [line for line in printed if "the index could not be made anew" in line]
    assert repeated.startswith("Before step 7 ")
    assert np.array_equal(np.load(tmp_path / "vectors.npy"), np.stack(made)) and len(made) == 5
    assert len({each.tobytes() for each in made}) == 5
