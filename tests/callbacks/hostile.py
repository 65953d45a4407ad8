"""Names that try to be more than names, and what a viewer makes of a page."""

import warnings
from html.parser import HTMLParser

NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[click](javascript:alert(1))",
    "![pixel](http://evil.example/x.png)",
    "`code` <b onmouseover=alert(1)>`x",
    "\\`<script>alert(2)</script>\\`",
    "``<svg onload=alert(1)>``",
    "a|b|c | d",
    "two\nlines\n\n# heading\n\n* item\n\n[ref]: javascript:alert(1)",
    "tab\tbell\x07 escape\x1b[31m null\x00 end",
    "bidi \u202etxt.exe\u202c \u2066x\u2069",
    "lone \ud800 surrogate",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 caf\u00e9",
    "x" * 250,
    "../../etc/passwd",
    "CON",
    "con",
    "nul.txt",
    "cafe\u0301",
    "&lt;script&gt;&#60;b&#62;",
    "<http://evil.example>",
    "",
    "*bold* __init__ ~~~",
    "${jndi:ldap://evil.example/a} {{7*7}} %s",
)

TAGS = {
    *("html", "head", "meta", "style", "body", "p", "strong", "em", "code", "br", "ul", "li", "hr"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
"""All that our own Markdown can become."""


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    handle_startendtag = handle_starttag


def active_in(page):
    """What a page has that is not on the list: tags, and attributes other than a charset and the side of a cell."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    tags = [tag for tag, _ in reader.found if tag not in TAGS]
    attributes = [(t, k) for t, found in reader.found for k in found if k not in ("charset", "align", "style")]
    return [*tags, *attributes]


def as_tensorboard_shows_it(markdown):
    """The page that TensorBoard's own server makes of a text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TensorBoard's own
        from tensorboard.plugin_util import markdown_to_safe_html

        return markdown_to_safe_html(markdown)
