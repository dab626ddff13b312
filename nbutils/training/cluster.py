"""Ray on this machine alone or on the hosts of a cluster: connected with, or refused in one line; who encodes where."""

import ipaddress
import math
import os
import socket
import subprocess
import sys

from nbutils.errors import InputError

_ANSWER_S = 5  # a host that takes longer to accept a connection is not there
_CONNECT_S = 60
# Ray itself would go on trying for a quarter of an hour, and may end the process that asks: another one asks first.
_ASK = """
import sys
import ray
try:
    ray.init(address=sys.argv[1], include_dashboard=False, log_to_driver=False, logging_level="error")
except Exception as error:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    sys.exit(lines[-1] if "Traceback" in str(error) else " ".join(line.strip() for line in lines))
"""
_ASK_ENVIRONMENT = {"RAY_NUM_REDIS_GET_RETRIES": "3", "RAY_gcs_server_request_timeout_seconds": "20"}


def connect(address: str | None) -> None:
    """Have Ray running in this process: with the cluster at `address`, or (None) with RAY_ADDRESS or one of its own.

    Raises InputError where no cluster answers at the address (at once, or within a minute where something else does),
    where the cluster does not know this machine, and where this process is connected with another one. Where the host
    that leads the cluster (`ray start --head`) is lost, Ray ends this process after a minute: train on that one.
    """
    import ray

    if address is not None:
        _require_host_and_port(address)
    if ray.is_initialized():
        if address is not None:
            _require_connected_with(address)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is not None:
        _require_cluster(address)
    ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="error")


def living_hosts() -> frozenset[str]:
    """Ids of the cluster's hosts, without those that Ray knows to be dead."""
    import ray

    return frozenset(host["NodeID"] for host in ray.nodes() if host["Alive"])


def answering_hosts() -> list[dict]:
    """Those of the living hosts, as Ray describes them, that accept a connection now; always this one.

    A host that has just died stays alive for Ray for some seconds, and one that has fallen silent for a minute.
    """
    import ray

    here = ray.get_runtime_context().get_node_id()
    return [host for host in ray.nodes() if host["Alive"] and (host["NodeID"] == here or _does_answer(host))]


def place_actors(n_actors: int, on_gpu: bool) -> list[tuple[str, float]]:
    """For each actor the id of a host, and what share of a GPU it gets there.

    The hosts that answer take turns, and the one that trains comes last. Ray's own way to spread actors may put all on
    one host, or on one that is dead.
    """
    import ray

    hosts, here = answering_hosts(), ray.get_runtime_context().get_node_id()
    if on_gpu:
        hosts = [host for host in hosts if host["Resources"].get("GPU")] or hosts
    hosts.sort(key=lambda host: host["NodeID"] == here)
    places = []
    for number in range(n_actors):
        host = hosts[number % len(hosts)]
        n_gpus = host["Resources"].get("GPU", 0) if on_gpu else 0
        n_sharing = len(range(number % len(hosts), n_actors, len(hosts)))
        places.append((host["NodeID"], 1 / math.ceil(n_sharing / n_gpus) if n_gpus else 0))
    return places


def _does_answer(host: dict) -> bool:
    try:
        socket.create_connection((host["NodeManagerAddress"], host["NodeManagerPort"]), _ANSWER_S).close()
    except OSError:
        return False
    return True


def _require_host_and_port(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(
            f"ray_address = {address!r}: give host:port, such as 10.0.0.1:6379, which `ray start --head` prints"
        )


def _require_cluster(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except OSError as error:
        raise InputError(
            f"ray_address = {address!r}: no Ray cluster answers there ({error.strerror or error}): start one with "
            f"`ray start --head --port={port}`, or leave ray_address out"
        ) from error
    command = [sys.executable, "-c", _ASK, address]
    environment = {**os.environ, **_ASK_ENVIRONMENT}
    try:
        asked = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_CONNECT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"ray_address = {address!r}: what is there did not answer as a Ray cluster within {_CONNECT_S} seconds: "
            "give the address that `ray start --head` prints"
        ) from error
    if asked.returncode:
        reason = [f"exit status {asked.returncode}", *asked.stderr.strip().splitlines()][-1]
        raise InputError(
            f"ray_address = {address!r}: the cluster does not take this machine in, unless `ray start "
            f"--address={address}` was run here, and with RAY_AUTH_MODE=token: {reason.partition('. ')[0]}"
        )


def _require_connected_with(address: str) -> None:
    import ray

    present = ray.get_runtime_context().gcs_address
    if _resolved(address) != _resolved(present):
        raise InputError(
            f"ray_address = {address!r}: this process is connected with the Ray at {present} already: give that "
            "address, or call ray.shutdown() first (in a notebook: restart the kernel)"
        )


def _resolved(address: str) -> tuple[str, str]:
    """The IP and the port; for a name of this machine, the IP by which Ray knows it."""
    import ray

    host, _, port = address.rpartition(":")
    try:
        ip = socket.getaddrinfo(host.strip("[]"), None)[0][4][0]
    except OSError:
        return host, port
    return ray.util.get_node_ip_address() if ipaddress.ip_address(ip).is_loopback else ip, port
