from __future__ import annotations

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from mptt.models import MPTTModel, TreeForeignKey
from taggit.managers import TaggableManager
from treebeard.mp_tree import MP_Node


class Review(models.Model):
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.PositiveBigIntegerField()
    about = GenericForeignKey()
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)


class Category(MP_Node):
    slug = models.SlugField(unique=True)


class Genre(MPTTModel):
    name = models.CharField(max_length=50)
    parent = TreeForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")

    class Meta:
        unique_together = (("parent", "name"),)


class Author(models.Model):
    name = models.CharField(max_length=80, unique=True)
    reviews = GenericRelation(Review)


class Book(models.Model):
    isbn = models.CharField(max_length=13, unique=True)
    title = models.CharField(max_length=200)
    category = models.ForeignKey(Category, on_delete=models.CASCADE)
    sequel_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL)
    authors = models.ManyToManyField(Author)
    genres = models.ManyToManyField(Genre)
    tags = TaggableManager()
    reviews = GenericRelation(Review)


class Order(models.Model):
    number = models.CharField(max_length=20, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    placed_at = models.DateTimeField(auto_now_add=True)


class Line(models.Model):
    order = models.ForeignKey(Order, on_delete=models.CASCADE)
    #: A line stays when its book goes.
    book = models.ForeignKey(Book, null=True, on_delete=models.SET_NULL)
    place = models.PositiveSmallIntegerField()
    copies = models.PositiveSmallIntegerField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["order", "place"], name="place_in_order"),)
