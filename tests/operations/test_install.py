"""What `make install` and `make uninstall` put below another root; on a booted machine it is in tests/lab."""

import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
BUILT = ".build/wheels/.ready"
CONFIG = "/etc/virt-scheduler/config.toml"
PLACES = {
    CONFIG,
    "/usr/bin/virt-scheduler",
    "/usr/lib/systemd/system/virt-scheduler.service",
    "/usr/lib/sysusers.d/virt-scheduler.conf",
    "/usr/lib/tmpfiles.d/virt-scheduler.conf",
    "/usr/share/bash-completion/completions/virt-scheduler",
    "/usr/share/fish/vendor_completions.d/virt-scheduler.fish",
    "/usr/share/man/man1/virt-scheduler.1.gz",
    "/usr/share/zsh/vendor-completions/_virt-scheduler",
}
"""Where Debian expects them."""
OWN = ("/usr/lib/virt-scheduler/", "/usr/share/doc/virt-scheduler/")
"""Directories in which nobody looks for single files."""

pytestmark = pytest.mark.skipif(not (CHECKOUT / BUILT).exists(), reason="`make wheels` builds what is to be installed")


def make(target: str, root: Path) -> None:
    """Run it for the machine below `root`, with the wheels that there are."""
    command = ["make", "--silent", f"--assume-old={BUILT}", target, f"DESTDIR={root}", "PREFIX=/usr"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def files(root: Path) -> set[str]:
    """All files and links, as the machine will name them."""
    return {f"/{path.relative_to(root)}" for path in root.rglob("*") if path.is_symlink() or not path.is_dir()}


def test_files_are_put_where_debian_expects_them_and_taken_away_but_for_an_edited_config(tmp_path: Path) -> None:
    make("install", tmp_path)
    assert {path for path in files(tmp_path) if not path.startswith(OWN)} == PLACES
    assert "/usr/share/doc/virt-scheduler/copyright" in files(tmp_path)
    search = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", str(tmp_path), str(tmp_path)]
    named = subprocess.run(search, capture_output=True, text=True, check=False)
    assert named.stdout == "", "what is installed names the directory it was staged in"
    default = (tmp_path / CONFIG[1:]).read_text()
    make("uninstall", tmp_path)
    assert files(tmp_path) == set()

    edited = tmp_path / CONFIG[1:]
    edited.parent.mkdir(parents=True, exist_ok=True)
    edited.write_text(default + "# ours\n")
    make("install", tmp_path)
    assert edited.read_text() == default + "# ours\n"
    make("uninstall", tmp_path)
    assert files(tmp_path) == {CONFIG}
