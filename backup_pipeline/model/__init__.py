"""The nouns of the product: plain frozen data, without a disk, a clock or a network.

Belongs here: `schema` describes a database, `manifest` a backup of it, and `findings` the results of checks. `ids` names
backups. `orders` are the settings of a verb. `canonical` turns data into bytes. Not here: work.
"""
