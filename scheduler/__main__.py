"""`python -m scheduler` is `virt-scheduler`."""

from .cli.main import main

if __name__ == "__main__":
    main(prog_name="virt-scheduler")
