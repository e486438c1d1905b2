"""Django: objects in batches by key, and `bulk_update`."""

from django.db import models

BATCH = 500


class Person(models.Model):
    id = models.BigIntegerField(primary_key=True)
    first_name = models.TextField()
    last_name = models.TextField()
    email = models.TextField()
    lookup = models.TextField(null=True)

    class Meta:
        app_label = "bench"
        db_table = "people"
        managed = False


def migrate(_url: str) -> None:
    last = 0
    while True:
        people = list(Person.objects.filter(id__gt=last, lookup=None).order_by("id")[:BATCH])
        if not people:
            return
        for p in people:
            p.lookup = f"{p.email.strip().lower()}/{p.last_name.lower()}/{len(p.first_name)}"
        Person.objects.bulk_update(people, ["lookup"])
        last = people[-1].id
