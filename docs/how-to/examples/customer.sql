-- SPDX-License-Identifier: Apache-2.0
CREATE TABLE customer (
    id uuid PRIMARY KEY, -- made by the application, because the ciphertexts are bound to it
    account text NOT NULL,
    name bytea NOT NULL, -- records of securekit: 77 bytes longer than the text
    iban bytea NOT NULL,
    email bytea NOT NULL
);
CREATE INDEX customer_account ON customer (account);
