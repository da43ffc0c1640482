-- Everything in one schema: the present, its edges, the log, the queue, and what instances have in clusters.

-- The one row names this control plane: what it makes in clusters carries the id.
CREATE TABLE control_plane (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id          uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO control_plane DEFAULT VALUES;

-- The present. Adding a kind needs no migration.
CREATE TABLE objects (
    id                uuid PRIMARY KEY,
    kind              text NOT NULL,
    project           text NOT NULL,               -- '' for kinds in no project
    name              text NOT NULL,
    labels            jsonb NOT NULL DEFAULT '{}',
    annotations       jsonb NOT NULL DEFAULT '{}',
    owner_id          uuid REFERENCES objects,
    owner_controller  text,                        -- the controller that declared it by Finish; NULL for expanded children
    shared_with       text[] NOT NULL DEFAULT '{}',
    generation        bigint NOT NULL DEFAULT 1,
    revision          bigint NOT NULL DEFAULT 1,
    status_revision   bigint NOT NULL DEFAULT 0,
    spec              jsonb NOT NULL DEFAULT '{}', -- sensitive values encrypted
    status            jsonb NOT NULL DEFAULT '{}',
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    deleted_at        timestamptz,
    delete_data       boolean NOT NULL DEFAULT false,
    UNIQUE (kind, project, name)
);
CREATE INDEX objects_by_owner ON objects (owner_id) WHERE owner_id IS NOT NULL;
CREATE INDEX objects_by_project ON objects (project);

-- "From uses to": a used object can't be deleted. Ownership is objects.owner_id.
CREATE TABLE object_refs (
    from_id  uuid NOT NULL REFERENCES objects ON DELETE CASCADE,
    to_id    uuid NOT NULL REFERENCES objects,
    PRIMARY KEY (from_id, to_id)
);
CREATE INDEX object_refs_by_target ON object_refs (to_id);

-- The log. The commit's id is drawn after every row lock is held, so that one object's commits are ordered by id.
CREATE SEQUENCE commit_ids;
CREATE TABLE commits (
    id           bigint PRIMARY KEY,
    actor        text NOT NULL,
    reason       text NOT NULL DEFAULT '',
    traceparent  text NOT NULL DEFAULT '',
    at           timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE changes (
    commit_id    bigint NOT NULL REFERENCES commits ON DELETE CASCADE,
    ordinal      integer NOT NULL,
    object_id    uuid NOT NULL,
    kind         text NOT NULL,
    project      text NOT NULL,
    name         text NOT NULL,
    type         text NOT NULL,          -- created, spec, meta, status, deleting, removed
    meta         jsonb NOT NULL,         -- the object's ObjectMeta after
    before       jsonb,                  -- what filters see of it before: labels and owner; NULL if it did not exist
    spec         jsonb,                  -- after, encrypted, for created and spec
    status       jsonb,                  -- after, for created and status
    PRIMARY KEY (commit_id, ordinal)
);
CREATE INDEX changes_by_object ON changes (object_id, commit_id) WHERE type <> 'status';
CREATE INDEX changes_by_name ON changes (kind, project, name, commit_id) WHERE type <> 'status';
CREATE INDEX changes_of_status ON changes (commit_id) WHERE type = 'status';

-- Positions: ordered, gap-free, appended by the elected sequencer alone.
CREATE TABLE positions (
    position   bigint PRIMARY KEY,
    commit_id  bigint NOT NULL UNIQUE REFERENCES commits ON DELETE CASCADE
);
CREATE TABLE unpositioned (commit_id bigint PRIMARY KEY);
CREATE TABLE sequencer (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    holder         uuid,
    epoch          bigint NOT NULL DEFAULT 0,
    expires_at     timestamptz NOT NULL DEFAULT '-infinity',
    last_position  bigint NOT NULL DEFAULT 0,
    first_position bigint NOT NULL DEFAULT 1   -- the oldest that retention has left whole
);
INSERT INTO sequencer DEFAULT VALUES;

-- Who reconciles what. Seeded for our kinds, from ObjectKind for others.
CREATE TABLE controllers (
    kind  text NOT NULL,
    name  text NOT NULL,
    owns  text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (kind, name)
);

-- Replicas of controllers: one lease for all that they hold.
CREATE TABLE replicas (
    id          uuid PRIMARY KEY,
    identity    text NOT NULL,
    expires_at  timestamptz NOT NULL
);

-- The queue: one row for each object and controller, as long as the object is there.
CREATE TABLE work (
    object_id            uuid NOT NULL REFERENCES objects ON DELETE CASCADE,
    controller           text NOT NULL,
    kind                 text NOT NULL,
    wanted               bigint NOT NULL DEFAULT 1,   -- grows with every cause
    done                 bigint NOT NULL DEFAULT 0,   -- the wanted that the last Finish answered for
    due_at               timestamptz,                 -- NULL: nothing to do
    attempts             integer NOT NULL DEFAULT 0,
    gave_up              boolean NOT NULL DEFAULT false,
    holder               uuid,                        -- a replica
    epoch                bigint NOT NULL DEFAULT 0,
    full_looks           smallint NOT NULL DEFAULT 0, -- looks to come that trust no hash: a holder before may still act
    traceparent          text NOT NULL DEFAULT '',
    observed_generation  bigint NOT NULL DEFAULT 0,
    ready                jsonb,                       -- this controller's Ready condition
    PRIMARY KEY (object_id, controller)
);
CREATE INDEX work_due ON work (due_at) WHERE holder IS NULL AND due_at IS NOT NULL;
CREATE INDEX work_by_holder ON work (holder) WHERE holder IS NOT NULL;

-- More users to wake than one transaction should: expanded in batches by the sequencer's holder.
CREATE TABLE fan_outs (
    id           uuid PRIMARY KEY,
    target_id    uuid NOT NULL,
    after_id     uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    traceparent  text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX fan_outs_by_target ON fan_outs (target_id);

-- Named leases of replicas: the watch on a cluster.
CREATE TABLE leases (
    name    text PRIMARY KEY,
    holder  uuid NOT NULL,
    epoch   bigint NOT NULL
);

-- What workload instances have in clusters, outside status and log.
CREATE TABLE inventory (
    instance_id   uuid NOT NULL REFERENCES objects ON DELETE CASCADE,
    runtime_id    uuid NOT NULL,
    api_version   text NOT NULL,
    kind          text NOT NULL,
    namespace     text NOT NULL,
    name          text NOT NULL,
    uid           text NOT NULL DEFAULT '',
    applied_hash  text NOT NULL DEFAULT '',
    managed_hash  text NOT NULL DEFAULT '',
    retained      boolean NOT NULL DEFAULT false,
    observed      boolean NOT NULL DEFAULT false,
    health        text NOT NULL DEFAULT '',
    repairs       text NOT NULL DEFAULT '',
    PRIMARY KEY (instance_id, runtime_id, api_version, kind, namespace, name)
);
CREATE INDEX inventory_by_runtime ON inventory (runtime_id, instance_id);

-- Namespaces and CRDs, shared between the workloads of a cluster; the last user deletes what we made.
CREATE TABLE shared_resources (
    runtime_id  uuid NOT NULL,
    kind        text NOT NULL,
    name        text NOT NULL,
    uid         text NOT NULL DEFAULT '',
    made_by_us  boolean NOT NULL DEFAULT false,
    project     text NOT NULL,
    releasing   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (runtime_id, kind, name)
);
CREATE TABLE shared_resource_users (
    runtime_id   uuid NOT NULL,
    kind         text NOT NULL,
    name         text NOT NULL,
    instance_id  uuid NOT NULL REFERENCES objects ON DELETE CASCADE,
    PRIMARY KEY (runtime_id, kind, name, instance_id),
    FOREIGN KEY (runtime_id, kind, name) REFERENCES shared_resources
);

-- Objects that are gone, so that late leftovers in clusters may be removed.
CREATE TABLE tombstones (
    object_id   uuid PRIMARY KEY,
    kind        text NOT NULL,
    project     text NOT NULL,
    name        text NOT NULL,
    deleted_at  timestamptz NOT NULL DEFAULT now()
);

-- What --orphan left behind, by its own word.
CREATE TABLE receipts (
    object_id   uuid PRIMARY KEY,
    kind        text NOT NULL,
    project     text NOT NULL,
    name        text NOT NULL,
    left_behind jsonb NOT NULL,
    at          timestamptz NOT NULL DEFAULT now()
);

-- Definitions' generations that instances pin: they live with their pin, not in the log.
CREATE TABLE pinned_generations (
    definition_id  uuid NOT NULL REFERENCES objects ON DELETE CASCADE,
    generation     bigint NOT NULL,
    spec           jsonb NOT NULL,
    status         jsonb NOT NULL,
    PRIMARY KEY (definition_id, generation)
);

-- Counted, bounded, apart from the log.
CREATE TABLE events (
    id             uuid PRIMARY KEY,
    object_id      uuid NOT NULL,
    kind           text NOT NULL,
    project        text NOT NULL,
    name           text NOT NULL,
    type           text NOT NULL,
    reason         text NOT NULL,
    note           text NOT NULL,
    count          integer NOT NULL DEFAULT 1,
    first_seen_at  timestamptz NOT NULL DEFAULT now(),
    last_seen_at   timestamptz NOT NULL DEFAULT now(),
    reported_by    text NOT NULL,
    UNIQUE (object_id, reported_by, type, reason, note)
);
CREATE INDEX events_by_time ON events (last_seen_at DESC, id);
CREATE INDEX events_by_name ON events (name, project, kind);

-- Answers to requests that may be repeated.
CREATE TABLE request_ids (
    identity     text NOT NULL,
    request_id   text NOT NULL,
    fingerprint  bytea NOT NULL,
    response     jsonb NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (identity, request_id)
);
CREATE INDEX request_ids_by_time ON request_ids (at);
