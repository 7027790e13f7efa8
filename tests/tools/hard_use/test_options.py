"""Options that cannot be used, alone or together."""

import pytest

from .test_verbs import GOOD
from .wrong_calls import table, wrong

POOL, SELECT, HESSIAN, WEAK, REPORT, _ = GOOD.values()
CHEAP = "weak train.xyz pool.xyz --cheap_labels cheap.xyz --out new.xyz"
DIVIDED = f"{CHEAP} --until correction"
#: values that an option does not take; of lists the first one is to be named
VALUES = {
    f"{POOL} --temperatures": ("0", "-300", "nan", "inf", "warm", "300 300"),
    f"{POOL} --n": ("0", "-1", "1.5", "many"),
    f"{POOL} --spacing": ("0", "0.2", "nan", "-1"),
    f"{POOL} --timestep": ("0", "21", "-1", "nan"),
    f"{POOL} --equilibration": ("-1", "nan", "inf"),
    f"{POOL} --per_run": ("0", "-1"),
    f"{POOL} --friction": ("0", "-1", "nan"),
    f"{POOL} --pressure": ("nan", "inf", "high"),
    f"{POOL} --seed": ("-1", "0.5"),
    f"{POOL} --index": ("7:3", "99", "frames", "1:2:3:4", "::0"),
    f"{SELECT} --n": ("-1", "7", "1.5", "many"),
    f"{SELECT} --cutoff": ("1", "13", "nan", "-3", "far"),
    f"{SELECT} --seed": ("-1", "x"),
    f"{SELECT} --method": ("best",),
    f"{HESSIAN} --step": ("0", "-0.01", "0.2", "nan", "small"),
    f"{HESSIAN} --max_hessian_atoms": ("-1", "1.5"),
    f"{HESSIAN} --probes": ("0", "-3"),
    f"{HESSIAN} --max_displacement": ("0", "2", "nan"),
    f"{HESSIAN} --seed": ("-1",),
    f"{HESSIAN} --index": ("5:5", "99", "frames", "1:2:3:4", "::0"),
    f"{HESSIAN} --expect": ("maximum",),
    f"{DIVIDED} --models": ("-1", "9", "101", "nan", "1.5"),
    f"{DIVIDED} --held_out": ("-1", "8", "5"),
    f"{DIVIDED} --seed": ("-1",),
    f"{REPORT} --epsilons": ("0", "0.9", "nan", "0.1 0.1"),
    f"{REPORT} --md_length": ("0", "-1", "nan"),
    f"{REPORT} --timestep": ("0", "nan"),
    f"{REPORT} --temperatures": ("0", "-10"),
    f"{REPORT} --stretch": ("2 1", "0.5", "0.5 1 2", "-1 2"),
    f"{REPORT} --bond_factor": ("1.1", "-1", "nan"),
    f"{REPORT} --scan_points": ("4",),
    f"{REPORT} --resamples": ("99", "1e3"),
    f"{REPORT} --max_frames": ("-1",),
    f"{REPORT} --parts": ("label", "labels phonons"),
    f"{REPORT} --dtype": ("float16",),
    f"{REPORT} --ensembles": ("nvt",),
    f"{REPORT} --energy_key": ("energy_dft", "''"),
    f"{REPORT} --forces_key": ("forces_dft",),
}


@pytest.mark.parametrize(
    "call",
    [
        wrong(
            f"{command.split()[0]} {command.split()[-1]} {value}",
            f"{command} {value}" if " " in value else f"{command}={value}",
            command.split()[-1],
            value.strip("'").partition(" ")[0],
        )
        for command, values in VALUES.items()
        for value in values
    ],
)
def test_values(call, refused):
    refused(call)


