-- What the pages of runs and workers show.

lock table teamleader2db.lease in exclusive mode;

create table teamleader2db.run_log (
    account text        not null,
    run_id  uuid        not null,
    number  bigint      not null generated always as identity,
    at      timestamptz not null,
    level   text        not null,
    message text        not null,
    fields  jsonb       not null,
    primary key (account, run_id, number),
    foreign key (account, run_id) references teamleader2db.sync_run (account, id) on delete cascade
);
comment on table teamleader2db.run_log is
    'The last lines that workers have logged of a run, at INFO and above. They are deleted with it, and of one that completed after a week.';
comment on column teamleader2db.run_log.account is 'The account.';
comment on column teamleader2db.run_log.run_id is 'The request id.';
comment on column teamleader2db.run_log.number is 'The order in which they were stored.';
comment on column teamleader2db.run_log.at is 'When it was logged, by the clock of the worker.';
comment on column teamleader2db.run_log.level is 'ERROR, WARN or INFO.';
comment on column teamleader2db.run_log.message is 'What it says.';
comment on column teamleader2db.run_log.fields is 'Its fields.';

create table teamleader2db.worker (
    account    text        not null,
    holder     text        not null,
    version    text        not null,
    started_at timestamptz not null,
    seen_at    timestamptz not null default now(),
    consuming  boolean     not null,
    primary key (account, holder)
);
comment on table teamleader2db.worker is
    'The worker processes of an account. One that has ended in order has no row; one that was not seen for a day has none either.';
comment on column teamleader2db.worker.account is 'The account.';
comment on column teamleader2db.worker.holder is 'Host, process and a number, as in teamleader2db.lease.';
comment on column teamleader2db.worker.version is 'Its version, and the commit that it is built from where that is known.';
comment on column teamleader2db.worker.started_at is 'When it started.';
comment on column teamleader2db.worker.seen_at is 'When it was last heard of: each writes this every 15 s.';
comment on column teamleader2db.worker.consuming is 'Whether it consumes requests, or stands by to; else the broker or an authorization is missing.';

alter table teamleader2db.sync_step add column began_at timestamptz, add column ended_at timestamptz;
comment on column teamleader2db.sync_step.began_at is 'When its first batch was committed.';
comment on column teamleader2db.sync_step.ended_at is 'When it was done; null: it is not, or was ended from outside.';
