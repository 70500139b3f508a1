# SPDX-License-Identifier: Apache-2.0
"""The documents say what the code says, and lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip('torch')  # The table of policies asks what they offer.

from tools.docs import blocks

ROOT = blocks.ROOT
PAGES = [path for path in blocks.documents() if path.exists()]
LINK = re.compile(r'\]\(([^)#:\s]+)(?:#[^)]*)?\)')


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.name)
def test_generated_blocks_are_what_the_code_says(path: Path) -> None:
    text = path.read_text(encoding='utf-8')
    assert text.count('<!-- generated: ') == text.count('<!-- /generated -->')
    assert blocks.rewritten(text) == text, 'stale; run `make docs`'


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    missing = [
        link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()
    ]
    assert missing == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / 'README.md').read_text().splitlines()) <= 120


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / 'docs' / 'README.md').read_text()
    pages = {path.name for path in (ROOT / 'docs').glob('*.md')} - {'README.md'}
    assert {name for name in pages if f']({name})' not in index} == set()


def test_a_stale_block_is_found_and_a_foreign_command_refused() -> None:
    text = '<!-- generated: async-chunking version -->\n0.0.0\n<!-- /generated -->'
    assert '0.0.0' not in blocks.rewritten(text)
    with pytest.raises(blocks.DocumentError, match="'rm'"):
        blocks.output('rm -r /')
