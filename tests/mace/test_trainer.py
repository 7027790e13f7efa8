"""MACE's trainer with the PIWSL loss beside everything else that it offers.

The trainer runs in this process, as MACE's own tests run it; ``test_command.py`` runs the
real command.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import ase.io
import pytest
import torch
from mace import modules

from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.mace import host, structures
from piwsl_plugins.mace.arguments import MaceSettings
from piwsl_plugins.mace.loss import PIWSLLoss
from piwsl_plugins.terms.found import KEY
from piwsl_plugins.testing.hessians import labels_of, springs

from ..recorded import calls_of
from .conftest import (
    assert_same_weights,
    atomic_data,
    command_line,
    frames,
    loader,
    make_model,
    run_command,
    train,
    train_epoch,
    write_files,
)

STRONG = {"piwsl_pitc_weight": 30.0, "piwsl_pisc_weight": 10.0}
OFF = {"piwsl_pitc_weight": 0.0, "piwsl_pisc_weight": 0.0}
HESSIANS = {"piwsl_hessian_weight": 100.0}

pytestmark = pytest.mark.slow


def entries(folder, mode, name="run_run-1"):
    lines = (folder / "results" / f"{name}_train.txt").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["mode"] == mode]


def log(folder, name="run_run-1"):
    return (folder / "logs" / f"{name}.log").read_text()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"piwsl_base_loss": "stress"},
        {"piwsl_base_loss": "universal"},
        {"piwsl_base_loss": "weighted", "swa": True, "start_swa": 1, "lr": 0.003},
        {"piwsl_base_loss": "huber", "default_dtype": "float32", "ema": True},
    ],
    ids=["weighted", "stress", "universal", "stage two", "huber float32 ema"],
)
def test_weights_of_zero_train_exactly_as_the_base_loss(tmp_path, options):
    name = "periodic_gfn2" if options.get("piwsl_base_loss") else "ethanol_gfn2"
    files = write_files(tmp_path, name, 8, 4)
    others = {key: value for key, value in options.items() if key != "piwsl_base_loss"}
    base = options.get("piwsl_base_loss", "weighted")
    plain = train(tmp_path / "plain", files, loss=base, **others)
    write_labels(tmp_path / "labels.npz", list(map(springs, frames(f"{name}_train", 4))), "springs")
    labels = {"piwsl_hessian_file": tmp_path / "labels.npz", "piwsl_hessian_weight": 0.0}
    off = train(tmp_path / "off", files, **options, **OFF, **labels)
    assert_same_weights(plain, off)
    on = train(tmp_path / "on", files, **options, **STRONG)
    with pytest.raises(AssertionError):
        assert_same_weights(plain, on)
    for mode in ("opt", "eval"):
        for first, second in zip(
            entries(tmp_path / "plain", mode), entries(tmp_path / "off", mode), strict=True
        ):
            first.pop("time"), second.pop("time")
            assert first == second


def test_validation_and_tables_use_the_base_loss_alone(tmp_path, files):
    """Evaluated by hand on the final model, the base loss is the validation loss of the log."""
    from mace.tools import evaluate

    model = train(tmp_path, files, max_num_epochs=1, **STRONG)
    validation = [atomic_data(atoms) for atoms in frames("ethanol_gfn2_valid", 6)]
    loss, _ = evaluate(
        model,
        modules.WeightedEnergyForcesLoss(energy_weight=1.0, forces_weight=100.0),
        loader(validation),
        {"forces": True, "virials": False, "stress": False},
        torch.device("cpu"),
    )
    logged = entries(tmp_path, "eval")[-1]["loss"]
    assert logged == pytest.approx(loss, rel=1e-12)


def test_log_and_results_file(tmp_path, files):
    schedule = {"piwsl_start_epoch": 1, "piwsl_ramp_epochs": 1, "eval_interval": 2}
    train(tmp_path, files, max_num_epochs=3, **schedule, **STRONG)
    text = log(tmp_path)
    assert "Epoch 1: PIWSL: base_loss" not in text, "MACE reports in every second epoch"
    for line in (
        "===========PIWSL===========",
        "PIWSL options: seed=1, pitc_weight=30.0, pisc_weight=10.0, "
        "consistency_form=first_order, start_epoch=1, ramp_epochs=1",
        "PIWSL: first training step: RMS pitc residual",
        "Epoch 2: PIWSL: base_loss=",
    ):
        assert line in text, line
    assert "Epoch 0: PIWSL: base_loss" not in text
    found = entries(tmp_path, "piwsl")
    assert [entry["epoch"] for entry in found] == [1, 2]
    assert [entry["pitc_weight"] for entry in found] == [15.0, 30.0]
    for entry in found:
        square = entry["pitc_rms"] ** 2
        assert entry["pitc"] == pytest.approx(entry["pitc_weight"] * square, rel=1e-9)
    steps = [entry["loss"] for entry in entries(tmp_path, "opt") if entry["epoch"] == 2]
    last = found[-1]
    assert sum(steps) / len(steps) == pytest.approx(
        last["base_loss"] + last["pitc"] + last["pisc"], rel=1e-9
    )


def test_a_dominating_penalty_is_reported_with_the_remedy_once(tmp_path, files):
    train(tmp_path, files, forces_weight=0.01, energy_weight=0.01, piwsl_pitc_weight=1e12)
    text = log(tmp_path)
    assert text.count("can flatten the potential") == 1
    assert "Remedy: --piwsl_pitc_weight=" in text


def test_a_weak_penalty_is_not_reported(tmp_path, files):
    train(tmp_path, files)
    assert "can flatten" not in log(tmp_path)


def test_interval(tmp_path, files):
    """Every third step: with 3 batches an epoch, the first of each."""
    calls = count_displaced(tmp_path, files, piwsl_interval=3)
    assert calls == [1, 0, 0, 1, 0, 0]
    assert count_displaced(tmp_path, files, piwsl_interval=2) == [1, 0, 1, 0, 1, 0]


def count_displaced(tmp_path, files, **options):
    """Number of displaced evaluations in each training step."""
    from piwsl_plugins.mace.loss import PIWSLLoss

    calls, original = [], PIWSLLoss.forward

    def forward(self, ref, pred, ddp=None):
        if pred["energy"].requires_grad and torch.is_grad_enabled() and self.training_call:
            calls.append(int("pitc" in pred[KEY].penalties))
        return original(self, ref, pred, ddp)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PIWSLLoss, "forward", forward)
        patch.setattr(PIWSLLoss, "training_call", True, raising=False)
        module = sys.modules["mace.tools.train"]
        evaluate = module.evaluate

        @functools.wraps(evaluate)  # with the mark that our hook is in place
        def silent(*args, **keywords):
            PIWSLLoss.training_call = False
            try:
                return evaluate(*args, **keywords)
            finally:
                PIWSLLoss.training_call = True

        patch.setattr(module, "evaluate", silent)
        patch.setattr("mace.tools.tables_utils.evaluate", silent)
        train(tmp_path, files, **options)
    return calls


def test_stage_two_has_its_own_weights(tmp_path, files):
    train(
        tmp_path,
        files,
        max_num_epochs=3,
        swa=True,
        start_swa=2,
        swa_piwsl_pitc_weight=5.0,
        piwsl_pitc_weight=2.0,
    )
    assert [entry["pitc_weight"] for entry in entries(tmp_path, "piwsl")] == [2.0, 2.0, 5.0]


def test_stage_two_keeps_the_terms_by_default(tmp_path, files):
    train(tmp_path, files, max_num_epochs=2, swa=True, start_swa=1, **STRONG)
    assert [entry["pitc_weight"] for entry in entries(tmp_path, "piwsl")] == [30.0, 30.0]


def test_neither_repetition_nor_workers_change_the_result(tmp_path, files):
    first = train(tmp_path / "first", files, **STRONG)
    for n_workers in (0, 2):
        again = train(tmp_path / f"again_{n_workers}", files, num_workers=n_workers, **STRONG)
        assert_same_weights(first, again)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_neighbours_are_looked_for_where_data_is_loaded(tmp_path, files, n_workers, monkeypatch):
    """Once per structure; with workers not in the training process at all.

    Nor for probes, which move atoms further than Hessians do.
    """
    searches = calls_of(monkeypatch, structures, "search")
    descriptions = calls_of(monkeypatch, host.Describe, "__call__")
    options = {"num_workers": n_workers, "max_num_epochs": 3, "piwsl_pool_weight": 0}
    pool = tmp_path / "pool.xyz"
    ase.io.write(pool, frames("ethanol_gfn2_hot", 4))
    write_labels(tmp_path / "labels.npz", labels_of(frames("ethanol_gfn2_train", 12)), "springs")
    options |= {"piwsl_pool_file": pool, "piwsl_pool_per_batch": 2}
    for given, n_carrying in ((STRONG, 12 + 4), ({**OFF, **HESSIANS}, 12)):
        given = {**given, "piwsl_hessian_file": tmp_path / "labels.npz"}
        searches.clear(), descriptions.clear()
        train(tmp_path / str(n_carrying), files, **options, **given)
        searched = [positions.tobytes() for positions, *_ in searches]
        # without those of validation, whose forces are watched
        described = [batch for _, batch in descriptions if len(batch["ptr"]) != 1 + 6]
        if n_workers:
            assert not searched and not described
        else:
            assert len(searched) == len(set(searched)) == n_carrying
            assert len(described) == 3 * 3 * 2  # batches of training data and of the pool


def test_a_restarted_run_depends_on_the_checkpoint_alone(tmp_path, files):
    """Killed while training and restarted, a run ends as one stopped cleanly and restarted.

    MACE 0.3.16 repeats the checkpoint's epoch after a restart, with every loss, so that no
    restarted run of MACE equals an uninterrupted one; that ours keeps nothing from epoch to
    epoch but the weights is in ``test_epochs_share_no_state``. One batch holds all
    structures, because MACE's loader begins its random order anew as well.
    """
    options = {"batch_size": 12, "piwsl_ramp_epochs": 3, "save_all_checkpoints": True, **STRONG}
    killed, stopped = tmp_path / "killed", tmp_path / "stopped"
    killed.mkdir()
    arguments = command_line(killed, files, loss="piwsl", max_num_epochs=500, **options)
    script = Path(sys.executable).with_name("mace_run_train")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [script, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wanted = killed / "checkpoints" / "run_run-1_epoch-2.pt"
        while not wanted.exists():
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.05)
        process.kill()
    last = max(int(path.stem.split("-")[-1]) for path in killed.glob("checkpoints/*epoch-*.pt"))
    newest = killed / "checkpoints" / f"run_run-1_epoch-{last}.pt"
    try:
        torch.load(newest, weights_only=False)
    except Exception:  # killed while it was written
        newest.unlink()
        last -= 1
    train(stopped, files, max_num_epochs=last + 1, **options)
    finished = [
        train(folder, files, max_num_epochs=last + 3, restart_latest=True, **options)
        for folder in (killed, stopped)
    ]
    assert_same_weights(*finished)


@pytest.mark.parametrize("displacement", ["uniform", "adversarial"])
def test_epochs_share_no_state(displacement):
    """Epochs 0 to 3 in one go, and with everything but weights and optimiser made anew."""

    def run(model, optimizer, epochs):
        options = {"pitc_weight": 30.0, "pisc_weight": 10.0, "ramp_epochs": 3, "interval": 2}
        options |= {"seed": 5, "displacement": displacement}
        settings = MaceSettings.create(options).decided(True, 10.0)
        loss_fn = PIWSLLoss(modules.WeightedEnergyForcesLoss(1.0, 10.0), settings)
        structures = [atomic_data(atoms) for atoms in frames("ethanol_gfn2_train", 6)]
        for epoch in epochs:
            train_epoch(model, loss_fn, loader(structures, 2), optimizer, epoch)

    whole, parts = make_model(), make_model()
    run(whole, torch.optim.Adam(whole.parameters(), lr=0.01), range(4))
    optimizer = torch.optim.Adam(parts.parameters(), lr=0.01)
    run(parts, optimizer, range(2))
    restored = torch.optim.Adam(parts.parameters(), lr=0.01)
    restored.load_state_dict(optimizer.state_dict())
    run(parts, restored, range(2, 4))
    assert_same_weights(whole, parts)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("periodic_gfn2", {"piwsl_base_loss": "stress", "compute_stress": True}),
        ("periodic_gfn2", {"piwsl_base_loss": "virials", "virials_key": "REF_virials"}),
        ("ethanol_gfn2", {"piwsl_base_loss": "l1l2energyforces", "model": "MACE"}),
        ("ethanol_gfn2", {"ema": True, "default_dtype": "float32", "amsgrad": True}),
        ("ethanol_gfn2", {"piwsl_displacement": "adversarial", "piwsl_base_loss": "huber"}),
        ("ethanol_gfn2", {"pair_repulsion": True, "distance_transform": "Agnesi"}),
        ("ethanol_gfn2", {"optimizer": "schedulefree"}),
        ("ethanol_gfn2", {"error_table": "TotalMAE"}),
        ("ethanol_gfn2", {"interaction": "RealAgnosticResidualNonLinearInteractionBlock"}),
        (
            "ethanol_gfn2",
            {"model": "EnergyDipolesMACE", "piwsl_base_loss": "energy_forces_dipole"},
        ),
        ("ethanol_gfn2", {"piwsl_preset": "paper", "error_table": "PerAtomMAE"}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_beside_what_mace_offers(tmp_path, data, options):
    files = write_files(tmp_path, data, 6, 3)
    dipoles = options.get("model") == "EnergyDipolesMACE"
    weights = {} if "piwsl_preset" in options else STRONG
    extra = {"error_table": "EnergyDipoleRMSE"} if dipoles else {}
    labels = labels_of(frames(f"{data}_train", 4))
    write_labels(tmp_path / "labels.npz", labels, "springs, and random probes")
    extra["piwsl_hessian_file"] = tmp_path / "labels.npz"
    model = train(tmp_path, files, max_num_epochs=1, **weights, **options, **extra)
    assert all(torch.isfinite(value).all() for value in model.parameters())
    (entry,) = entries(tmp_path, "piwsl")
    assert entry["pitc"] > 0
    assert entry["pisc"] > 0
    assert entry["hessian"] > 0
    assert "Hessian labels for 4 of 6 training structures" in log(tmp_path)
    assert "Error-table" in log(tmp_path)


def test_plots_are_made_with_our_entries_in_the_results_file(tmp_path, files):
    labels = labels_of(frames("ethanol_gfn2_train", 4))
    write_labels(tmp_path / "labels.npz", labels, "springs, and random probes")
    options = {"plot": True, "plot_frequency": 1, "piwsl_hessian_file": tmp_path / "labels.npz"}
    train(tmp_path, files, **options, **STRONG)
    assert list((tmp_path / "results").glob("*.png"))


@pytest.mark.parametrize(("interval", "expected"), [(1, {0, 1, 2}), (2, {0, 2})])
def test_lbfgs_sees_fixed_displacements(tmp_path, files, interval, expected):
    """A line search needs one target: one set of displacements in each step, which is an epoch."""
    from piwsl_plugins.terms.step import Selection

    seen = []
    with pytest.MonkeyPatch.context() as patch:
        original = Selection.residuals

        def residuals(self, origin):
            # the loader shuffles the structures of the only batch at every evaluation
            order = torch.argsort(self.structures.positions.view(-1, 27)[:, 0])
            field = self.displacement("displaced").view(-1, 27)
            seen.append(tuple(field[order].flatten().tolist()))
            return original(self, origin)

        patch.setattr(Selection, "residuals", residuals)
        options = {"batch_size": 12, "piwsl_pitc_weight": 1e2, "piwsl_interval": interval}
        train(tmp_path, files, lbfgs=True, max_num_epochs=3, **options)
    assert len(seen) > 2 * len(expected), "several evaluations in a step"
    assert len(set(seen)) == len(expected)
    assert {entry["epoch"] for entry in entries(tmp_path, "piwsl")} == expected


def test_dry_run(tmp_path, files):
    assert train(tmp_path, files, dry_run=True) is None
    assert "DRY RUN" in log(tmp_path)


def test_wandb_gets_arguments_terms_and_slope(tmp_path, files, monkeypatch):
    """In the steps that MACE itself logs, one for each epoch with a validation."""
    import types

    recorded, steps, step = {}, [], {}

    def log(entry, commit=True):
        step.update(entry)
        if commit:
            steps.append(dict(step))
            step.clear()

    fake = types.ModuleType("wandb")
    fake.init = lambda **keywords: recorded.update(keywords)
    fake.log = log
    fake.run = types.SimpleNamespace(summary={}, save=lambda *a, **k: None)
    fake.run.summary = recorded.setdefault("summary", {})
    monkeypatch.setitem(sys.modules, "wandb", fake)
    train(
        tmp_path,
        files,
        max_num_epochs=3,
        eval_interval=2,
        wandb=True,
        wandb_project="p",
        wandb_entity="e",
        wandb_name="n",
    )
    dumped = json.loads(recorded["summary"]["params"])
    assert dumped["piwsl_pitc_weight"] == 0.001
    assert dumped["piwsl_consistency_form"] == "first_order"
    assert dumped["loss"] == "weighted"
    epochs = [entry for entry in steps if "Default" in entry and "epoch" in entry["Default"]]
    terms = {entry["epoch"]: entry for entry in entries(tmp_path, "piwsl")}
    slopes = {entry["epoch"]: entry for entry in entries(tmp_path, "piwsl_validation")}
    assert [entry["Default"]["epoch"] for entry in epochs] == [0, 2]
    for entry in epochs:
        epoch = entry["Default"]["epoch"]
        for name in ("base_loss", "pitc", "pitc_weight", "pitc_rms"):
            assert entry[f"piwsl/{name}"] == terms[epoch][name]
        assert entry["piwsl/force_slope"] == slopes[epoch]["force_slope"]
    assert not any(name.startswith("piwsl/") for e in steps if e not in epochs for name in e)
    assert step == {}


def write_hdf5(folder, path, **options):
    """A file of ASE's as MACE's own program converts it."""
    from mace.cli.preprocess_data import run
    from mace.tools import build_preprocess_arg_parser

    prefix = folder / f"{path.stem}_h5"
    prefix.mkdir()
    arguments = [
        f"--train_file={path}",
        f"--valid_file={path}",
        f"--h5_prefix={prefix}/",
        "--r_max=4.0",
        "--num_process=1",
        "--shuffle=False",
        "--E0s={1: -10.0, 6: -50.0, 8: -100.0}",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    run(build_preprocess_arg_parser().parse_args(arguments))
    return prefix / "val"


def write_lmdb(folder, path):
    import ase.io
    from mace.tools.fairchem_dataset.lmdb_dataset_tools import LMDBDatabase

    made = folder / f"{path.stem}_lmdb"
    made.mkdir()
    database = LMDBDatabase(made / "data.aselmdb", readonly=False)
    for atoms in ase.io.read(path, index=":"):
        if len(atoms) > 1:
            calculator = ase.calculators.singlepoint.SinglePointCalculator(
                atoms, energy=atoms.info["REF_energy"], forces=atoms.arrays["REF_forces"]
            )
            clean = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            clean.calc = calculator
            database.write(clean, data={})
    database.close()
    return made


def test_the_console_has_each_line_once(tmp_path, files):
    """Files of HDF5 are looked at before MACE sets up its logger."""
    path = write_hdf5(tmp_path, files["valid_file"])
    options = {"E0s": "{1: -10.0, 6: -50.0, 8: -100.0}", "atomic_numbers": "[1, 6, 8]"}
    given = {"train_file": path, "valid_file": path}
    arguments = command_line(tmp_path / "run", given, loss="piwsl", dry_run=True, **options)
    done = run_command(arguments, tmp_path)
    assert (done.stdout + done.stderr).count("PIWSL is on; its base loss is") == 1


@pytest.mark.parametrize("write", [write_hdf5, write_lmdb])
def test_data_that_is_read_structure_by_structure(tmp_path, files, write):
    paths = {name: write(tmp_path, path) for name, path in files.items()}
    elements = {"E0s": "{1: -10.0, 6: -50.0, 8: -100.0}", "atomic_numbers": "[1, 6, 8]"}
    train(tmp_path / "run", paths, num_workers=1, **elements, **STRONG)
    assert entries(tmp_path / "run", "piwsl")[-1]["pisc"] > 0


@pytest.fixture(scope="module")
def foundation(tmp_path_factory):
    """A model pretrained on the GFN1-xTB labels."""
    folder = tmp_path_factory.mktemp("foundation")
    files = write_files(folder, "ethanol_gfn1", 12, 4)
    train(folder, files, loss="weighted", max_num_epochs=2, save_cpu=True)
    return folder / "run.model"


@pytest.mark.parametrize(
    "options",
    [
        {"multiheads_finetuning": False, "E0s": "foundation"},
        {"multiheads_finetuning": False, "E0s": "estimated", "lora": True},
        {"multiheads_finetuning": False, "E0s": "foundation", "freeze": 5},
    ],
    ids=["naive", "lora", "freeze"],
)
def test_fine_tuning_a_local_model(tmp_path, foundation, options):
    import ase.io

    files = write_files(tmp_path, "ethanol_gfn2", 8, 4)
    # MACE prefers isolated atoms in the file to --E0s
    ase.io.write(files["train_file"], frames("ethanol_gfn2_train", 8))
    model = train(tmp_path, files, foundation_model=foundation, **options, **STRONG)
    assert model is not None
    assert entries(tmp_path, "piwsl")[-1]["pitc"] > 0


@pytest.mark.parametrize(("heads", "expected"), [(None, "Default"), ("pt_head,Default", "both")])
def test_multihead_replay(tmp_path, foundation, heads, expected):
    """MACE switches to the universal loss late; the replay head carries terms only if asked."""
    from piwsl_plugins.terms.step import Selection

    files = write_files(tmp_path, "ethanol_gfn2", 8, 4)
    replay = write_files(tmp_path, "ethanol_gfn1", 8, 4, suffix="_replay")
    counts = []
    with pytest.MonkeyPatch.context() as patch:
        original = Selection.residuals

        def residuals(self, origin):
            counts.append((len(self), len(origin.energy)))
            return original(self, origin)

        patch.setattr(Selection, "residuals", residuals)
        train(
            tmp_path,
            files,
            foundation_model=foundation,
            multiheads_finetuning=True,
            pt_train_file=replay["train_file"],
            pt_valid_file=replay["valid_file"],
            atomic_numbers="[1, 6, 8]",
            max_num_epochs=1,
            piwsl_heads=heads,
            E0s="foundation",
            **STRONG,
        )
    carrying, in_all = (sum(column) for column in zip(*counts, strict=True))
    assert carrying == in_all if expected == "both" else 0 < carrying < in_all
    assert "base_loss: universal (MACE replaced 'weighted'" in log(tmp_path)
    assert "PIWSLLoss(base_loss=UniversalLoss" in log(tmp_path)


@pytest.mark.parametrize("multiheads", [True, False])
def test_a_replay_head_without_replay(multiheads, tmp_path, foundation, capfd):
    """MACE itself switches replay off where there is no data for it."""
    options = {"foundation_model": foundation, "multiheads_finetuning": multiheads}
    files = write_files(tmp_path, "ethanol_gfn2", 8, 4)
    with pytest.raises(SystemExit) as ended:
        train(tmp_path, files, piwsl_heads="Default,pt_head", E0s="foundation", **options)
    assert ended.value.code == 2
    message = capfd.readouterr().err.split("mace_run_train: error: ")[1]
    assert message.startswith("--piwsl_heads=Default,pt_head: this run has no head pt_head, only")
    assert "--pt_train_file" in message
    assert message.count("\n") == 1


def test_a_model_made_with_piwsl_needs_nothing_of_ours(tmp_path, files):
    model = train(tmp_path, files, **STRONG)
    names = {type(module).__module__.split(".")[0] for module in model.modules()}
    assert "piwsl_plugins" not in names
    assert not model._forward_hooks
    assert type(model) is type(make_model())


@pytest.mark.parametrize("free", [0, 1 << 30])
def test_a_checkpoint_that_finds_the_disk_full(free, files, tmp_path, monkeypatch):
    """MACE deletes the checkpoint before this one first, so no more than words can be had."""

    def save(**keywords):
        raise RuntimeError("unexpected pos 122880 vs 122768")  # torch's words

    monkeypatch.setattr(torch, "save", save)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    (tmp_path / "checkpoints").mkdir()
    error, words = (RuntimeError, "unexpected pos") if free else (SystemExit, "no space left in")
    with pytest.raises(error, match=words):
        train(tmp_path, files)


def test_a_training_that_diverges_keeps_the_best_model_before(files, tmp_path):
    """MACE 0.3.16 takes a loss that is NaN for the lowest, and ends with such a model."""
    growing = {"scheduler": "ExponentialLR", "lr_scheduler_gamma": 1e12, "default_dtype": "float32"}
    with pytest.raises(SystemExit, match="epoch 1: the loss of the validation data is nan"):
        train(tmp_path / "run", files, max_num_epochs=4, **growing)
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert checkpoint.name == "run_run-1_epoch-0.pt"
    assert all(value.isfinite().all() for value in torch.load(checkpoint)["model"].values())
    assert not list((tmp_path / "run").glob("*.model"))


def test_a_model_that_is_nan_from_the_beginning(files, tmp_path):
    """E0s of a file are looked at, numbers of an option are not."""
    ase.io.write(files["train_file"], frames("ethanol_gfn2_train", 4))
    with pytest.raises(SystemExit, match="before the first step the loss"):
        train(tmp_path / "run", files, E0s="{1: -13.0, 6: 1e999, 8: -110.0}")
    assert not list((tmp_path / "run").rglob("*.pt"))
