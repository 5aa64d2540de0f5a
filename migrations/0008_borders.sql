-- Replies are sent apart from events, and both with a bounded number of tries.

alter table teamleader2db.event_outbox
    add tries integer not null default 0,
    add next_try_at timestamptz,
    add given_up text;
comment on column teamleader2db.event_outbox.tries is 'How often the broker did not take it although it was there; of a reply, how often it was published.';
comment on column teamleader2db.event_outbox.next_try_at is 'When it is published again; null: at once.';
comment on column teamleader2db.event_outbox.given_up is 'Why it is not published any more, although no broker confirmed it.';
comment on column teamleader2db.event_outbox.sent_at is 'When the broker confirmed it, or it was given up (see given_up); null: still to be sent.';

-- A panic is one failed attempt of a run.

alter table teamleader2db.sync_run add panics integer not null default 0, add panicked_at text;
comment on column teamleader2db.sync_run.panics is 'How often a bug ended the work on it; unlike attempts, progress does not set it back.';
comment on column teamleader2db.sync_run.panicked_at is 'File and line of the last time.';
