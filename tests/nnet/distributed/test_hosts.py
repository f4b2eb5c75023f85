"""Training on two hosts, simulated by network namespaces; it continues if one host is cut off."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from helpers.torchrun_training import start

from lstmp.nnet import checkpoint

NAMES = ["lstmp-a", "lstmp-b"]


def ip(*words: str):
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@pytest.fixture
def hosts():
    """Two namespaces connected by a virtual cable; yields the prefix of commands that run in each."""
    if os.geteuid() or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("network namespaces need root, `ip` and `unshare`")
    remove()
    try:
        for name in NAMES:
            ip("netns", "add", name)
    except subprocess.CalledProcessError as e:
        remove()
        pytest.skip(f"network namespaces cannot be made here: {e.stderr.decode(errors='replace').strip()}")
    ip("link", "add", "cable0", "netns", NAMES[0], "type", "veth", "peer", "name", "cable0", "netns", NAMES[1])
    for n, name in enumerate(NAMES, 1):
        ip("-n", name, "address", "add", f"10.77.0.{n}/24", "dev", "cable0")
        for device in ("cable0", "lo"):
            ip("-n", name, "link", "set", device, "up")
        table = Path(f"/etc/netns/{name}/hosts")  # what `ip netns exec` uses instead of /etc/hosts
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("127.0.0.1 localhost\n" + "".join(f"10.77.0.{i} {x}\n" for i, x in enumerate(NAMES, 1)))
    yield [["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh"]
           for name in NAMES]
    remove()


def remove():
    for name in NAMES:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)
        shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)


ON_CABLE = {"GLOO_SOCKET_IFNAME": "cable0"}


@pytest.mark.parametrize("options", [
    pytest.param({}, marks=pytest.mark.slow), {"updates": "asynchronous", "parameter_servers": 2}],
    ids=["sync", "async"])
def test_training_on_two_hosts(toy, small_config, hosts, options):
    agents = start(toy, small_config(**options), "net", hosts, "lstmp-a:29400", "2", env=ON_CABLE)
    output = [agent.communicate(timeout=200)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], "\n".join(output)
    rows = [json.loads(line) for line in (toy.path / "net" / "log.jsonl").read_text().splitlines()]
    assert [r["frames"] for r in rows] == [262, 262] and rows[0]["processes"] == (2 if options else 4)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "nproc", "team"), [
    ({}, 1, (2, 1)), ({"updates": "asynchronous", "parameter_servers": 1}, 2, (3, 1))], ids=["sync", "async"])
def test_training_continues_when_a_host_is_cut_off(toy, small_config, hosts, options, nproc, team):
    """The other host notices, and resumes alone from the last checkpoint."""
    cfg = small_config(epochs=400, checkpoint_minutes=0.02, timeout_minutes=0.2, **options)
    agents = start(toy, cfg, "net", hosts, "lstmp-a:29400", "1:2", nproc=nproc, restarts=3, env=ON_CABLE)
    try:
        last = toy.path / "net" / "last.safetensors"
        deadline = time.monotonic() + 60
        while not last.is_file() or checkpoint.read(last, hint="")[1]["epoch"] < 3:
            assert time.monotonic() < deadline and agents[0].poll() is None
            time.sleep(0.1)
        ip("-n", NAMES[1], "link", "set", "cable0", "down")
        epoch = checkpoint.read(last, hint="")[1]["epoch"]
        output = agents[0].communicate(timeout=250)[0]
        assert agents[0].returncode == 0, output
        assert "resuming from epoch" in output
        rows = [json.loads(line) for line in (toy.path / "net" / "log.jsonl").read_text().splitlines()]
        assert len(rows) == 400 and [r["frames"] for r in rows] == [262] * 400
        assert (rows[epoch - 1]["processes"], rows[-1].get("processes", 1)) == team
    finally:
        for agent in agents:
            agent.kill()
            agent.communicate()
