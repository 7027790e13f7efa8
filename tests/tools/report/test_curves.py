import csv
import json

import pytest

from piwsl_plugins.errors import InputError
from piwsl_plugins.tools.command import main
from piwsl_plugins.tools.report.curves import logs
from piwsl_plugins.tools.report.curves.points import CurvePoint, as_csv, last_values


def mace_records(factor=1.0):
    yield {
        "mode": "eval",
        "epoch": None,
        "head": "Default",
        "loss": 9.0,
        "rmse_f": 1.0,
        "rmse_e_per_atom": 0.5,
    }
    for epoch in range(3):
        for step in (1.0, 3.0):
            yield {"mode": "opt", "epoch": epoch, "loss": factor * step / (epoch + 1), "time": 0.1}
        yield {
            "mode": "eval",
            "epoch": epoch,
            "head": "Default",
            "loss": 4.0 / (epoch + 1),
            "rmse_f": 0.2 / (epoch + 1),
            "rmse_e_per_atom": 0.05,
        }
        yield {
            "mode": "piwsl",
            "epoch": epoch,
            "base_loss": 1.5,
            "pitc": 2e-4,
            "pitc_weight": 10.0,
            "pitc_rms": 0.015,
            "hessian": 3e-3,
            "hessian_weight": 1.0,
            "hessian_rms": 0.4,
        }
        watched = {"force_slope": 1 - 0.1 * epoch, "hessian_valid_rms": 2.0 - epoch}
        yield {"mode": "piwsl_validation", "epoch": epoch, **watched}


def write_mace(path, factor=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(record) for record in mace_records(factor)) + "\n")
    return path


NEQUIP = """epoch,step,lr,train_loss_step/weighted_sum,train_loss_epoch/weighted_sum,\
train_loss_epoch/pitc,val0_epoch/forces_rmse,val0_epoch/per_atom_energy_rmse,val0_epoch/weighted_sum,\
val_epoch/force_slope
0,1,0.01,7.0,,,,,,
0,2,0.01,,5.0,0.0003,,,,
0,2,0.01,,,,0.4,0.02,3.0,0.97
1,3,0.01,6.0,,,,,,
1,4,0.01,,4.0,0.0002,,,,
1,4,0.01,,,,0.3,0.01,2.0,0.95
"""


def values(curves, key, run=None):
    return {p.epoch: p.value for p in curves if p.curve == key and run in (None, p.run)}


def test_mace_results_are_read_in_user_units(tmp_path):
    curves = logs.read([write_mace(tmp_path / "x_run-1_train.txt")])
    assert values(curves, "train_loss") == pytest.approx({1: 2.0, 2: 1.0, 3: 2 / 3})
    assert values(curves, "valid_loss") == pytest.approx({0: 9.0, 1: 4.0, 2: 2.0, 3: 4 / 3})
    assert values(curves, "valid_force_rmse")[0] == pytest.approx(1000)
    assert values(curves, "valid_energy_rmse")[3] == pytest.approx(50)
    assert values(curves, "base_loss")[1] == 1.5
    assert values(curves, "pitc_weighted")[2] == pytest.approx(2e-4)
    assert values(curves, "pitc_residual")[3] == pytest.approx(15)
    assert values(curves, "hessian_residual")[1] == pytest.approx(0.4)
    assert values(curves, "force_slope") == pytest.approx({1: 1.0, 2: 0.9, 3: 0.8})
    assert values(curves, "valid_hessian_rms") == {1: 2.0, 2: 1.0, 3: 0.0}
    assert not values(curves, "pisc")


