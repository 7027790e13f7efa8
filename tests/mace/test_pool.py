"""The pool of unlabelled structures; its gradients are in test_targets.py, ranks in
test_distributed.py."""

import ase.io
import numpy as np
import pytest
import torch
from mace import modules

from piwsl_plugins.core.curvature import CurvatureLabel, write_labels
from piwsl_plugins.core.pool import choose
from piwsl_plugins.core.settings import Settings
from piwsl_plugins.mace.pool import Pool
from piwsl_plugins.mace.sources import Sources

from .conftest import atomic_data, batch_of, frames, make_model, train
from .test_targets import piwsl_lines, springs
from .test_training_step import step


def bare(atoms):
    """Nothing but atoms, as they come from a simulation."""
    return ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def test_the_steps_go_through_the_pool_in_the_order_of_the_core():
    structures = [atomic_data(atoms) for atoms in frames("ethanol_gfn2_train", 5)]
    settings = Settings(seed=3, unlabeled_file="given", unlabeled_per_batch=2)
    like = batch_of(structures[:1]).to_dict()
    for number in range(4):
        batch = Pool(structures).batch(settings, number, like)
        chosen = choose(5, 2, 3, number)
        expected = torch.cat([structures[index]["positions"] for index in chosen])
        assert torch.equal(batch["positions"], expected)
        assert set(batch) == set(like)


def test_the_base_loss_does_not_see_the_pool():
    """Labels of zero, which MACE gives a structure without labels, are no labels."""
    model = make_model()
    inputs = [atomic_data(atoms) for atoms in frames("ethanol_gfn2_train", 2)]
    pool = Pool([atomic_data(bare(atoms)) for atoms in frames("periodic_gfn2_train", 3)])
    settings = Settings(seed=0, pitc_weight=1e-300, unlabeled_file="given")
    found, output, _ = step(model, inputs, settings, sources=Sources(pool=pool), join=False)
    expected, _, _ = step(model, inputs, Settings(pitc_weight=0.0))
    assert torch.equal(found, expected)
    assert output["piwsl_pitc"].shape == (1, 3)
    assert output["energy"].shape == (2,)


def test_a_batch_without_terms_of_its_own_still_carries_those_of_the_pool():
    atom = frames("ethanol_gfn2_train", 1)[0][:1]
    atom.info["REF_energy"] = -10.0
    pool = Pool([atomic_data(bare(atoms)) for atoms in frames("ethanol_gfn2_train", 1)])
    settings = Settings(seed=0, pitc_weight=1.0, unlabeled_file="given")
    base = modules.WeightedEnergyForcesLoss(1.0, 1.0)
    model = make_model()
    _, alone, _ = step(model, [atomic_data(atom), pool.structures[0]], settings, base=base)
    for join in (False, True):
        _, output, _ = step(
            model,
            [atomic_data(atom)],
            settings,
            base=base,
            sources=Sources(pool=pool),
            join=join,
        )
        torch.testing.assert_close(output["piwsl_pitc"], alone["piwsl_pitc"], rtol=1e-9, atol=1e-13)


def test_a_run_with_a_pool(tmp_path, files, caplog):
    path = tmp_path / "pool.xyz"
    ase.io.write(path, [bare(atoms) for atoms in frames("ethanol_gfn2_valid", 5)])
    with caplog.at_level("INFO"):
        train(
            tmp_path / "run",
            files,
            max_num_epochs=2,
            default_dtype="float32",
            piwsl_pitc_form="symmetric",
            piwsl_unlabeled_file=path,
            piwsl_unlabeled_per_batch=3,
        )
    assert "pool of 5 structures without labels, 3 with each batch" in caplog.text
    assert len(piwsl_lines(tmp_path / "run")) == 2


def wrong_pool(case, folder, training):
    """Options that cannot be used, and what the message must say."""
    path = folder / "pool.xyz"
    atoms = [bare(a) for a in frames("ethanol_gfn2_valid", 2)]
    options = {"piwsl_unlabeled_file": path}
    if case == "element":
        atoms[1].numbers[0] = 14
        words = ["it holds Si", "H, C, O only"]
    elif case == "force labels":
        options["piwsl_displacement"] = "adversarial"
        words = ["--piwsl_displacement=adversarial", "force labels"]
    elif case == "no file":
        options["piwsl_unlabeled_file"] = folder / "none.xyz"
        words = ["none.xyz", "no such file"]
    else:
        labels = [CurvatureLabel(a.numbers, a.positions, hessian=springs(a)) for a in training]
        write_labels(folder / "labels.npz", labels, "springs")
        options |= {
            "piwsl_pitc_target": "curvature",
            "piwsl_curvature_file": folder / "labels.npz",
        }
        words = ["none of its 2 structures has a curvature label", "--piwsl_curvature_file"]
    ase.io.write(path, atoms)
    return options, ["--piwsl_unlabeled_file=", *words]


@pytest.mark.parametrize("case", ["element", "force labels", "no file", "no curvature"])
def test_a_wrong_pool_ends_the_run_with_one_message(case, tmp_path, files, capfd):
    options, words = wrong_pool(case, tmp_path, frames("ethanol_gfn2_train", 12))
    with pytest.raises(SystemExit) as ended:
        train(tmp_path / "run", files, **options)
    assert ended.value.code == 2
    message = capfd.readouterr().err.split("mace_run_train: error: ")[1]
    for word in words:
        assert word in message


def test_structures_of_the_pool_without_curvature_label_are_left_out(tmp_path, files, caplog):
    atoms = [bare(a) for a in frames("ethanol_gfn2_valid", 4)]
    ase.io.write(tmp_path / "pool.xyz", atoms)
    labels = [CurvatureLabel(a.numbers, a.positions, hessian=springs(a)) for a in atoms[:3]]
    write_labels(tmp_path / "labels.npz", labels, "springs")
    with caplog.at_level("INFO"):
        train(
            tmp_path / "run",
            files,
            max_num_epochs=1,
            piwsl_pitc_target="curvature",
            piwsl_curvature_file=tmp_path / "labels.npz",
            piwsl_unlabeled_file=tmp_path / "pool.xyz",
        )
    assert "curvature labels for 3 of 4 pool structures" in caplog.text
    assert "curvature labels for 0 of 12 training structures" in caplog.text
    assert np.isfinite(piwsl_lines(tmp_path / "run")[0]["rms_pitc_residual_per_atom"])
