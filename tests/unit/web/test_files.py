"""Files that pages load: when they are read."""

from __future__ import annotations

import pytest

from http_api.operations import Media
from http_api.web import dashboard, docs
from http_api.web.files import File
from http_api.web.pages import Page

pytestmark = pytest.mark.unit


def test_a_file_is_read_once_when_it_is_asked_for() -> None:
    read = list[bytes]()

    def content() -> bytes:
        read.append(b"all of it")
        return read[-1]

    file = File(content, Media.HTML)
    assert read == []
    assert not file.is_read
    assert file.content == b"all of it"
    assert file.tag == file.tag
    assert read == [b"all of it"]
    assert file.is_read


@pytest.mark.parametrize("page", [dashboard.PAGE, docs.PAGE], ids=["dashboard", "docs"])
def test_every_file_of_a_page_can_be_read(page: Page) -> None:
    assert page.html.content
    assert [name for name, file in page.loads.items() if not file.content] == []
