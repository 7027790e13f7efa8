"""MACE models that are built once in a process: building one takes a second, copying it a tenth.

Of models that differ, e3nn's generated functions are the same, and compiled once, too.
"""

import copy
import functools
import pickle
from unittest import mock

import torch
from e3nn.util.codegen import CodeGenMixin
from mace import modules
from opt_einsum_fx import jitable

_built = {}
_scripted = {}


def build_once(kind, **config):
    """A model of this class, as its constructor would make it at this state of torch.

    What the constructor does to torch's random numbers is done here, too.
    """
    state = torch.get_rng_state()
    key = pickle.dumps((kind, config, torch.get_default_dtype(), state.numpy()))
    if key not in _built:
        with mock.patch.object(CodeGenMixin, "_codegen_register", _register):
            _built[key] = kind(**config), torch.get_rng_state()
    model, state = _built[key]
    torch.set_rng_state(state)
    return copy.deepcopy(model)


def _register(self, functions):
    """As e3nn 0.4.4 (e3nn/util/codegen/_mixin.py), which compiles them for each module anew."""
    self.__codegen__ = [*getattr(self, "__codegen__", ()), *functions]
    for name, graph in functions.items():
        constants = {key: value.numpy() for key, value in graph.state_dict().items()}
        key = graph.code, pickle.dumps(constants)
        if key not in _scripted:
            _scripted[key] = torch.jit.script(jitable(graph))
        setattr(self, name, copy.deepcopy(_scripted[key]))


class ModelsBuiltOnce:
    """``mace.modules`` as MACE's trainer sees it in this process."""

    def __getattr__(self, name):
        found = getattr(modules, name)
        is_model = isinstance(found, type) and issubclass(found, modules.MACE)
        return functools.partial(build_once, found) if is_model else found
