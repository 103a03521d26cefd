"""A page, as its reader takes it in, and a text that would like to be a part of it."""

from html.parser import HTMLParser

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>&'


class Elements(HTMLParser):
    """Tags with their attributes, and all text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open = tag

    def handle_data(self, data):
        if self._open not in ("script", "style"):
            self.text += data
