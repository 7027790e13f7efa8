"""Files of structures that cannot be used, at every place that takes one."""

import shlex

import pytest

from piwsl_plugins.tools.command import main

from .wrong_calls import wrong

EMT = "--calculator wrong_factories:emt"
#: what the option or argument is, and a call with it
PLACES = {
    "pool": f"pool {{}} {EMT} --out new.xyz",
    "pool --exclude": f"pool train.xyz --exclude {{}} {EMT} --out new.xyz",
    "select": "select {} --n 1 --out new.xyz",
    "select --given": "select pool.xyz --given {} --n 1 --out new.xyz",
    "hessian": f"hessian {{}} {EMT} --out new.npz",
    "hessian --from_frames": "hessian {} --from_frames --out new.npz",
    "weak TRAIN": f"weak {{}} pool.xyz {EMT} --until cheap --out new.xyz",
    "weak POOL": f"weak train.xyz {{}} {EMT} --until cheap --out new.xyz",
    "weak --cheap_labels": "weak train.xyz pool.xyz --cheap_labels {} --until cheap --out new.xyz",
    "report --data": "report --model a=wrong_factories:emt --data {} --out new",
    "report --path": "report --model a=wrong_factories:emt --data train.xyz --path p={} --out new",
}
#: words of the message on each file, wherever it is given
FILES = {
    "absent.xyz": ("there is no",),
    "folder.xyz": ("is a folder",),
    "empty.xyz": ("the file is empty",),
    "binary.xyz": ("ASE cannot read this",),
    "text.txt": ("ASE cannot read this",),
    "number.xyz": (),
    "oops.xyz": ("Oops",),
    "cut.xyz": ("frame 7", "ASE cannot read this"),
    "no_atoms.xyz": ("frame 1",),
    "position.xyz": ("frame 2", "the position of atom 4 is not finite"),
    "cell.xyz": ("frame 2", "do not span a volume"),
    "no_cell.xyz": ("frame 2", "do not span a volume"),
    "same_place.xyz": ("frame 2", "atoms 4 and 7 are at the same place"),
}
#: where labels are read, and judged
READ = ("weak TRAIN", "weak --cheap_labels", "report --data", "report --path")
LABELS = {
    "forces.xyz": ("frame 2", "'REF_forces' is not finite"),
    "words.xyz": ("frame 2", "'REF_energy' is not numeric"),
    "two_energies.xyz": ("frame 2", "'REF_energy' has 2 numbers, 1 expected"),
    "infinite_stress.xyz": ("frame 2", "'REF_stress' is not finite"),
    "stress.xyz": ("frame 2", "'REF_stress' has 5 numbers, 6 or 9 expected"),
}
#: a label that is NaN as a whole is none, which matters where each frame must have one
LACKING = {"weak TRAIN": "energy.xyz", "report --data": "energy.xyz"}


@pytest.mark.parametrize(
    "call",
    [
        wrong(f"{place}: {file}", command.format(file), file, *words)
        for place, command in PLACES.items()
        for file, words in FILES.items()
    ],
)
def test_wrong_files(call, refused):
    refused(call)


@pytest.mark.parametrize(
    "call",
    [
        wrong(f"{place}: {file}", PLACES[place].format(file), file, *words)
        for place in READ
        for file, words in LABELS.items()
    ]
    + [
        wrong(f"{place}: {file}", PLACES[place].format(file), file, "frame 2", "no energy under")
        for place, file in LACKING.items()
    ],
)
def test_wrong_labels(call, refused):
    refused(call)


#: where structures alone are read
UNREAD = {
    "select": "select {} --n 1 --out new.xyz",
    "hessian": f"hessian {{}} --index :1 {EMT} --out new.npz",
}


@pytest.mark.parametrize("file", ["energy.xyz", *LABELS])
@pytest.mark.parametrize("place", UNREAD)
def test_labels_that_are_not_read_are_not_judged(place, file, user_folder, tmp_path):
    write_to = UNREAD[place].format(file).replace(" new.", f" {tmp_path}/new.")
    assert main(shlex.split(write_to)) == 0
