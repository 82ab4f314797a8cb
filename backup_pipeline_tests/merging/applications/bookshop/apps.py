from django.apps import AppConfig


class Bookshop(AppConfig):
    name = "backup_pipeline_tests.merging.applications.bookshop"
    label = "bookshop"
    default_auto_field = "django.db.models.BigAutoField"
