"""No module of the package reads anything that could run code, or starts a shell. Snippets show that this is seen."""

import ast
from pathlib import Path

import pytest

import camdebug

SOURCES = sorted(Path(camdebug.__file__).parent.rglob("*.py"))
BANNED_MODULES = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "xml", "subprocess", "imp", "runpy"}
BANNED_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.hub.load", "torch.jit.load"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.package.PackageImporter"),
}
"""``pickle.dumps`` is none: it only asks whether something can follow into another process."""


def dangers_in(source):
    """What a module does that could run what it reads: ``(line, what)``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, f"import {a.name}") for a in node.names if a.name.split(".")[0] in BANNED_MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}" for a in node.names]
            found += [(node.lineno, f"import {node.module}")] * ((node.module or "").split(".")[0] in BANNED_MODULES)
            found += [(node.lineno, name) for name in names if name in BANNED_CALLS]
        elif isinstance(node, ast.Call):
            found += [(node.lineno, what) for what in dangers_of_call(node)]
    return found


def dangers_of_call(call):
    name = ast.unparse(call.func)
    options = {k.arg: ast.unparse(k.value) for k in call.keywords}
    if name in BANNED_CALLS:
        yield name
    if name == "torch.load" and options.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if name.rpartition(".")[2] == "load" and options.get("allow_pickle", "False") != "False":
        yield "allow_pickle"
    if options.get("shell", "False") != "False":
        yield "shell"


@pytest.mark.parametrize("module", SOURCES, ids=lambda path: path.relative_to(SOURCES[0].parent).as_posix())
def test_no_module_reads_what_could_run(module):
    assert dangers_in(module.read_text(encoding="utf-8")) == []


def test_all_modules_are_looked_at():
    assert len(SOURCES) > 100


@pytest.mark.parametrize(
    "snippet",
    [
        "import pickle\npickle.loads(b'')",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "eval('1')",
        "exec('1')",
        "import yaml",
        "import marshal",
        "import shelve",
        "import xml.etree.ElementTree as ET",
        "from xml.etree import ElementTree",
        "import subprocess",
        "import os\nos.system('ls')",
        "run('ls', shell=True)",
    ],
)
def test_each_danger_is_seen(snippet):
    assert dangers_in(snippet) != []


HARMLESS = ["pickle.dumps(1)", "torch.load('x', weights_only=True)", "np.load('x')", "re.compile('x')"]


@pytest.mark.parametrize("snippet", HARMLESS)
def test_what_is_harmless_is_not(snippet):
    assert dangers_in(snippet) == []
