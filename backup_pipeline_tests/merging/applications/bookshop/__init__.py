"""A Django project: users, generic relations, two kinds of trees, tags, many-to-many and self references."""
