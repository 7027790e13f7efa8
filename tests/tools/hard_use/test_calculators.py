"""Calculators and models that cannot be used, at every place that takes one."""

import importlib.util

import pytest

from .wrong_calls import wrong

pytestmark = pytest.mark.framework

PLACES = {
    "pool": "pool train.xyz --calculator {} --n 3 --equilibration 0 --out new.xyz",
    "hessian": "hessian train.xyz --calculator {} --out new.npz",
    "weak": "weak train.xyz pool.xyz --calculator {} --models 0 --out new.xyz",
    "weak --corrections": "weak train.xyz pool.xyz --cheap_labels cheap.xyz --corrections {} "
    "--out new.xyz",
    "report": "report --model a={} --data train.xyz --parts labels --out new",
}
NAMES = {
    "GFN3-xTB": ("GFN2-xTB", ".model", "module:factory"),
    "train.xyz": ("cannot be told from its name",),
    "weights.pt": (".nequip.pt2",),
    "absent.model": ("there is no file absent.model",),
    "absent.nequip.zip": ("there is no file absent.nequip.zip",),
    "folder_a.model": ("is a folder",),
    "no_such_module:factory": ("no_such_module",),
    "no.such.module:factory": ("No module named",),
    "broken_package.part:factory": ("no licence",),
    "broken_package:factory": ("no licence",),
    "wrong_factories:no_such_factory": ("no_such_factory",),
    "wrong_factories:raises": ("no licence",),
    "wrong_factories:leaves": ("I am a script",),
    "wrong_factories:text": ("gave no ASE calculator",),
    "wrong_factories:wants": ("method",),
    "wrong_factories:number": ("not callable",),
}
_FRAMEWORKS = {"mace": ("a.model",), "nequip": ("a.nequip.zip", "a.nequip.pt2", "a.ckpt")}
HERE = [name for name in _FRAMEWORKS if importlib.util.find_spec(name) is not None]
ELSEWHERE = [name for name in _FRAMEWORKS if name not in HERE]
FILES = [
    f"{kind}_{file}"
    for kind in ("empty", "text", "pickle")
    for name in HERE
    for file in _FRAMEWORKS[name]
]


@pytest.mark.parametrize(
    "call",
    [
        *(
            wrong(f"{place}: {name}", command.format(name), *words)
            for place, command in PLACES.items()
            for name, words in NAMES.items()
        ),
        *(
            wrong(f"{place}: {file}", command.format(file), file, "cannot be loaded")
            for place, command in PLACES.items()
            for file in FILES
        ),
        *(
            wrong(f"{place}: {name} is elsewhere", command.format(f"text_{file}"), file, name)
            for place, command in PLACES.items()
            for name in ELSEWHERE
            for file in _FRAMEWORKS[name][:1]
        ),
        *(
            wrong(f"select: {name}", f"select pool.xyz --n 1 --out new.xyz --model {name}", name)
            for name in ("a:b", "GFN2-xTB", "train.xyz", "absent.model", "folder_a.model", *FILES)
        ),
    ],
)
def test_wrong_calculators(call, refused):
    refused(call)


@pytest.mark.parametrize(
    "call",
    [
        wrong(
            f"{place}: {name}", command.format(f"wrong_factories:{name}"), name, words, exit_code=1
        )
        for place, command in PLACES.items()
        for name, words in {"Failing": "SCF did not converge", "NotFinite": "not finite"}.items()
        if place not in ("report", "weak --corrections") and (place, name) != ("pool", "NotFinite")
    ],
)
def test_calculators_that_fail(call, refused):
    refused(call)
