"""The Flower app that a run is submitted as: three small files that lead back to our code.

A node runs what is in a bundle, so it should hold next to nothing: both ends import what is
installed beside them, and no package is asked for.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

PROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "tasco"
version = "1.0.0"
description = "Federated rounds of charging sites"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>=1.41"]

[tool.flwr.app]
publisher = "tasco"
fab-format-version = 1
flwr-version-target = "1.41.0"

[tool.flwr.app.components]
serverapp = "tasco_app.server:app"
clientapp = "tasco_app.client:app"

[tool.flwr.app.config]
{settings}
"""
SERVER = '''"""Conducts the rounds."""

from backend.adapters.federation.server_app import make_server_app
from {module} import {function}

app = make_server_app({function})
'''
CLIENT = '''"""Takes part in the rounds."""

from backend.adapters.federation.site import app

__all__ = ["app"]
'''
LICENSE = "All rights reserved.\n"
REFERENCE = re.compile(r"([a-zA-Z_][\w.]*):([a-zA-Z_]\w*)")


def write_app(folder: Path, conduct: str, settings: Mapping[str, str]) -> Path:
    """Write the app into a new folder; equal arguments make an equal bundle.

    Raises:
        ValueError: If `conduct` is not `package.module:function`.
    """
    found = REFERENCE.fullmatch(conduct)
    if found is None:
        raise ValueError("What conducts is named as package.module:function.")
    # A JSON string is a TOML string too.
    lines = [f"{json.dumps(name)} = {json.dumps(settings[name])}" for name in sorted(settings)]
    files = {
        "pyproject.toml": PROJECT.format(settings="\n".join(lines)),
        "LICENSE": LICENSE,
        "tasco_app/__init__.py": "",
        "tasco_app/server.py": SERVER.format(module=found[1], function=found[2]),
        "tasco_app/client.py": CLIENT,
    }
    (folder / "tasco_app").mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder
