-- The trace that a request belongs to goes on in its events.

alter table teamleader2db.event_outbox add traceparent text;
comment on column teamleader2db.event_outbox.traceparent is 'The header traceparent (W3C Trace Context) of the request that the event tells of, if it has one.';
comment on column teamleader2db.sync_run.replies is 'Where else the final event goes: [{"reply_to", "correlation_id", "traceparent"}].';
