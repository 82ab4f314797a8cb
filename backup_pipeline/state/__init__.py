"""The state folder of this machine: the log of acts, the inventories. A lost state folder loses no backup."""
