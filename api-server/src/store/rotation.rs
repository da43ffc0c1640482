//! Rotation of encryption keys: all that older keys have encrypted is encrypted again.

use serde_json::Value;
use uuid::Uuid;

use super::{Store, statement};
use crate::error::{Error, Result};

/// Rows that one statement of a rotation reads.
const BATCH: i64 = 200;

/// A table that holds specs: how to read a batch of rows after a key, and how to rewrite one.
struct Table {
    read: &'static str,
    write: &'static str,
}

/// Each row is read as a sortable key, the object's id, its kind and its spec.
const TABLES: [Table; 3] = [
    Table {
        read: "SELECT id::text AS key, id AS object_id, kind, spec FROM objects
               WHERE kind = ANY($1) AND id::text > $2 ORDER BY id::text LIMIT $3",
        write: "UPDATE objects SET spec = $2 WHERE id::text = $1 AND spec = $3",
    },
    Table {
        read: "SELECT p.definition_id || '/' || p.generation AS key, p.definition_id AS object_id, o.kind, p.spec
               FROM pinned_generations p JOIN objects o ON o.id = p.definition_id
               WHERE o.kind = ANY($1) AND p.definition_id || '/' || p.generation > $2 ORDER BY key LIMIT $3",
        write: "UPDATE pinned_generations SET spec = $2 WHERE definition_id || '/' || generation = $1 AND spec = $3",
    },
    Table {
        read: "SELECT to_char(commit_id, 'FM0000000000000000000') || '/' || to_char(ordinal, 'FM0000000000') AS key,
                      object_id, kind, spec FROM changes
               WHERE spec IS NOT NULL AND kind = ANY($1)
                 AND (commit_id, ordinal) > (split_part($2, '/', 1)::bigint, split_part($2, '/', 2)::integer)
               ORDER BY commit_id, ordinal LIMIT $3",
        write: "UPDATE changes SET spec = $2 WHERE commit_id = split_part($1, '/', 1)::bigint
                AND ordinal = split_part($1, '/', 2)::integer AND spec = $3",
    },
];

impl Store {
    /// Encrypts with the first key what older keys have encrypted, log included, so that they can be dropped. Objects keep
    /// their revisions: nothing that a user sees has changed.
    pub async fn rotate_secrets(&self) -> Result<()> {
        if !self.secrets.has_older_keys() {
            return Ok(());
        }
        let registry = self.registry();
        let secretive = registry.kinds().filter(|kind| !kind.sensitive.is_empty());
        let kinds = secretive.map(|kind| kind.name.clone()).collect::<Vec<_>>();
        for (table, first) in TABLES.iter().zip(["", "", "0/0"]) {
            // A row that was written meanwhile may have kept what the old key had encrypted.
            while self.rotate_table(table, &kinds, first).await? > 0 {}
        }
        Ok(())
    }

    /// Goes through a table once; how many rows an older key had encrypted.
    async fn rotate_table(&self, table: &Table, kinds: &[String], first: &str) -> Result<usize> {
        let (mut after, mut found) = (first.to_owned(), 0);
        while let (Some(last), old) = self.rotate_batch(table, kinds, &after).await? {
            after = last;
            found += old;
        }
        Ok(found)
    }

    /// Rewrites a batch; the key of its last row, or none when there was no row, and how many rows were old.
    async fn rotate_batch(&self, table: &Table, kinds: &[String], after: &str) -> Result<(Option<String>, usize)> {
        let connection = self.pool.get().await?;
        let registry = self.registry();
        let (mut last, mut old) = (None, 0);
        for row in statement::query(&connection, table.read, &[&kinds, &after, &BATCH]).await? {
            let (key, id, kind): (String, Uuid, String) = (row.get("key"), row.get("object_id"), row.get("kind"));
            let stored: Value = row.get("spec");
            let mut spec = stored.clone();
            let kind = registry.get(&kind).ok_or_else(|| Error::Corrupt(format!("{id} is of unknown kind {kind}")))?;
            if self.secrets.renew(kind, id, &mut spec)? {
                statement::execute(&connection, table.write, &[&key, &spec, &stored]).await?;
                old += 1;
            }
            last = Some(key);
        }
        Ok((last, old))
    }
}
