"""Services that are both a store and a source of files: AWS and Dropbox.

Belongs here: signing in, secrets, and the meaning of their errors; one file a service. Not here: reading and writing
content (`stores`, `files/sources`).
"""
