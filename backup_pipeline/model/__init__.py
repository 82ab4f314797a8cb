"""What the product talks about: plain frozen data, no behaviour that touches a disk, a clock or a network.

`schema` describes a database, `manifest` a backup of it, `findings` what a check has to say about
either, `ids` how a backup is named, `canonical` how all of it becomes bytes.
"""
