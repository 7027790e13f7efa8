"""Files of structures that cannot be used, at every place that takes one."""

import pytest

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
#: words of the message on each file
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
    "energy.xyz": ("frame 2", "'REF_energy' is not finite"),
    "forces.xyz": ("frame 2", "'REF_forces' is not finite"),
    "cell.xyz": ("frame 2", "do not span a volume"),
    "no_cell.xyz": ("frame 2", "do not span a volume"),
    "same_place.xyz": ("frame 2", "atoms 4 and 7 are at the same place"),
    "words.xyz": ("frame 2", "'REF_energy' is not numeric"),
    "two_energies.xyz": ("frame 2", "'REF_energy' has 2 numbers, 1 expected"),
    "infinite_stress.xyz": ("frame 2", "'REF_stress' is not finite"),
    "stress.xyz": ("frame 2", "'REF_stress' has 5 numbers, 6 or 9 expected"),
}


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
