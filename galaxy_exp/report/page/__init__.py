"""One self-contained HTML page about a sweep, fit to be sent to a colleague.

`material` is what is known, computed beforehand; `document` makes the page of it. Nothing is imported here.
"""
