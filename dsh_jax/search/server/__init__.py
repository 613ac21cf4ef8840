"""`search.py serve`: an HTTP API and a page for indexes.

`service` answers for one index, `thumbnails` keeps small pictures of its items, `guard` admits
requests within `limits`, `app` is the API, and page.html, page.css and page.js are the page.
"""
