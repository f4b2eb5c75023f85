"""The range test ends where the loss explodes, and finds a rate that trains."""

import json

import pytest
import yaml

from lstmp import config
from lstmp.errors import UserError
from lstmp.nnet.find_rate import main, range_test
from lstmp.nnet.train import prepare, train


def test_it_finds_a_rate_that_trains(world, small_config):
    cfg = small_config(streams=2, chunk=5, optimizer="sgd", grad_clip=0.0)
    found = range_test(cfg, *prepare(cfg, world.data, world.ali, world.valid), 1e-4, 1e4, 60)
    assert (found.rates[1:] > found.rates[:-1]).all() and found.rates[0] == pytest.approx(1e-4)
    assert len(found.rates) < 60  # 10⁴ is not reached
    assert found.smooth[0] == pytest.approx(found.losses[0]) and found.smooth[-1] > 1.1 * found.smooth.min()
    losses = {}
    for rate in (1e-4, found.largest_stable):
        cfg = small_config(epochs=6, streams=2, optimizer="sgd", lr_initial=rate, lr_final=rate, grad_clip=0.0)
        train(cfg, world.data, world.ali, world.valid, world.path / f"{rate}")
        losses[rate] = json.loads((world.path / f"{rate}" / "train.json").read_text())["loss_valid"]
    assert losses[found.largest_stable] < losses[1e-4] - 0.2


def test_command(world, small_config, capsys):
    (world.path / "lstmp.yaml").write_text(yaml.safe_dump(config.to_dict(small_config())))
    options = ["--config", str(world.path / "lstmp.yaml"), "--train", str(world.data), "--ali", str(world.ali),
               "--valid", str(world.valid), "--out", str(world.path / "rates"), "--batches", "12", "--threads", "1"]
    main(options)
    assert "largest stable rate is about" in capsys.readouterr().out
    assert (world.path / "rates" / "rates.png").stat().st_size > 5000
    rows = (world.path / "rates" / "rates.tsv").read_text().splitlines()
    assert rows[0] == "rate\tloss\tsmoothed" and 2 <= len(rows) <= 13
    with pytest.raises((SystemExit, UserError)):
        main([*options, "--low", "2", "--high", "1"])
