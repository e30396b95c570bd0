"""Whether a device trains as the CPU does, and how fast: what a user of a new one runs first.

`checks` are what a worker tries, `suite` runs them one after the other, and `report` writes what
was found: a JSON document and a page.
"""
