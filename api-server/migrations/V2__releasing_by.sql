-- Who was told to delete a shared resource: it may change its mind, and when it is gone nobody waits for it.
ALTER TABLE shared_resources ADD COLUMN releasing_by uuid;
UPDATE shared_resources SET releasing_by = '00000000-0000-0000-0000-000000000000' WHERE releasing;
ALTER TABLE shared_resources DROP COLUMN releasing;
