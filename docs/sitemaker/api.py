"""The API reference: a page for each room of the package, from the docstrings of its modules."""

import lstmp
from sitemaker.pages import ROOT

HEAD = """.. _code-lstmp:

API
===

The names that ``lstmp`` itself offers are those that programs should use (:doc:`/python`). The rooms below have all
modules of the package; they may change from release to release.

.. toctree::
   :hidden:

{toctree}

.. automodule:: lstmp

"""


def _heading(title: str, line: str, name: str) -> str:
    return f".. _code-{name.replace('.', '-')}:\n\n{title}\n{line * len(title)}\n\n"


def _module(name: str) -> str:
    return f".. automodule:: {name}\n   :members:\n\n"


def pages() -> dict[str, str]:
    """Page, relative to the site's source → its text, as reStructuredText."""
    package = ROOT / "lstmp"
    rooms = ["", *sorted(p.parent.name for p in package.glob("*/__init__.py"))]
    toctree = "\n".join(f"   api/{room or 'all_rooms'}" for room in rooms)
    first = HEAD.format(toctree=toctree)
    for name in sorted(lstmp.__all__):
        kind = "autoclass" if isinstance(getattr(lstmp, name), type) else "autofunction"
        first += f".. {kind}:: lstmp.{name}\n   :no-index:\n" + "   :members:\n\n" * (kind == "autoclass") + "\n"
    made = {"reference/api.rst": first}
    for room in rooms:
        folder = package / room
        name = f"lstmp.{room}" if room else "lstmp"
        if room:
            text = _heading(f"lstmp.{room}", "=", name) + f".. automodule:: {name}\n\n"
        else:
            text = "For all rooms\n=============\n\n"
        for path in sorted(folder.rglob("*.py") if room else folder.glob("*.py")):
            if path == folder / "__init__.py" or path.name == "__main__.py":
                continue
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            text += _heading(module.removeprefix(name + "."), "-", module) + _module(module)
        made[f"reference/api/{room or 'all_rooms'}.rst"] = text
    return made