def test_nequip_metrics_use_the_epoch_average(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(NEQUIP)
    curves = logs.read([path])
    assert values(curves, "train_loss") == {1: 5.0, 2: 4.0}
    assert values(curves, "valid_force_rmse") == pytest.approx({1: 400, 2: 300})
    assert values(curves, "valid_energy_rmse") == pytest.approx({1: 20, 2: 10})
    assert values(curves, "pitc") == pytest.approx({1: 3e-4, 2: 2e-4})
    assert values(curves, "force_slope") == pytest.approx({1: 0.97, 2: 0.95})


@pytest.mark.slow
def test_runs_of_both_frameworks_are_overlaid(tmp_path, capsys):
    write_mace(tmp_path / "a" / "results" / "x_run-1_train.txt")
    write_mace(tmp_path / "b" / "results" / "x_run-1_train.txt", factor=2.0)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "metrics.csv").write_text(NEQUIP)
    out = tmp_path / "out"
    assert main(["report", "training", *(str(tmp_path / n) for n in "abc"), "--out", str(out)]) == 0
    with (out / "training.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len({row["run"] for row in table}) == 3
    doubled = [r for r in table if r["run"].startswith("b/") and r["curve"] == "train_loss"]
    assert {row["epoch"]: float(row["value"]) for row in doubled}["1"] == pytest.approx(4.0)
    assert (out / "training.png").stat().st_size > 10_000
    assert (out / "training.pdf").is_file()
    assert "train_loss" in capsys.readouterr().out


def test_the_last_values_of_heads_and_runs_and_what_is_no_number():
    points = [
        CurvePoint("b", 2, "valid_loss", "x", 0.25),
        CurvePoint("b", 1, "valid_loss", "x", 7.0),
        CurvePoint("b", 2, "valid_loss", "y", 12345.6),
        CurvePoint("long name", 1, "valid_loss", "x", 3.0),
        CurvePoint("long name", 2, "valid_loss", "x", float("nan")),
    ]
    assert [line.rstrip() for line in last_values(points).splitlines()] == [
        "run                     b  long name",
        "curve      head",
        "valid_loss x         0.25          3",
        "           y    1.235e+04          –",
    ]
    assert as_csv(points[-2:]).splitlines()[1:] == [
        "long name,1,valid_loss,x,3.0",
        "long name,2,valid_loss,x,",
    ]


def test_values_of_one_epoch_are_averaged_without_those_that_are_none(tmp_path):
    path = tmp_path / "x_train.txt"
    losses = ("1.0", "NaN", "2.0")
    path.write_text("".join(f'{{"mode": "opt", "epoch": 0, "loss": {x}}}\n' for x in losses))
    assert values(logs.read([path]), "train_loss") == {1: 1.5}


def test_logs_that_are_none(tmp_path, capsys):
    (tmp_path / "bad_train.txt").write_text('{"mode": "opt", "epoch": 0, "loss": 1}\nhello\n')
    (tmp_path / "short_train.txt").write_text('{"mode": "opt", "epoch": 0}\n')
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("bad_train.txt", "bad_train.txt line 2"),
        ("short_train.txt", "short_train.txt line 1"),
        ("other.csv", "no column 'epoch'"),
        ("empty", "metrics.csv"),
        ("absent", "no such file"),
    ):
        assert (
            main(["report", "training", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        )
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


CHART = """"epoch","soft - val0_epoch/forces_rmse","soft - val0_epoch/forces_rmse__MIN",\
"soft - val0_epoch/forces_rmse__MAX","my run - 2 - val0_epoch/forces_rmse"
"0","0.4","0.1","0.9",""
"1","0.3","0.1","0.9","0.5"
"""
BY_STEP = """Step,a - epoch,a - train_loss_epoch/weighted_sum,a - train_loss_step/weighted_sum
9,0,,8.0
19,0,5.0,
39,1,4.0,
"""
MACE_HISTORY = """_step,Default.epoch,Default.valid_loss,Default.valid_rmse_f,dft.epoch,\
dft.valid_rmse_e_per_atom,piwsl/pitc,piwsl/pitc_rms,piwsl/force_slope
0,0,4.0,0.2,0,0.01,2e-4,0.015,0.97
1,2,2.0,0.1,2,NaN,1e-4,0.010,0.95
"""


def test_a_chart_of_wandb_has_several_runs(tmp_path):
    path = tmp_path / "chart.csv"
    path.write_text(CHART)
    curves = logs.read([path])
    assert values(curves, "valid_force_rmse", "soft") == pytest.approx({1: 400, 2: 300})
    assert values(curves, "valid_force_rmse", "my run - 2") == pytest.approx({2: 500})
    other = write_mace(tmp_path / "x_train.txt")
    assert {p.run for p in logs.read([path, other])} == {"chart/soft", "chart/my run - 2", "x"}


def test_a_chart_of_wandb_by_step_tells_epochs_in_a_column(tmp_path):
    path = tmp_path / "chart.csv"
    path.write_text(BY_STEP)
    curves = logs.read([path])
    assert values(curves, "train_loss", "a") == {1: 5.0, 2: 4.0}, "not the loss of a step"


def test_a_history_of_wandb_from_mace_is_read_as_its_results_file(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(MACE_HISTORY)
    curves = logs.read([path])
    assert {p.run for p in curves} == {"history"}
    assert values(curves, "valid_loss") == {1: 4.0, 3: 2.0}
    assert values(curves, "valid_force_rmse") == pytest.approx({1: 200, 3: 100})
    assert values(curves, "pitc_weighted") == pytest.approx({1: 2e-4, 3: 1e-4})
    assert values(curves, "pitc_residual") == pytest.approx({1: 15, 3: 10})
    assert values(curves, "force_slope") == pytest.approx({1: 0.97, 3: 0.95})
    energies = [p for p in curves if p.curve == "valid_energy_rmse"]
    assert [(p.epoch, p.head, p.value) for p in energies] == [(1, "dft", 10.0)]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "Step,a - val0_epoch/loss\n1,2\n", "no column 'epoch' beside 'Step'"),
        ("a.csv", "Name,State,epoch,val0_epoch/loss\na,finished,9,1\n", "holds last values"),
        ("a.csv", "epoch,a - val0_epoch/loss,a - val0_epoch/loss\n0,1,2\n", "two columns"),
        ("a.csv", "epoch,a - val0_epoch/loss\n0,1\n0.5,2\n", "line 3: 0.5 is no number"),
        ("a.csv", "epoch,a - val0_epoch/loss\n0,high\n", "line 2: high is no value"),
        ("a.csv", "epoch,val0_epoch/loss\n\n0,1\n1,2,3\n", "line 4: 3 cells, and 2 columns"),
        ("a.csv", "", "it is empty"),
        ("offline-run-1/run-1.wandb", "binary", "run-1.wandb: Weights & Biases has no reader"),
    ],
)
def test_what_wandb_cannot_tell_is_refused_with_the_remedy(tmp_path, name, text, words):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(InputError) as error:
        logs.read(logs.find([path if path.suffix == ".csv" else tmp_path]))
    assert words in str(error.value)


def test_logs_of_wandb_beside_results_are_not_needed(tmp_path):
    results = write_mace(tmp_path / "results" / "x_train.txt")
    (tmp_path / "run-1.wandb").touch()
    assert logs.find([tmp_path]) == [results]
