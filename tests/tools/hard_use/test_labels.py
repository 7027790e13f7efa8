"""Hessian labels, finished jobs, training logs and reports that cannot be used."""

import pytest

from .test_verbs import GOOD
from .wrong_calls import table, wrong

LABELS = table(
    f"{GOOD['report']} --hessians",
    """
    absent           | absent.npz | there is no such file
    a folder         | folder.npz | folder.npz
    empty            | empty.npz | empty.npz
    text             | text.npz | text.npz
    truncated        | cut.npz | cut.npz
    truncated HDF5   | cut.h5 | cut.h5
    another npz      | other.npz | piwsl-hessian
    pickled objects  | trap.npz | trap.npz | allow_pickle
    a pickle         | labels.pkl | labels.pkl
    a size           | size.npz | label 1 | (26, 26)
    asymmetric       | asymmetric.npz | label 1 | not symmetric
    not finite       | infinite.npz | label 1 | not all finite
    words            | words.npz | label 1 | its hessian are no numbers
    in hartree       | hartree.npz | label 1 | hartree
    how many         | count.npz | count.npz
    no number        | without_count.npz | without_count.npz
    no labels        | train.xyz | REF_hessian
    a size in frames | hessian_size.xyz | frame 0 | (27, 27)
    words in frames  | hessian_words.xyz | frame 0 | REF_hessian
    """,
)
#: files that are not what an option of ``piwsl hessian`` or ``piwsl report`` reads
OTHERS = {
    "hessian --from_frames --out new.npz": ("hessian_size.xyz", "hessian_words.xyz", "train.xyz"),
    f"{GOOD['report']} --phonons": (
        *("absent.yaml", "text.yaml", "binary.yaml", "folder.yaml", "trap.yaml", "trap.npz"),
    ),
    "hessian --out new.npz --from_phonopy": (
        *("absent.yaml", "text.yaml", "binary.yaml", "folder.yaml", "trap.yaml"),
    ),
    "hessian --out new.npz --from_output": (
        *("absent.fchk", "text.txt", "empty.fchk", "text.fchk", "binary.hess", "text.hess"),
        *("empty.hess", "folder.hess", "train.xyz", "labels.pkl"),
    ),
    "hessian --out new.npz train.xyz --index 0 --delta 0.01 --from_vibrations": (
        *("absent", "text.txt", "things", "empty.json", "list.json"),
    ),
    "hessian --out new.npz train.xyz --delta 0.01 --supercell 1 1 1 --from_phonons": (
        *("absent", "things", "text.txt"),
    ),
}
UNFINISHED = table(
    "hessian train.xyz --calculator wrong_factories:emt",
    """
    other settings | --step 0.01 --out labels.npz | labels.npz | step is | --overwrite
    fewer frames   | --index :1 --out labels.npz | 1 frames | --overwrite
    a damaged part | --out damaged.npz | damaged.npz.partial | remove it
    """,
)
LOGS = table(
    "report training --out new",
    """
    absent         | absent.txt | absent.txt | there is no such file
    without logs   | things | things | *_train.txt
    empty          | empty_train.txt | no training record
    no error       | eval_train.txt | eval_train.txt line 1
    an epoch       | epoch_train.txt | epoch_train.txt line 1
    a loss         | loss_train.txt | loss_train.txt line 1
    words          | words_train.txt | words_train.txt line 1
    a list         | list_train.txt | list_train.txt line 1
    binary         | binary_train.txt | binary_train.txt line 1
    empty CSV      | empty.csv | empty.csv: cannot be read
    binary CSV     | binary.csv | binary.csv: cannot be read
    words in CSV   | words.csv | words.csv line 2
    another CSV    | other.csv | no column 'epoch'
    one twice      | metrics.csv metrics.csv | given twice
    none           | | logs
    """,
)
REPORTS = table(
    "report merge",
    """
    no report           | things --out new | things | not a report
    absent              | absent --out new | absent | not a report
    a file              | text.txt --out new | text.txt | not a report
    none                | --out new | reports
    into itself         | report_a --out things/../report_a | new folder
    a model twice       | report_a report_a --out new | model 'a'
    measured otherwise  | report_a report_other --out new | report_other | measured differently
    other data          | report_a report_data --out new | other frames
    a damaged index     | report_index --out new | index.json
    an index of a list  | report_list --out new | index.json
    another version     | report_format --out new | format 9
    no models           | report_bare --out new | index.json: it is damaged
    a part that is gone | report_gone --out new | a.json
    an empty part       | report_part --out new | a.json: it is damaged
    """,
)


@pytest.mark.parametrize(
    "call",
    [
        *LABELS,
        *(
            wrong(f"{command.split()[-1]} {file}", f"{command} {file}", file)
            for command, files in OTHERS.items()
            for file in files
        ),
        *UNFINISHED,
        *LOGS,
        *REPORTS,
    ],
)
def test_files(call, refused, user_folder):
    if {"--phonons", "--from_phonopy"} & set(call.command.split()):
        pytest.importorskip("phonopy", reason="these files are read through phonopy")
    refused(call)
    assert not (user_folder / "executed").exists()
