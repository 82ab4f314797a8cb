"""How long backups stay: what is kept and why (pure), and how the rest goes away without hurting anything."""
