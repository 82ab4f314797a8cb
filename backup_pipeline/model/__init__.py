"""What the product talks about: plain frozen data, no behaviour that touches a disk, a clock or a network.

`schema` describes a database, `manifest` a backup of it, and `findings` the results of checks. `ids` names backups.
`canonical` turns all of it into bytes.
"""
