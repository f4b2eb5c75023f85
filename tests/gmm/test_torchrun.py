"""Training under torchrun, on one machine and on two machines (simulated by two torchruns)."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from helpers import ROOT

from lstmp.gmm.model import AcousticModel


def torchrun(module: str, arguments: list[str], nodes: int, per_node: int):
    """Run a module under ``nodes`` torchruns, as on that many machines, with ``per_node`` processes each."""
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(nodes), "--nproc_per_node",
                str(per_node), "--master_addr", "localhost", "--master_port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
                                "PET_REDIRECTS": "9:3", "PET_TEE": "9:3"}  # see local/path.sh
    agents = [subprocess.Popen([*launcher, "--node_rank", str(k), "-m", module, *arguments], env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for k in range(nodes)]
    output = [agent.communicate(timeout=300)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0] * nodes, "\n".join(output)
    return output


@pytest.mark.slow
@pytest.mark.parametrize(("nodes", "per_node"), [(1, 2), (1, 4), (2, 1), (2, 2)])
def test_any_number_of_processes_and_machines_gives_the_same_model(toy, ali_dir, tri_dir, tmp_path, nodes, per_node):
    output = torchrun("lstmp.gmm.train_tri", [
        "--data", str(toy.data), "--lang", str(toy.lang), "--ali", str(ali_dir), "--out", str(tmp_path / "tri1"),
        "--config", str(toy.conf / "tri1.yaml")], nodes, per_node)
    assert sum("pass 2/" in line for text in output for line in text.splitlines()) == 1  # only one process prints
    one, many = AcousticModel.load(tri_dir), AcousticModel.load(tmp_path / "tri1")
    assert (tmp_path / "tri1" / "tree.json").read_bytes() == (tri_dir / "tree.json").read_bytes()
    assert torch.equal(one.gmms.offsets, many.gmms.offsets)
    for name in ("weights", "means", "variances"):
        torch.testing.assert_close(getattr(one.gmms, name), getattr(many.gmms, name), rtol=1e-3, atol=1e-3)
