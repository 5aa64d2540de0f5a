-- The always-on audit: which records were drawn and how they were found, and what that took.

lock table teamleader2db.lease in exclusive mode;

create table teamleader2db.audit_draw (
    account     text        not null,
    resource    text        not null,
    source      text        not null check (source in ('rows', 'list')),
    id          uuid        not null,
    drawn_at    timestamptz not null default clock_timestamp(),
    finding     text        check (finding in ('wrong', 'missing', 'stale')),
    open        text        check (open in ('change', 'deletion', 'absence')),
    repaired_at timestamptz,
    primary key (account, resource, source, id)
);
create index on teamleader2db.audit_draw (account, drawn_at);
comment on table teamleader2db.audit_draw is
    'Records that the always-on audit (AUDIT_RATE) has drawn, the newest draw of each. Rows stay for 7 days.';
comment on column teamleader2db.audit_draw.account is 'The account.';
comment on column teamleader2db.audit_draw.resource is 'The resource.';
comment on column teamleader2db.audit_draw.source is
    'What it was drawn from: rows, those of the copy that are not marked deleted; list, the records that the API lists.';
comment on column teamleader2db.audit_draw.id is 'The record.';
comment on column teamleader2db.audit_draw.drawn_at is 'When the API was asked for it.';
comment on column teamleader2db.audit_draw.finding is
    'wrong: the row differs, and a pass should have seen it; stale: it differs since a change after the last pass; missing: no row, and a pass should have seen it. Null: it is right.';
comment on column teamleader2db.audit_draw.open is
    'Why a stale one may turn out wrong or missing, since nothing says when the record changed: the next pass decides. Null: it is decided.';
comment on column teamleader2db.audit_draw.repaired_at is 'When it was repaired (AUDIT_REPAIR); null: it was not.';

create table teamleader2db.audit_turn (
    id       bigint      generated always as identity primary key,
    account  text        not null,
    resource text        not null,
    source   text        not null,
    at       timestamptz not null,
    requests bigint      not null
);
create index on teamleader2db.audit_turn (account, at);
comment on table teamleader2db.audit_turn is
    'What the always-on audit has asked for, so that AUDIT_RATE holds over restarts. Rows stay for 7 days.';
comment on column teamleader2db.audit_turn.id is 'A number.';
comment on column teamleader2db.audit_turn.account is 'The account.';
comment on column teamleader2db.audit_turn.resource is 'The resource; empty: there was none to ask for.';
comment on column teamleader2db.audit_turn.source is 'rows, list, or repair.';
comment on column teamleader2db.audit_turn.at is
    'When it was over. Of one that goes on, or was cut off: when it is over at the latest.';
comment on column teamleader2db.audit_turn.requests is
    'Requests to the API. Of one that goes on, or was cut off: as many as it may send.';

create table teamleader2db.audit_resource (
    account   text        not null,
    resource  text        not null,
    turned_at timestamptz not null,
    source    text        not null,
    list_end  bigint      not null default 0,
    primary key (account, resource)
);
comment on table teamleader2db.audit_resource is 'Whose turn it is in the always-on audit.';
comment on column teamleader2db.audit_resource.account is 'The account.';
comment on column teamleader2db.audit_resource.resource is 'The resource.';
comment on column teamleader2db.audit_resource.turned_at is 'When it last had its turn: the longest ago is next.';
comment on column teamleader2db.audit_resource.source is 'What was drawn from then: the other is next.';
comment on column teamleader2db.audit_resource.list_end is
    'As many records the list has at least, as far as pages of it have shown.';
