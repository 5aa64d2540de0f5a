-- Comments of tables and columns in the terms of docs/glossary.md.

comment on column teamleader.record.id is
    'Teamleader''s id of the record; where it has none, a UUIDv5 made from the fields that identify it.';
comment on column teamleader.record.source_updated_at is
    'updated_at as Teamleader has it; null where the resource has none.';
comment on column teamleader.record.deleted_at is
    'Soft delete: when a complete pass found that Teamleader has the record no more. The row stays.';
comment on column teamleader.record_history.source_updated_at is
    'updated_at of this version as Teamleader had it.';

comment on column teamleader2db.sync_step.listed is
    'Distinct records that the list gave.';
comment on column teamleader2db.sync_step.position is
    'The cursor: where in the phase to go on, as JSON with its version; null at the start of a phase.';
comment on column teamleader2db.sync_step.checkpoint is
    'How often the step was written. A worker that wrote it more often goes on from what is lost, and has to start again from here.';
comment on column teamleader2db.sync_step.drift is
    'How the API''s answers differed from its documents.';
comment on column teamleader2db.sync_step.wrong is
    'Of an audit: rows that hold what the API did not give, or whose record is deleted.';
comment on table teamleader2db.sync_page is
    'The ids that each page of an unfinished run gave; deleted with the end of the run.';
comment on column teamleader2db.oauth_token.state is
    'authorized; refreshing: an attempt is under way, or was when its process died; reauthorization_required: an operator must authorize.';
comment on table teamleader2db.oauth_state is
    'Random states of authorizations that were started; each works once, for an hour.';
comment on table teamleader2db.event_outbox is
    'Events to be published, written in the transaction of what they report; sent in order.';
comment on column teamleader2db.event_outbox.traceparent is
    'The header traceparent (W3C Trace Context) of the request that the event is about, if it has one.';
comment on column teamleader2db.view_problem.problem is
    'What could not be done, and how to fix it.';
