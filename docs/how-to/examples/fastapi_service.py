# SPDX-License-Identifier: Apache-2.0
"""Customers of many accounts, encrypted field by field: FastAPI, SQLAlchemy with asyncio, PostgreSQL."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated
from uuid import UUID, uuid4

from encrypted_rows import PROBE, EncryptedRows, keyring_path, report, status_of
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from securekit import KeyStore, SecureKitError, open_store

logging.basicConfig(level=logging.INFO, format="%(process)d %(levelname)s %(name)s %(message)s")

COLUMNS = ("name", "iban", "email")


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customer"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account: Mapped[str]
    name: Mapped[bytes]
    iban: Mapped[bytes]
    email: Mapped[bytes]


class NewCustomer(BaseModel):
    name: str
    iban: str
    email: str


# Opening the keystore, once per worker process.


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open keystore and database, in each worker process."""
    app.state.store = open_store(refresh=float(os.environ.get("KEY_REFRESH", "60")), on_event=report)
    engine = create_async_engine("postgresql+psycopg://")  # where it is stands in PGHOST, PGUSER, PGDATABASE …
    app.state.session = async_sessionmaker(engine)
    yield
    await engine.dispose()


async def name_worker(response: Response) -> None:
    """Say which process answered, for whoever looks for its lines in the log."""
    response.headers["X-Worker"] = str(os.getpid())


app = FastAPI(lifespan=lifespan, dependencies=[Depends(name_worker)])


async def get_store() -> KeyStore:
    store: KeyStore = app.state.store
    return store


async def get_session() -> AsyncIterator[AsyncSession]:
    async with app.state.session.begin() as session:
        yield session


async def get_account(x_account: Annotated[str, Header()]) -> str:
    """Stand in for your authentication: the account comes from there, and not from what the caller claims."""
    return x_account


async def get_rows(account: Annotated[str, Depends(get_account)], store: Annotated[KeyStore, Depends(get_store)]) -> EncryptedRows:
    """Ask for the account's keyring once per request: the only place where keys may need I/O, and it does not block."""
    return EncryptedRows(await store.akeyring(keyring_path(account)), Customer.__tablename__, COLUMNS)


# The views.

Store = Annotated[KeyStore, Depends(get_store)]
Session = Annotated[AsyncSession, Depends(get_session, scope="function")]  # committed before the answer is sent
Account = Annotated[str, Depends(get_account)]
Rows = Annotated[EncryptedRows, Depends(get_rows)]


@app.put("/account", status_code=HTTPStatus.NO_CONTENT)
async def open_account(account: Account, store: Store) -> None:
    """Make the keyring where the account is made, and nowhere else. It is safe to do it twice, or at once."""
    await store.akeyring(keyring_path(account), create=True)


@app.post("/customers", status_code=HTTPStatus.CREATED)
async def create_customer(new: NewCustomer, account: Account, rows: Rows, session: Session) -> dict[str, str]:
    row_id = uuid4()  # known before the INSERT, because the values are bound to it
    session.add(Customer(id=row_id, account=account, **rows.encrypt(row_id, new.model_dump())))
    return {"id": str(row_id)}


@app.get("/customers/{row_id}")
async def read_customer(row_id: UUID, account: Account, rows: Rows, session: Session) -> dict[str, str]:
    query = select(Customer.name, Customer.iban, Customer.email).where(Customer.id == row_id, Customer.account == account)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    stored = row._asdict()
    values = rows.decrypt(row_id, stored)
    if rows.is_outdated(stored):
        # Only if nobody has changed the row since it was read; otherwise theirs is the newer one, and stays.
        unchanged = [getattr(Customer, column) == stored[column] for column in COLUMNS]
        await session.execute(update(Customer).where(Customer.id == row_id, *unchanged).values(rows.encrypt(row_id, values)))
    return values


@app.get("/ready", status_code=HTTPStatus.NO_CONTENT)
async def ready(store: Store) -> None:
    """Say whether this process can get at keys, or still has them; what fails is answered as everywhere."""
    await store.akeyring(PROBE)


# When keys fail.


@app.exception_handler(SecureKitError)
async def keys_failed(request: Request, error: SecureKitError) -> Response:
    """Tell the caller nothing but whether to come back; the log has the rest."""
    status = status_of(error, request.url.path)
    headers = {"Retry-After": "5"} if status is HTTPStatus.SERVICE_UNAVAILABLE else None
    return JSONResponse({"detail": status.phrase}, status, headers)
