from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import path

from backup_pipeline_tests.merging.applications.bookshop.models import Book, Category, Genre, Review


def page(request: HttpRequest, isbn: str) -> HttpResponse:
    book = get_object_or_404(Book, isbn=isbn)
    return HttpResponse(f"{book.title}: {', '.join(one.slug for one in book.category.get_ancestors())}")


for model in (
    Book,
    Category,
    Genre,
    Review,
    *map(Book._meta.apps.get_model, ("bookshop.Author", "bookshop.Order")),
):
    admin.site.register(model)

urlpatterns = [path("books/<isbn>/", page), path("admin/", admin.site.urls)]
