"""``python -m piwsl_plugins.mace …`` is ``mace_run_train …`` without the start-up file."""

from piwsl_plugins.mace._hooks import activate


def main() -> None:
    """Hook into MACE, whatever ``PIWSL_PLUGINS_DISABLE`` says, and run its trainer."""
    activate()
    from mace.cli.run_train import main as mace_main

    mace_main()


if __name__ == "__main__":
    main()
