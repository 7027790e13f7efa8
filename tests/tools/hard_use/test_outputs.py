"""Names for what is written that cannot be: taken, a folder, in a file, or what is read."""

import pytest

from .test_options import CHEAP
from .test_verbs import GOOD
from .wrong_calls import table, wrong

POOL, SELECT, _, WEAK, REPORT, _ = GOOD.values()
#: where each option that names a file stands, and the ending of the name
FILES = {
    "pool train.xyz --calculator wrong_factories:emt --out": "xyz",
    f"{POOL} --figure": "png",
    "select pool.xyz --n 1 --out": "xyz",
    f"{SELECT} --rest": "xyz",
    f"{SELECT} --figure": "png",
    "hessian train.xyz --calculator wrong_factories:emt --out": "npz",
    "hessian train.xyz --from_frames --out": "npz",
    "hessian --from_output text.txt --out new.npz --frames": "xyz",
    "weak train.xyz pool.xyz --calculator wrong_factories:emt --models 0 --out": "xyz",
}
CASES = {
    "exists": ("taken.{}", "taken.{}", "--overwrite"),
    "is a folder": ("folder.{}", "folder.{}"),
    "is a folder, over it": ("folder.{} --overwrite", "folder.{} is a folder"),
    "is in a file": ("taken.xyz/new.{}", "taken.xyz is a file, not a folder"),
}
#: the same files by other names are read too
READ = """
    frames of dynamics | pool train.xyz --calculator a:b --out ./things/../train.xyz --overwrite
    excluded frames    | pool train.xyz --calculator a:b --exclude a.xyz --out a.xyz --overwrite
    a pool             | select pool.xyz --n 1 --out things/../pool.xyz --overwrite
    a pool, as rest    | select pool.xyz --n 1 --out new.xyz --rest pool.xyz --overwrite
    labelled frames    | select pool.xyz --n 1 --given train.xyz --out train.xyz --overwrite
    frames             | hessian train.xyz --calculator a:b --out train.xyz --overwrite
    frames to convert  | hessian train.xyz --from_frames --out train.xyz --overwrite
    a job              | hessian --from_output text.txt --out text.txt --overwrite
    a job, as frames   | hessian --from_output a.xyz --out new.npz --frames a.xyz --overwrite
    training frames    | weak a.xyz b.xyz --calculator a:b --models 0 --out a.xyz --overwrite
    a pool to label    | weak a.xyz b.xyz --calculator a:b --models 0 --out b.xyz --overwrite
    cheap labels       | weak train.xyz pool.xyz --cheap_labels cheap.xyz --models 0 --out cheap.xyz
"""
OTHERS = table(
    "",
    f"""
    one name for two  | hessian --from_output text.txt --out new.npz --frames new.npz | different
    a pool's kind     | pool train.xyz --calculator a:b --out new.traj | new.traj | .xyz
    a choice's kind   | select pool.xyz --n 1 --out new.traj | new.traj | .xyz
    a rest's kind     | {SELECT} --rest new.traj | new.traj | .xyz
    weak labels' kind | weak train.xyz pool.xyz --calculator a:b --models 0 --out new.npz | .xyz
    a pool's figure   | {POOL} --figure new.txt | --figure=new.txt | .png
    a choice's figure | {SELECT} --figure new.txt | --figure=new.txt | .png
    stages in a file  | {WEAK} --folder text.txt | text.txt is a file
    stages elsewhere  | {WEAK} --folder things | things | another
    anew, elsewhere   | {WEAK} --folder things --overwrite | things | another
    a report          | report --model a=a:b --data train.xyz --out text.txt | --out=text.txt
    a joint report    | report merge report_a --out text.txt | --out=text.txt
    curves            | report training log_train.txt --out text.txt | --out=text.txt
    """,
)


@pytest.mark.parametrize(
    "call",
    [
        *(
            wrong(f"{command.split()[0]} {command.split()[-1]} {what}", f"{command} {name}", *words)
            for command, ending in FILES.items()
            for what, case in CASES.items()
            for name, *words in [[part.format(ending) for part in case]]
        ),
        *table("", "".join(f"{line} | is read\n" for line in READ.strip().splitlines())),
        *OTHERS,
    ],
)
def test_outputs(call, refused):
    refused(call)


def test_a_wrong_calculator_replaces_nothing(user_folder, refused, capfd):
    """Also where the user wants what is there replaced."""
    wrongly = [
        wrong("", f"{CHEAP.replace('new', 'taken')} --models 0 --overwrite --head a", "--head"),
        *(
            wrong("", f"{command} taken.{end} --overwrite".replace(":emt", ":raises"), "no licence")
            for command, end in FILES.items()
            if command.endswith("--out") and ":emt" in command
        ),
    ]
    for row in wrongly:
        refused(*row.values)
