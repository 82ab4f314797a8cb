"""The making of backups: rows first, then files, then the manifest.

`making` is the order of the steps, `baselines` finds what an earlier backup holds already, `rekey` brings the newest backup
under other recipients. The reading of rows belongs to databases/, the reading of trees to files/.
"""
