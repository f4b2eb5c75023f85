"""Features computed on several machines are identical to those of one machine."""

import os
import shutil
import subprocess
import time

import pytest
from helpers.machines import ROOT, on_machines

from lstmp.features.extract import main


@pytest.mark.parametrize(("machines", "nj"), [pytest.param(2, 1, marks=pytest.mark.slow), (3, 2)])
def test_features_of_several_machines(data_dir, tmp_path, machines, nj):
    shutil.copytree(data_dir, tmp_path / "one")
    conf = str(ROOT / "conf" / "fbank.yaml")
    main(["--kind", "fbank", "--config", conf, str(tmp_path / "one")])
    out = on_machines(tmp_path, "make_fbank.sh", "--config", conf, "--nj", str(nj), str(data_dir), machines=machines)
    assert out.returncode == 0, out.stdout
    assert out.stdout.count("fbank of 4 utterances") == 1  # one of them speaks
    for name in ("feats.ark", "utt2num_frames", "cmvn.ark"):
        assert (data_dir / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert not [name for name in os.listdir() if name.startswith(".work.")]  # where they met
    again = on_machines(tmp_path, "make_fbank.sh", "--config", conf, str(data_dir), machines=machines,
                        endpoint="localhost")
    assert "fbank is done" in again.stdout or "feats is done" in again.stdout


def test_error_on_one_machine_is_reported_once_and_ends_all(data_dir, tmp_path):
    for line in (data_dir / "wav.scp").read_text().splitlines()[1:]:
        open(line.split()[1], "w").close()
    out = on_machines(tmp_path, "make_fbank.sh", "--config", str(ROOT / "conf" / "fbank.yaml"), str(data_dir))
    assert out.returncode != 0
    assert sum(line.startswith("error: ") for line in out.stdout.splitlines()) == 1, out.stdout



def test_launcher_needs_a_list_of_machines(tmp_path):
    for text in ("# none\n", None):
        hosts = tmp_path / "hosts.txt"
        hosts.write_text(text) if text else hosts.unlink()
        out = subprocess.run([str(ROOT / "local" / "on_hosts.sh"), str(hosts), "true"], capture_output=True, text=True)
        assert out.returncode == 1 and out.stderr.startswith(f"error: {hosts}: no ")


def test_launcher_ends_all_machines_if_one_fails(tmp_path):
    """Also a command that is not a child of the launcher's ssh, as on another machine."""
    (tmp_path / "hosts.txt").write_text("a\nb  # the second\n")
    (tmp_path / "ssh").write_text('#!/bin/sh\nname=$1\nexport name\nsetsid -w bash -c "$2"\n')
    (tmp_path / "ssh").chmod(0o755)
    work = f'if [ "$name" = a ]; then echo $$ > {tmp_path}/pid; exec sleep 300; else sleep 1; exit 7; fi'
    began = time.monotonic()
    out = subprocess.run([str(ROOT / "local" / "on_hosts.sh"), str(tmp_path / "hosts.txt"), "bash", "-c", work],
                         env=os.environ | {"LSTMP_SSH": str(tmp_path / "ssh")}, timeout=60)
    assert out.returncode == 7 and time.monotonic() - began < 30
    pid = (tmp_path / "pid").read_text().strip()
    while time.monotonic() - began < 30 and os.path.exists(f"/proc/{pid}"):
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{pid}")
