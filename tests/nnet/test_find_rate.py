"""The range test ends when the loss explodes, and finds a rate at which training works."""

import json

import numpy as np
import pytest
import yaml

from lstmp import config
from lstmp.nnet.find_rate import main, range_test
from lstmp.nnet.streams import Streams, plan
from lstmp.nnet.train import prepare, train


def test_training_works_at_the_rate_that_it_finds(toy, small_config):
    cfg = small_config(streams=2, chunk=5, optimizer="sgd", grad_clip=0.0)
    model, train_set, valid_set = prepare(cfg, toy.data, toy.ali, toy.valid)
    result = range_test(cfg, model, train_set, valid_set, 1e-4, 1e4, 60)
    assert (result.rates[1:] > result.rates[:-1]).all() and result.rates[0] == pytest.approx(1e-4)
    assert len(result.rates) < 60  # 10⁴ is not reached
    counts = train_set.pdf_counts(model.num_pdfs).numpy()
    of_pdf = -np.log(counts / counts.sum())  # what priors lose
    streams = Streams(train_set, plan(train_set.lengths, 2, 5, cfg.output_delay, cfg.seed, 0), 5, cfg.output_delay)
    targets = streams.batch(0).targets
    easier = counts @ of_pdf / counts.sum() - of_pdf[targets[targets >= 0]].mean()
    assert abs(easier) > 0.1 and result.smooth[0] == pytest.approx(result.losses[0] + easier)
    assert result.smooth[-1] > 1.1 * result.smooth.min()
    losses = {}
    for rate in (1e-4, result.largest_stable):
        cfg = small_config(epochs=6, streams=2, optimizer="sgd", lr_initial=rate, lr_final=rate, grad_clip=0.0)
        train(cfg, toy.data, toy.ali, toy.valid, toy.path / f"{rate}")
        losses[rate] = json.loads((toy.path / f"{rate}" / "train.json").read_text())["loss_valid"]
    assert losses[result.largest_stable] < losses[1e-4] - 0.2


def test_the_last_rate_is_reached_on_few_data(toy, small_config):
    cfg = small_config(streams=2, chunk=5)
    result = range_test(cfg, *prepare(cfg, toy.data, toy.ali, toy.valid), 1e-9, 1e-8, 10**6)
    assert 10 < len(result.rates) < 10**4 and result.rates[-1] == pytest.approx(1e-8)


def test_batches_without_targets_do_not_count(toy, small_config):
    cfg = small_config(streams=2, chunk=5, label_delay=6)
    result = range_test(cfg, *prepare(cfg, toy.data, toy.ali, toy.valid), 1e-9, 1e-8, 10**6)
    assert len(result.rates) > 10 and result.losses.min() > 0.1  # of the first batch all targets are still to come
    assert result.rates[0] > 1e-9


def test_the_command_writes_a_table_and_a_picture(toy, small_config, capsys):
    (toy.path / "lstmp.yaml").write_text(yaml.safe_dump(config.to_dict(small_config())))
    options = ["--config", str(toy.path / "lstmp.yaml"), "--train", str(toy.data), "--ali", str(toy.ali),
               "--valid", str(toy.valid), "--out", str(toy.path / "rates"), "--batches", "12", "--threads", "1"]
    main(options)
    assert "largest stable rate is about" in capsys.readouterr().out
    assert (toy.path / "rates" / "rates.png").stat().st_size > 5000
    rows = (toy.path / "rates" / "rates.tsv").read_text().splitlines()
    assert rows[0] == "rate\tloss\tsmoothed" and 2 <= len(rows) <= 13
    with pytest.raises(SystemExit):
        main([*options, "--low", "2", "--high", "1"])
    assert "--low must be above 0 and below --high" in capsys.readouterr().err
