"""The documentation as a site: its links lead somewhere, and it fetches nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*?\bsrc=["'](?:https?:)?//[^"']+"""
    r"""|<link\b(?![^>]*rel=["'](?:canonical|next|prev)["'])[^>]*?href=["'](?:https?:)?//[^"']+"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//[^"');]+"""
    r"""|url\(\s*["']?(?:https?:)?//[^"')]+"""
)


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build with the options that `make docs` builds with."""
    recipe = re.search(r"sphinx-build (.*) docs site", (ROOT / "Makefile").read_text())
    assert recipe
    command = [sys.executable, "-m", "sphinx", *recipe[1].split(), str(docs), str(site)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_site_needs_no_network(tmp_path: Path) -> None:
    done = build(ROOT / "docs", tmp_path)
    assert done.returncode == 0, done.stderr
    pages = [path for ending in ("html", "css") for path in tmp_path.rglob(f"*.{ending}")]
    assert {"index.html", "quickstart.html", "own-tasks.html", "cli.html"} <= {
        p.name for p in pages
    }
    fetched = {path.name: FETCHED.findall(path.read_text(encoding="utf-8")) for path in pages}
    assert {name: found for name, found in fetched.items() if found} == {}


def test_a_link_to_nowhere_is_an_error(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(ROOT / "docs" / "conf.py", docs)
    (docs / "_static").mkdir()
    (docs / "index.md").write_text("# Home\n\n[there](nowhere.md) and [below](#nowhere)\n")
    done = build(docs, tmp_path / "site")
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
    assert "#nowhere" in done.stderr or "'nowhere'" in done.stderr


def test_what_is_fetched_is_found() -> None:
    for text in (
        '<script src="https://a.b/c.js">',
        '<script defer src="//a.b/c.js">',
        '<link rel="stylesheet" href="https://a.b/c.css">',
        "@import url('https://a.b/c.css')",
        "src: url(https://a.b/c.woff2)",
    ):
        assert FETCHED.search(text), text
    assert not FETCHED.search('<a href="https://a.b">b</a> <script src="_static/c.js"></script>')
