"""Write the source of the site: python -m sitemaker FOLDER (with docs/ in PYTHONPATH)."""

import shutil
import sys
from pathlib import Path

import yaml

from sitemaker import api, commands, configuration
from sitemaker.pages import ROOT, Linked, markdown_pages, page_of_file, site_name, text_of, with_links


def navigation() -> str:
    """The tables of contents of the front page, as docs/navigation.yaml says."""
    captions = yaml.safe_load((ROOT / "docs/navigation.yaml").read_text(encoding="utf-8"))
    return "".join(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
                   for caption, pages in captions.items())


def contents() -> tuple[dict[str, str], set[str]]:
    """(page, relative to the site's source → its text; pictures, relative to the repository)."""
    linked = Linked()
    made = {site_name(path): with_links(text_of(path), path, linked) for path in markdown_pages()}
    made["index.md"] += navigation()
    made |= {configuration.PAGE: configuration.page(linked), commands.PAGE: commands.page(), **api.pages()}
    made |= {f"files/{path}.md": page_of_file(path) for path in linked.texts}
    return made, linked.pictures


def main(folder: str):
    """Write all pages; those that have not changed keep their time, for Sphinx."""
    out = Path(folder)
    made, pictures = contents()
    for path in out.rglob("*") if out.is_dir() else []:
        if path.is_file() and path.relative_to(out).as_posix() not in {*made, *map(site_name, pictures)}:
            path.unlink()
    for name, text in made.items():
        page = out / name
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
    for picture in pictures:
        target = out / site_name(picture)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / picture, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
