"""Two processes that share each batch end where one process ends that has it alone."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np

WORKER = Path(__file__).with_name("distributed_worker.py")
SECONDS = 120
"""After this long a worker hangs."""


def free_ports(count: int) -> list[int]:
    with ExitStack() as closing:
        sockets = [closing.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def start(role: int, addresses: list[str], out: Path) -> subprocess.Popen:
    arguments = [sys.executable, str(WORKER), str(role), ",".join(addresses), str(out)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_workers_on_loopback_reach_the_weights_of_one_process_at_the_same_global_batch(tmp_path):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    out = [tmp_path / f"{name}.npz" for name in ("first", "second", "alone")]
    workers = [start(0, addresses, out[0]), start(1, addresses, out[1]), start(0, [], out[2])]
    try:
        for worker in workers:
            said, _ = worker.communicate(timeout=SECONDS)
            assert worker.returncode == 0, said
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    first, second, alone = (np.load(path) for path in out)
    assert set(first) == set(second) == set(alone) and "wide/wide/table" in alone
    for name in alone:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
        np.testing.assert_allclose(first[name], alone[name], rtol=1e-4, atol=1e-5, err_msg=name)
