"""Django: objects in batches by key, and `bulk_update`."""

from django.db import models

BATCH = 500


class Person(models.Model):
    id = models.BigIntegerField(primary_key=True)
    first_name = models.TextField()
    last_name = models.TextField()
    full_name = models.TextField(null=True)

    class Meta:
        app_label = "bench"
        db_table = "people"
        managed = False


def migrate(_url: str) -> None:
    last = 0
    while True:
        people = list(Person.objects.filter(id__gt=last, full_name=None).order_by("id")[:BATCH])
        if not people:
            return
        for person in people:
            person.full_name = f"{person.first_name} {person.last_name}".strip()
        Person.objects.bulk_update(people, ["full_name"])
        last = people[-1].id
