-- Records that cannot be read or stored cost only themselves.

create table teamleader2db.rejected_record (
    account text not null,
    resource text not null,
    id uuid not null,
    reason text not null,
    again text not null check (again in ('id', 'detail', 'list')),
    first_at timestamptz not null default clock_timestamp(),
    last_at timestamptz not null default clock_timestamp(),
    primary key (account, resource, id)
);

comment on table teamleader2db.rejected_record is 'Records of the API that could not be read or stored. Each later pass asks for them; what was read or is deleted has no entry any more. The row of such a record, if it has one, holds an older state, or lacks its detail.';
comment on column teamleader2db.rejected_record.account is 'The account, as TEAMLEADER_ACCOUNT names it.';
comment on column teamleader2db.rejected_record.resource is 'The resource in the API''s spelling.';
comment on column teamleader2db.rejected_record.id is 'The record''s id; where it has none that can be read, one that is made of its text.';
comment on column teamleader2db.rejected_record.reason is 'Why it was rejected the last time; shows nothing of its content.';
comment on column teamleader2db.rejected_record.again is 'How it is asked for again: by its id; for its detail, which its row lacks; or, as it has no id that can be read, with its list alone.';
comment on column teamleader2db.rejected_record.first_at is 'When it was first rejected.';
comment on column teamleader2db.rejected_record.last_at is 'When it was last rejected.';

alter table teamleader2db.sync_step add column rejected bigint not null default 0;
comment on column teamleader2db.sync_step.rejected is 'Records that could not be read or stored: while it is worked on, of its list; when the run has ended, all that are in rejected_record.';
