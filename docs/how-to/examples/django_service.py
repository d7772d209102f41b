# SPDX-License-Identifier: Apache-2.0
"""Customers of many accounts, encrypted field by field: Django and PostgreSQL. A project would split this file."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from http import HTTPStatus
from uuid import UUID, uuid4

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from encrypted_rows import PROBE, EncryptedRows, keyring_path, report, status_of

from securekit import SecureKitError, open_store

logging.basicConfig(level=logging.INFO, format="%(process)d %(levelname)s %(name)s %(message)s")

TABLE = "customer"
COLUMNS = ("name", "iban", "email")

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"], "CONN_MAX_AGE": 60}},
    INSTALLED_APPS=[__name__],
    LOGGING_CONFIG=None,
    MIDDLEWARE=[f"{__name__}.KeyMiddleware"],
    ROOT_URLCONF=__name__,
)
django.setup()


# The model.


class Customer(models.Model):
    id: models.Field[UUID, UUID] = models.UUIDField(primary_key=True)  # no default: the view must know it first
    account: models.Field[str, str] = models.TextField(db_index=True)
    name: models.Field[bytes, bytes] = models.BinaryField()
    iban: models.Field[bytes, bytes] = models.BinaryField()
    email: models.Field[bytes, bytes] = models.BinaryField()

    class Meta:
        db_table = TABLE

    def __str__(self) -> str:
        """Name the row; nothing in it is fit to be shown."""
        return str(self.id)


# Opening the keystore, once per master process.

store = open_store(refresh=float(os.environ.get("KEY_REFRESH", "60")), on_event=report)
for name in store.paths("eu"):
    store.keyring(name)  # with --preload this is the master: its workers inherit the open keyrings and ask no KMS


def get_account(request: HttpRequest) -> str:
    """Stand in for your authentication: the account comes from there, and not from what the caller claims."""
    return request.headers["X-Account"]


def get_rows(account: str) -> EncryptedRows:
    """Ask for the account's keyring once per request: a look into a table as long as it is fresh."""
    return EncryptedRows(store.keyring(keyring_path(account)), TABLE, COLUMNS)


# The views.


@require_http_methods(["PUT"])
def open_account(request: HttpRequest) -> HttpResponse:
    """Make the keyring where the account is made, and nowhere else. It is safe to do it twice, or at once."""
    store.keyring(keyring_path(get_account(request)), create=True)
    return HttpResponse(status=HTTPStatus.NO_CONTENT)


@require_POST
def create_customer(request: HttpRequest) -> HttpResponse:
    account = get_account(request)
    row_id = uuid4()  # known before the INSERT, because the values are bound to it
    Customer.objects.create(id=row_id, account=account, **get_rows(account).encrypt(row_id, json.loads(request.body)))
    return JsonResponse({"id": str(row_id)}, status=HTTPStatus.CREATED)


@require_GET
def read_customer(request: HttpRequest, row_id: UUID) -> HttpResponse:
    account = get_account(request)
    row = Customer.objects.filter(id=row_id, account=account)
    stored = row.values(*COLUMNS).first()
    if stored is None:
        raise Http404
    rows = get_rows(account)
    values = rows.decrypt(row_id, stored)
    if rows.is_outdated(stored):
        # Only if nobody has changed the row since it was read; otherwise theirs is the newer one, and stays.
        row.filter(**stored).update(**rows.encrypt(row_id, values))
    return JsonResponse(values)


@require_GET
def ready(request: HttpRequest) -> HttpResponse:
    """Say whether this process can get at keys, or still has them; what fails is answered as everywhere."""
    store.keyring(PROBE)
    return HttpResponse(status=HTTPStatus.NO_CONTENT)


urlpatterns = [
    path("account", open_account),
    path("customers", create_customer),
    path("customers/<uuid:row_id>", read_customer),
    path("ready", ready),
]


# When keys fail.


class KeyMiddleware:
    """Tells the caller nothing but whether to come back; the log has the rest."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["X-Worker"] = str(os.getpid())  # which process answered, for whoever looks for its lines in the log
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, SecureKitError):
            return None
        status = status_of(error, request.path)
        headers = {"Retry-After": "5"} if status is HTTPStatus.SERVICE_UNAVAILABLE else None
        return JsonResponse({"detail": status.phrase}, status=status, headers=headers)


application = get_wsgi_application()
