-- So that a worker notices when PostgreSQL lost what it had committed.

alter table teamleader2db.sync_step add checkpoint integer not null default 0;
comment on column teamleader2db.sync_step.checkpoint is
    'How often the step was written. A worker that wrote it more often goes on from what is no longer there, and has to begin anew from here.';
