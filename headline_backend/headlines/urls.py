"""The two resources: the collection and a headline."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.collection, name="collection"),
    path("<int:headline_id>/", views.item, name="item"),
]