POOL_CALLS = table(
    "pool --calculator wrong_factories:emt --out new.xyz",
    """
    too few structures      | train.xyz --n=2 | --n=2 | the temperatures, 3
    pressure without cells  | train.xyz --pressure 0 | train.xyz frame 0 | --index
    all of it held out      | train.xyz --exclude train.xyz | (0 single atoms, 8 frames
    single atoms            | single.xyz | no frame to begin at (2 single atoms
    """,
) + table(
    POOL,
    """
    too long a time step | --timestep 15 --spacing 150 --n 3 --equilibration 0 | try --relax
    relaxed before       | --timestep 15 --spacing 150 --n 3 --equilibration 0 --relax | try a short
    """,
    exit_code=1,
)
SELECT_CALLS = table(
    "select",
    """
    a head of no model | pool.xyz --n 1 --out new.xyz --head a | --head
    two cut-offs       | pool.xyz --n 1 --out new.xyz --cutoff 4 --model a.model | that of SOAP
    nothing to judge   | pool.xyz --n 0 | --n=0 | --given
    nothing to write   | pool.xyz --n 2 | --n=2 needs --out
    nothing chosen     | pool.xyz --n 0 --given train.xyz --out new.xyz | --out
    chosen from none   | train.xyz --n 1 --given train.xyz --out new.xyz | --n=1
    one file twice     | pool.xyz --n 1 --out new.xyz --rest new.xyz | must be different
    """,
)
FINISHED = "train.xyz --from_frames --out new.npz"
PHONONS = "train.xyz --from_phonons things"
HESSIAN_CALLS = table(
    "hessian",
    f"""
    no source            | train.xyz | none is given
    two sources          | train.xyz --calculator a:b --from_frames | --calculator and --from_frames
    no frames            | --calculator a:b | needs a file of structures
    single atoms         | single.xyz --calculator a:b | single.xyz
    no name              | --from_output job.fchk | give --out
    delta to measure     | train.xyz --calculator a:b --delta 0.01 | --delta | --calculator
    supercell to measure | train.xyz --calculator a:b --supercell 2 2 2 | --supercell
    frames to measure    | train.xyz --calculator a:b --frames new.xyz | --frames
    index of all         | {FINISHED} --index :2 | --index | --from_frames
    step of what is done | {FINISHED} --step 0.01 | --step | --from_frames
    workers for nothing  | {FINISHED} --workers 2 | --workers | --from_frames
    failures of nothing  | {FINISHED} --skip_failed | --skip_failed | --from_frames
    head of nothing      | {FINISHED} --head a | --head | --from_frames
    no supercell         | {PHONONS} | --supercell
    no displacement      | {PHONONS} --supercell 2 2 2 | --delta
    half a supercell     | {PHONONS} --supercell 2 0 2 --delta 0.01 | --supercell
    no number            | train.xyz --from_vibrations things --delta nan | --delta=nan
    DATA of phonopy      | train.xyz --from_phonopy text.yaml --out new.npz | leave DATA out
    """,
) + table(
    "hessian",
    "unknown element | uranium.xyz --calculator wrong_factories:emt --index 2 | xyz frame 2",
    exit_code=1,
)
WEAK_CALLS = table(
    CHEAP,
    """
    two cheap methods  | --calculator wrong_factories:emt | both are given
    no correction      | | the corrections need --train
    a head of labels   | --head a --models 0 | --head
    two corrections    | --train x --corrections a.model | both are given
    corrections of 0   | --models 0 --train 'x {train}' | --models=0 uses no corrections
    a stage of 0       | --models 0 --until train | --models=0 has no stage 'train'
    no such stage      | --until end | --until
    a script           | --train 'python train.py' | {train} {valid} {seed} {folder} {name}
    no command         | --train '' | --train
    half a quotation   | --train 'python "train.py' | --train
    an absent command  | --train 'no_such {train} {seed} {folder}' | there is no command no_such
    an absent config   | --train 'python a.yaml {train} {seed} {folder}' | there is no file a.yaml
    """,
) + table(
    "weak --out new.xyz",
    """
    no cheap method     | train.xyz pool.xyz | neither is given
    labels of others    | train.xyz pool.xyz --cheap_labels path.xyz --until cheap | train.xyz
    cheap ones without  | train.xyz pool.xyz --cheap_labels pool.xyz --until cheap | --energy_key
    an energy missing   | without_energy.xyz pool.xyz --cheap_labels cheap.xyz --until cheap | 2
    another element     | train.xyz uranium.xyz --cheap_labels cheap.xyz --models 0 | U
    nothing to label    | train.xyz train.xyz --cheap_labels cheap.xyz --models 0 | nothing to label
    energies in hartree | hartree.xyz pool.xyz --cheap_labels cheap.xyz --until cheap | hartree
    positions in bohr   | train.xyz bohr.xyz --cheap_labels cheap.xyz --models 0 | 0.529177
    """,
)
MODEL = "--model a=wrong_factories:emt --out new"
REPORT_CALLS = table(
    "report",
    f"""
    a model without name | --model a.model --data train.xyz --out new | NAME=PATH
    a strange name       | --model a/b=x.model --data train.xyz --out new | NAME=PATH
    one name twice       | {MODEL} --data train.xyz --model a=a:b | 'a' is given twice
    a head of nobody     | {MODEL} --data train.xyz --head b=x | no model 'b'
    a head twice         | {MODEL} --data train.xyz --head a=x --head a=y | 'a' is given twice
    a path without name  | {MODEL} --data train.xyz --path path.xyz | --path | NAME=VALUE
    a path twice         | {MODEL} --data train.xyz --path p=a --path p=b | 'p' is given twice
    two molecules        | {MODEL} --data train.xyz --path p=path.xyz | path.xyz frame 2
    a short path         | {MODEL} --data train.xyz --path p=single.xyz | at least 3 frames
    vibrations of none   | {MODEL} --data train.xyz --parts vibrations | --hessians
    no data              | {MODEL} --data | --data
    no label at all      | {MODEL} --data pool.xyz | pool.xyz frame 0 | --energy_key
    an energy missing    | {MODEL} --data without_energy.xyz | frame 2 | REF_energy | --energy_key
    forces missing       | {MODEL} --data without_forces.xyz | frame 2 | REF_forces | --forces_key
    another name         | {MODEL} --data other_keys.xyz | frame 2 | REF_energy | --energy_key
    """,
) + table(
    "report --model a=wrong_factories:emt --out new --data",
    """
    unknown element, labels   | uranium.xyz --parts labels | 'a' | uranium.xyz frame 2
    unknown element, dynamics | uranium_first.xyz --parts dynamics --md_length 0.01 | frame 0 | 'a'
    """,
    exit_code=1,
)


@pytest.mark.parametrize(
    "call", [*POOL_CALLS, *SELECT_CALLS, *HESSIAN_CALLS, *WEAK_CALLS, *REPORT_CALLS]
)
def test_combinations(call, refused):
    refused(call)
