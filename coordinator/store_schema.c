#include "coordinator/store_schema.h"

#include "common/cleanup.h"

const char *const store_migrations[] = {
    "CREATE TABLE clients ("
    "  id TEXT PRIMARY KEY,"
    "  online INTEGER NOT NULL,"
    "  connected_at INTEGER NOT NULL," /* times: Unix milliseconds, 0: never */
    "  heartbeat_at INTEGER NOT NULL,"
    "  version TEXT NOT NULL,"
    "  labels TEXT NOT NULL" /* a JSON object */
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE requests ("
    "  seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  client TEXT NOT NULL,"
    "  id TEXT NOT NULL,"
    "  origin TEXT NOT NULL,"
    "  state TEXT NOT NULL,"
    "  cancel_asked INTEGER NOT NULL,"
    "  path TEXT NOT NULL,"
    "  receiver TEXT NOT NULL,"
    "  max_size INTEGER NOT NULL,"
    "  rate INTEGER NOT NULL,"
    "  size INTEGER," /* NULL: not known */
    "  sent INTEGER NOT NULL,"
    "  sha256 BLOB,"
    "  uploaded_path TEXT NOT NULL,"
    "  stored TEXT NOT NULL,"
    "  created_at INTEGER NOT NULL,"
    "  started_at INTEGER NOT NULL,"
    "  completed_at INTEGER NOT NULL,"
    "  updated_at INTEGER NOT NULL,"
    "  expires_at INTEGER NOT NULL,"
    "  error_code TEXT NOT NULL,"
    "  error_reason TEXT NOT NULL,"
    "  error_message TEXT NOT NULL,"
    "  idempotency_key TEXT UNIQUE,"
    "  UNIQUE (client, id)"
    ") STRICT;"
    "CREATE INDEX requests_id ON requests (id);"
    "CREATE INDEX requests_open ON requests (seq) WHERE state IN ('queued', 'accepted', 'running');"
    "CREATE INDEX requests_followed ON requests (seq)"
    "  WHERE origin = 'mqtt' AND state NOT IN ('queued', 'accepted', 'running');"
    "CREATE INDEX requests_followed_client ON requests (client, seq)"
    "  WHERE origin = 'mqtt' AND state NOT IN ('queued', 'accepted', 'running');"
    "CREATE TABLE request_events ("
    "  request INTEGER NOT NULL REFERENCES requests (seq) ON DELETE CASCADE,"
    "  at INTEGER NOT NULL,"
    "  event TEXT NOT NULL,"
    "  state TEXT NOT NULL,"
    "  reason TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX request_events_request ON request_events (request);",
    "CREATE INDEX requests_doubtful ON requests (updated_at) WHERE state IN ('failed', 'cancelled', "
    "'expired');",
    /* What lists are made from, without the rows themselves. */
    "CREATE INDEX requests_listed ON requests (seq, client, state);",
    /* Batches. Their counts are kept by the database itself, in the transaction that changes a request, and
     * outlive its row. */
    "CREATE TABLE batches ("
    "  seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  id TEXT NOT NULL UNIQUE,"
    "  maker TEXT NOT NULL," /* '': who shows the shared token */
    "  path TEXT NOT NULL,"
    "  receiver TEXT NOT NULL,"
    "  max_size INTEGER NOT NULL,"
    "  rate INTEGER NOT NULL,"
    "  life INTEGER NOT NULL," /* of each request, milliseconds */
    "  created_at INTEGER NOT NULL,"
    "  ramp INTEGER NOT NULL,"
    "  max_failures INTEGER NOT NULL," /* 0: any number */
    "  matched INTEGER NOT NULL,"
    "  unasked INTEGER NOT NULL,"
    "  queued INTEGER NOT NULL,"
    "  running INTEGER NOT NULL,"
    "  completed INTEGER NOT NULL,"
    "  failed INTEGER NOT NULL,"
    "  ended TEXT NOT NULL," /* '', 'stopped' or 'cancelled' */
    "  traceparent TEXT NOT NULL,"
    "  idempotency_key TEXT UNIQUE,"
    "  fingerprint BLOB NOT NULL" /* of what was asked, for a repeat */
    ") STRICT;"
    "CREATE TABLE batch_clients (" /* those still to be asked */
    "  batch INTEGER NOT NULL REFERENCES batches (seq) ON DELETE CASCADE,"
    "  client TEXT NOT NULL,"
    "  PRIMARY KEY (batch, client)"
    ") STRICT, WITHOUT ROWID;"
    "ALTER TABLE requests ADD COLUMN batch TEXT;"
    "CREATE INDEX requests_batch ON requests (batch, seq, client, state) WHERE batch IS NOT NULL;"
    "CREATE TRIGGER batch_counts_one_more AFTER INSERT ON requests WHEN NEW.batch IS NOT NULL BEGIN"
    "  UPDATE batches SET unasked = unasked - 1, queued = queued + 1 WHERE id = NEW.batch;"
    " END;"
    "CREATE TRIGGER batch_counts_change AFTER UPDATE OF state ON requests"
    " WHEN NEW.batch IS NOT NULL AND NEW.state <> OLD.state BEGIN"
    "  UPDATE batches SET"
    "  queued = queued + (NEW.state = 'queued') - (OLD.state = 'queued'),"
    "  running = running + (NEW.state IN ('accepted', 'running')) - (OLD.state IN ('accepted', 'running')),"
    "  completed = completed + (NEW.state = 'completed') - (OLD.state = 'completed'),"
    "  failed = failed + (NEW.state IN ('failed', 'rejected', 'cancelled', 'expired'))"
    "    - (OLD.state IN ('failed', 'rejected', 'cancelled', 'expired'))"
    "  WHERE id = NEW.batch;"
    " END;",
    "ALTER TABLE requests ADD COLUMN traceparent TEXT NOT NULL DEFAULT '';",
    /* What is forgotten is found by it, oldest first. And the content that is to be removed at the receiver,
     * or is: */
    "CREATE INDEX requests_final ON requests (updated_at)"
    "  WHERE state IN ('completed', 'failed', 'rejected', 'cancelled', 'expired');"
    "ALTER TABLE requests ADD COLUMN removal_asked INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE requests ADD COLUMN remover TEXT NOT NULL DEFAULT '';"      /* who has asked */
    "ALTER TABLE requests ADD COLUMN removed_at INTEGER NOT NULL DEFAULT 0;" /* 0: it is there */
    "CREATE INDEX requests_removing ON requests (seq) WHERE removal_asked = 1 AND removed_at = 0;",
    /* The same of one client. */
    "CREATE INDEX requests_final_client ON requests (client, updated_at)"
    "  WHERE state IN ('completed', 'failed', 'rejected', 'cancelled', 'expired');",
};
const size_t store_migration_count = ARRAY_SIZE(store_migrations);
