-- Schema teamleader: what people query. One table a resource, each a partition of teamleader.record.

create schema teamleader;
comment on schema teamleader is 'The copy of the Teamleader Focus account: one table a resource, a row a record. Written by teamleader2db.';

create table teamleader.record (
    resource          text        not null,
    account           text        not null,
    id                uuid        not null,
    content           jsonb       not null,
    source_updated_at timestamptz,
    first_seen_at     timestamptz not null default now(),
    changed_at        timestamptz not null default now(),
    listed_at         timestamptz not null default now(),
    detail_at         timestamptz,
    list_hash         bytea       not null,
    detail_hash       bytea,
    parent_resource   text,
    parent_id         uuid,
    deleted_at        timestamptz,
    primary key (resource, account, id)
) partition by list (resource);

comment on table teamleader.record is 'All records of all resources; each partition is the table of one resource.';
comment on column teamleader.record.resource is 'The resource: the name of its list endpoint without ".list".';
comment on column teamleader.record.account is 'The account as the worker names it (TEAMLEADER_ACCOUNT).';
comment on column teamleader.record.id is 'Teamleader''s id of the record.';
comment on column teamleader.record.content is 'The item of the .list endpoint, overlaid by the answer of the .info endpoint. U+0000 and lone surrogates, which jsonb refuses, are stored as U+FFFD.';
comment on column teamleader.record.source_updated_at is 'updated_at as Teamleader tells it; null where the resource has none.';
comment on column teamleader.record.first_seen_at is 'When this copy first saw the record.';
comment on column teamleader.record.changed_at is 'When content or deleted_at last changed in this copy. Follow it to pick up changes, deletions included.';
comment on column teamleader.record.listed_at is 'When the list item last differed, or the source last said that the record changed.';
comment on column teamleader.record.detail_at is 'When .info was last asked and merged; null: never, so fields that only .info tells are unknown. Stale when older than listed_at.';
comment on column teamleader.record.list_hash is 'XXH3 (128 bit, big-endian) of the list item''s text as it was received.';
comment on column teamleader.record.detail_hash is 'XXH3 (128 bit, big-endian) of the .info record''s text as it was received.';
comment on column teamleader.record.parent_resource is 'The resource of the parent record, for records that are listed by parent.';
comment on column teamleader.record.parent_id is 'The id of the parent record, for records that are listed by parent.';
comment on column teamleader.record.deleted_at is 'When a complete pass found the record gone from Teamleader; the row stays.';

-- Creates the table of a resource with all its settings. The table's name is the resource's in snake_case, with "/", "-" and "."
-- as "_". `detailed` says whether the resource has an .info endpoint that adds fields: its stale rows are then indexed.
create function teamleader.add_resource(name text, detailed boolean default false) returns void
language plpgsql as $$
declare
    tab text := lower(regexp_replace(regexp_replace(name, '[/.-]', '_', 'g'), '([a-z0-9])([A-Z])', '\1_\2', 'g'));
begin
    execute format('create table teamleader.%I partition of teamleader.record for values in (%L)', tab, name);
    execute format('comment on table teamleader.%I is %L', tab, 'The records of ' || name || '.list; see teamleader.record for the columns.');
    -- lz4 loads faster than the default pglz; a server built without it keeps its default.
    begin
        execute format('alter table teamleader.%I alter column content set compression lz4', tab);
    exception when feature_not_supported then
        null;
    end;
    if detailed then
        execute format(
            'create index %I on teamleader.%I (account, listed_at desc, id desc) '
            'where deleted_at is null and (detail_at is null or detail_at < listed_at)',
            tab || '_stale_detail', tab);
    end if;
    execute format('create index %I on teamleader.%I (account, changed_at)', tab || '_changed_at', tab);
end
$$;
comment on function teamleader.add_resource(text, boolean) is 'Creates the table of a resource, with its storage settings and indexes.';

select teamleader.add_resource('companies', true);
select teamleader.add_resource('contacts', true);
select teamleader.add_resource('customFieldDefinitions');
select teamleader.add_resource('departments', true);
select teamleader.add_resource('events');
select teamleader.add_resource('invoices', true);
select teamleader.add_resource('projects', true);
select teamleader.add_resource('users', true);
