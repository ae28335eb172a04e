"""The build hook: compiles the hot path into the package, where a compiler is there.

`ATMOST_BUILD` says what is wanted: `auto` (the default: without a working compiler a warning, and a pure wheel), `yes` (then a failure
is an error) or `no`. A wheel without compiled code is tagged py3-none-any, one with it for its platform; a source distribution
contains no compiled code. Nothing but Python and the compiler that it was built with is needed (`CC` names another one).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "native/hot.c"
FLAGS = (
    "-O3",
    "-fPIC",
    "-fno-strict-aliasing",
    "-fvisibility=hidden",
    "-DNDEBUG",
    "-Wall",
    "-Wextra",
    "-Werror=implicit-function-declaration",
)


class NativeHook(BuildHookInterface[Any]):
    """Adds the compiled module to a wheel; into the source tree for an editable one."""

    PLUGIN_NAME = "custom"
    _folder: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles, or leaves the wheel pure.

        Args:
            version: `standard` or `editable`.
            build_data: what the wheel is to contain; see hatchling.
        """
        wanted = os.environ.get("ATMOST_BUILD") or "auto"
        if wanted not in {"auto", "yes", "no"}:
            raise ValueError(f"ATMOST_BUILD={wanted}: expected auto, yes or no")
        root = Path(self.root)
        name = f"_native{sysconfig.get_config_var('EXT_SUFFIX') or '.so'}"
        inside = root / "src" / "atmost" / name
        if version == "editable":
            inside.unlink(missing_ok=True)
        if wanted == "no":
            return
        if version == "editable":
            target = inside
        else:
            self._folder = tempfile.TemporaryDirectory()
            target = Path(self._folder.name) / name
        try:
            compile_native(root / SOURCE, target)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stdout", "") or ""
            if wanted == "yes":
                raise RuntimeError(f"the hot path cannot be compiled: {error}\n{said}") from error
            self.app.display_warning(f"atmost is built without its compiled hot path: {error}\n{said}")
            return
        if version != "editable":
            build_data["force_include"][str(target)] = f"atmost/{name}"
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, *_: object) -> None:
        """Removes what was compiled for the wheel, which has it now; see hatchling."""
        if self._folder is not None:
            self._folder.cleanup()


def compile_native(source: Path, target: Path, *flags: str) -> None:
    """Compiles and links the module; the file appears whole or not at all.

    Args:
        source: its main file.
        target: where the module is wanted.
        flags: for the compiler, besides the usual ones.

    Raises:
        OSError: there is no compiler.
        subprocess.CalledProcessError: it failed; `stdout` is what it said.
    """
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    half = target.with_name(f".{target.name}.{os.getpid()}")
    include = [f"-I{sysconfig.get_path(kind)}" for kind in ("include", "platinclude")]
    try:
        subprocess.run(  # noqa: S603  the compiler that whoever builds has chosen
            [*compiler, *FLAGS, *include, *flags, str(source), "-o", str(half), *link],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        half.replace(target)
    finally:
        half.unlink(missing_ok=True)
