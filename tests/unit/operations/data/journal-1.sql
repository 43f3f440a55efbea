-- A journal of schema version 1, as written by the program that had it.
BEGIN TRANSACTION;
CREATE TABLE autostarted (uuid TEXT PRIMARY KEY, at REAL NOT NULL);
INSERT INTO "autostarted" VALUES('x',1.0);
CREATE TABLE decisions (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, record TEXT NOT NULL);
INSERT INTO "decisions" VALUES(1,3.0,'{"cycle": "c1", "at": 3.0, "sentence": "nothing to do", "kind": "quiet", "plan": {"steps": []}, "refused": [{"vm": "a"}]}');
CREATE TABLE definition_moves (uuid TEXT PRIMARY KEY, source TEXT NOT NULL, destination TEXT NOT NULL);
INSERT INTO "definition_moves" VALUES('w','node1','node2');
CREATE TABLE host_flags (
  host TEXT PRIMARY KEY, draining INTEGER NOT NULL, requested_by TEXT NOT NULL, at REAL NOT NULL);
INSERT INTO "host_flags" VALUES('node1',1,'ann',1.0);
CREATE TABLE migrations (
  id INTEGER PRIMARY KEY AUTOINCREMENT, vm TEXT NOT NULL, uuid TEXT NOT NULL, source TEXT NOT NULL,
  destination TEXT NOT NULL, "trigger" TEXT NOT NULL, state TEXT NOT NULL, reason_code TEXT NOT NULL,
  reason TEXT NOT NULL, requested_by TEXT NOT NULL, cycle TEXT NOT NULL, requested_at REAL NOT NULL, started_at REAL,
  ended_at REAL, predicted_seconds REAL, duration_seconds REAL, downtime_ms INTEGER, transferred_bytes INTEGER,
  error TEXT NOT NULL, autostart INTEGER NOT NULL DEFAULT 0);
INSERT INTO "migrations" VALUES(1,'web','u','node1','node2','balance','completed','contention','node1 is short of CPU','ann','c1',1.0,2.0,9.0,4.5,6.5,80,NULL,'',0);
INSERT INTO "migrations" VALUES(2,'db','v','node1','node2','balance','migrating','contention','node1 is short of CPU','ann','c2',1.0,NULL,NULL,4.5,NULL,NULL,NULL,'',1);
CREATE TABLE moves (
  uuid TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL, at REAL NOT NULL, "trigger" TEXT NOT NULL,
  success INTEGER NOT NULL);
INSERT INTO "moves" VALUES('u','node1','node2',9.0,'balance',1);
CREATE TABLE placements (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, record TEXT NOT NULL);
INSERT INTO "placements" VALUES(1,2.0,'{"id": 0, "vm": "web", "uuid": "u", "outcome": "started", "trigger": "manual", "at": 2.0, "host": "node2", "reason": "node2: best", "requested_by": "", "cycle": "", "attempts": [{"host": "node1", "error": "no"}, {"host": "node2", "error": ""}], "ranking": [{"host": "node1", "score": 1.0, "terms": {"cpu": 1.0}}], "refused": [{"host": "node3", "reasons": [{"code": "memory_short", "text": "short"}]}], "moves_first": []}');
CREATE TABLE recommendations (
  id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, at REAL NOT NULL, record TEXT NOT NULL);
INSERT INTO "recommendations" VALUES(1,'pending',4.0,'{"id": 0, "vm": "web", "uuid": "u", "source": "node1", "destination": "node2", "trigger": "balance", "reason_code": "contention", "reason": "why", "gain": 0.5, "predicted_seconds": 4.0, "at": 4.0, "cycle": "c1", "state": "pending"}');
CREATE INDEX migrations_by_state ON migrations (state);
CREATE INDEX moves_by_time ON moves (at);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('migrations',2);
INSERT INTO "sqlite_sequence" VALUES('placements',1);
INSERT INTO "sqlite_sequence" VALUES('decisions',1);
INSERT INTO "sqlite_sequence" VALUES('recommendations',1);
COMMIT;
PRAGMA user_version = 1;
