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
