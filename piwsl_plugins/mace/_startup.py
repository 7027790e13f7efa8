"""Start-up hook: patches MACE's modules right after they are imported.

The files ``piwsl_plugins.pth`` and ``piwsl_plugins.start`` in site-packages call
:func:`install` at every interpreter start (PEP 829), so this module imports nothing but
``os`` and ``sys``, which Python has loaded by then, not even ``__future__``. Nothing else
happens until MACE itself is imported. ``PIWSL_PLUGINS_DISABLE=1`` switches the hook off;
``python -m piwsl_plugins.mace`` needs no hook.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

#: the modules of MACE that ``piwsl_plugins.mace._hooks`` patches
HOOKED_MODULES = frozenset(
    {
        "mace.data.utils",
        "mace.tools.arg_parser",
        "mace.tools.arg_parser_tools",
        "mace.tools.model_script_utils",
        "mace.tools.run_train_utils",
        "mace.tools.scripts_utils",
        "mace.tools.train",
    }
)


class _Finder:
    """Meta-path finder that lets the ordinary finders work and wraps their loader."""

    @staticmethod
    def find_spec(
        name: str, path: "list[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if name not in HOOKED_MODULES:
            return None
        for finder in _finders():
            if finder is _Finder:
                continue
            spec: ModuleSpec | None = finder.find_spec(name, path, target)
            if spec is not None:
                _patch_after_execution(spec)
                return spec
        return None


def _finders() -> "list[Any]":
    return sys.meta_path


def _patch_after_execution(spec: "ModuleSpec") -> None:
    loader: Any = spec.loader
    execute = getattr(loader, "exec_module", None)
    if execute is None:
        return

    def exec_module(module: "ModuleType") -> None:
        execute(module)
        try:
            from piwsl_plugins.mace._hooks import patch

            patch(module)
        except Exception as error:
            print(
                f"warning: piwsl_plugins could not hook into {spec.name} "
                f"({type(error).__name__}: {error}); MACE works as without it",
                file=sys.stderr,
            )

    loader.exec_module = exec_module


def install() -> None:
    """Install the import hook, unless ``PIWSL_PLUGINS_DISABLE`` is set or it is there already."""
    if os.environ.get("PIWSL_PLUGINS_DISABLE", "0") in ("", "0") and _Finder not in _finders():
        _finders().insert(0, _Finder)
