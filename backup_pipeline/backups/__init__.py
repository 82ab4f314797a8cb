"""The making of backups: rows first, then files, then the manifest.

Belongs here: `making` has the order of the steps, `baselines` finds content that an earlier backup has, `rekey` brings
the newest backup under other recipients. Not here: the reading of rows (`databases`) and of file trees (`files`).
"""
