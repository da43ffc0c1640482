-- What is dropped by age is looked for every minute.
CREATE INDEX tombstones_by_age ON tombstones (deleted_at);
CREATE INDEX receipts_by_age ON receipts (at);
