"""The repository's Markdown pages in the site, with links that lead to pages of the site.

The pages are written for a code-hosting service, where a link to `../lstmp/stage.py` shows that file. In the site, it
leads to the module in the API reference; a link into `conf/` to the configuration reference; a link to a script to its
help. Any other file of the repository that is linked gets a page with its text.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from sitemaker.notebook import as_markdown

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"(^ *(`{3,})[^\n]*\n.*?^ *\2 *$|(`+)[^`\n]+\3)", re.S | re.M)
_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^()\s]+)\)")


@dataclass
class Linked:
    """Files of the repository that pages of the site need: those shown as text, and pictures."""

    texts: set[str] = field(default_factory=set)
    pictures: set[str] = field(default_factory=set)


def site_name(path: str) -> str:
    """The place in the site of a page or picture of the repository. README.md is the front page."""
    special = {"README.md": "index.md", "docs/README.md": "stages.md"}
    return special.get(path, path.removeprefix("docs/")).replace(".ipynb", ".md")


def markdown_pages() -> list[str]:
    """The Markdown pages and notebooks of the repository that belong to the site."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.ipynb"), *ROOT.glob("recipes/**/*.md")]
    return sorted(p.relative_to(ROOT).as_posix() for p in found)


def text_of(path: str) -> str:
    """The Markdown text of a page or notebook."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return as_markdown(text) if path.endswith(".ipynb") else text


def with_links(text: str, path: str, linked: Linked, place: str = "") -> str:
    """Return the Markdown ``text`` with links for the site.

    Args:
        text: a page of the repository.
        path: the page, relative to the repository; its links are relative to it.
        linked: what the page needs is added.
        place: where in the site the page is, if not at ``site_name(path)``.
    """
    here = os.path.dirname(place or site_name(path))

    def rewritten(match: re.Match) -> str:
        picture, words, link = match.groups()
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link) or not target:
            return match[0]
        target = os.path.normpath(os.path.join(os.path.dirname(path), target))
        if not (ROOT / target).exists():
            return match[0]  # Sphinx warns, with file and line
        if picture:
            linked.pictures.add(target)
            return f"![{words}]({os.path.relpath(site_name(target), here)})"
        found = _place(target, anchor, linked)
        return f"[{words}]({found if found.startswith('#') else os.path.relpath(found, here)})"

    codes: list[str] = []  # taken out for the moment: what looks like a link in there is none

    def hide(match: re.Match) -> str:
        codes.append(match[0])
        return f"\0{len(codes) - 1}\0"

    def named(match: re.Match) -> str:
        """A script, module or configuration that is named in code leads to its reference, too."""
        path = codes[int(match[2])].strip("`").removeprefix("./") if match[2] else ""
        if not re.fullmatch(r"(conf|lstmp|steps|local)/[\w/]+\.\w+|\w+\.sh", path) or not (ROOT / path).exists():
            return match[0]
        found = _place(path, "", Linked())
        return f"[{match[0]}]({found})" if found.startswith("#") else match[0]

    text = _LINK.sub(rewritten, CODE.sub(hide, text))
    text = re.sub("(^#.*|\\[[^\\[\\]]*\\]\\([^()\\s]+\\))|\0(\\d+)\0", named, text, flags=re.M)
    return re.sub("\0(\\d+)\0", lambda m: codes[int(m[1])], text)


def _place(target: str, anchor: str, linked: Linked) -> str:
    """What a link to a file or folder of the repository becomes: a page of the site, or a label in a reference."""
    if re.fullmatch(r"lstmp(/\w+)*(\.py)?", target):
        return "#code-" + re.sub(r"(/__init__)?\.py$", "", target).replace("/", "-")
    if re.fullmatch(r"conf/\w+\.yaml", target):
        return f"#conf-{Path(target).stem}"
    if target.endswith(".sh") and target in scripts():
        return f"#{label(target)}"
    if (ROOT / target).is_dir():
        target = next((f"{target}/{n}" for n in ("README.md", "RESULTS.md") if (ROOT / target / n).is_file()), target)
    if target in markdown_pages():
        return site_name(target) + (f"#{anchor}" if anchor else "")
    linked.texts.add(target)
    return f"files/{target}.md"


def scripts() -> list[str]:
    """The scripts of the repository that are called, not sourced."""
    found = [ROOT / "run.sh", ROOT / "transcribe.sh", ROOT / "test.sh", *sorted(ROOT.glob("steps/*.sh")),
             *sorted(ROOT.glob("local/*.sh")), *sorted(ROOT.glob("recipes/**/run.sh"))]
    return [p.relative_to(ROOT).as_posix() for p in found if os.access(p, os.X_OK)]


def label(script: str) -> str:
    """The label of a script in the command reference."""
    return "script-" + script.removesuffix(".sh").replace("/", "-").replace("_", "-")


def page_of_file(path: str) -> str:
    """The page that shows a file of the repository, or the list of files of a folder."""
    languages = {".py": "python", ".sh": "sh", ".yaml": "yaml", ".json": "json", ".cpp": "cpp", ".md": "md"}
    if (ROOT / path).is_dir():
        text = "\n".join(sorted(p.name for p in (ROOT / path).iterdir() if not p.name.startswith((".", "__"))))
    else:
        text = (ROOT / path).read_text(encoding="utf-8")
    language = languages.get(Path(path).suffix, "sh" if text.startswith("#!") else "text")
    return f"---\norphan: true\n---\n\n# {path}\n\n````{language}\n{text.rstrip()}\n````\n"
