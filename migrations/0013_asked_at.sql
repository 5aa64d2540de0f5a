-- When the answer was asked for that a row was last written from: the newest counts, whichever comes first.

-- Nullable and without a default: no row is written.
alter table teamleader.record add column asked_at timestamptz;
comment on column teamleader.record.asked_at is
    'When the request was sent, by this server''s clock, whose answer the row was last written from, a deletion included. An answer that was asked for earlier writes nothing. Null: unknown.';

alter table teamleader2db.sync_page add column asked_at timestamptz;
comment on column teamleader2db.sync_page.asked_at is 'Of ids that are deleted (pass 0): when they were asked for, by this server''s clock.';
comment on column teamleader2db.sync_page.pass is
    'The pass over the list, from 1; 0: ids that were asked for and are deleted; -1: of an audit, ids that differ; -2: ids to be asked for once more, since what the list gave was older than the row.';
comment on column teamleader.record.detail_at is
    'When .info was last asked and merged; null: never, so fields that only .info has are unknown. Stale when older than listed_at.';
