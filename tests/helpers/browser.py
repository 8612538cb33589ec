"""The browser of the page tests, and a text that a page must not run."""

import shutil

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

EVIL = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
