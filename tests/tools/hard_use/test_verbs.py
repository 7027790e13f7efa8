"""Wrong calls of the command itself."""

import pytest

from piwsl_plugins.tools.command import VERBS

from .wrong_calls import wrong

#: a call of each verb that would do, but for what is added
GOOD = {
    "pool": "pool train.xyz --calculator wrong_factories:emt --out new.xyz",
    "select": "select pool.xyz --n 2 --out new.xyz",
    "hessian": "hessian train.xyz --calculator wrong_factories:emt --out new.npz",
    "weak": "weak train.xyz pool.xyz --calculator wrong_factories:emt --models 0 --out new.xyz",
    "report": "report --model a=wrong_factories:emt --data train.xyz --out new",
    "configs": "configs mace/weak --out new.yaml",
}


@pytest.mark.parametrize(
    "call",
    [
        wrong("a misspelt verb", "reprot", "did you mean 'report'?"),
        wrong("no verb of ours", "xyz", "pool, select, hessian, weak, report, configs"),
        wrong("an option as verb", "--model a=b", "there is no such verb"),
        *(
            wrong(f"{verb}: a misspelt option", f"{GOOD[verb]} --wrokers 2", "--wrokers")
            for verb in VERBS
        ),
        *(
            wrong(f"{verb}: without its option", command.rpartition(" --out")[0], "--out")
            for verb, command in GOOD.items()
            if verb not in ("hessian", "configs")
        ),
        *(
            wrong(f"{verb}: {value} workers", f"{GOOD[verb]} --workers {value}", "--workers", value)
            for verb in VERBS
            if verb not in ("report", "configs")
            for value in ("0", "-2", "nan", "two", "1.5")
        ),
        wrong("an unknown executor", f"{GOOD['pool']} --executor slurm", "--executor=slurm", "mpi"),
        wrong(
            "workers of two kinds",
            f"{GOOD['pool']} --executor mpi --workers 4",
            "--workers=4",
            "with --executor=mpi leave it out",
        ),
    ],
)
def test_wrong_calls(call, refused):
    refused(call)
