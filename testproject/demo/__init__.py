"""``manage.py demo``: the shop under load on a few connections, next to stock Django."""
