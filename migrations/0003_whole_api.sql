-- Every list of the API; versions of records; how the API's answers differ from its documents; audits.

-- The same as before, with an index for the records of a parent.
drop function teamleader.add_resource(text, boolean);
create function teamleader.add_resource(name text, detailed boolean default false, child boolean default false) returns void
language plpgsql as $$
declare
    tab text := lower(regexp_replace(regexp_replace(name, '[/.-]', '_', 'g'), '([a-z0-9])([A-Z])', '\1_\2', 'g'));
begin
    execute format('create table teamleader.%I partition of teamleader.record for values in (%L)', tab, name);
    execute format('comment on table teamleader.%I is %L', tab, 'The records of ' || name || '; see teamleader.record for the columns.');
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
    if child then
        execute format('create index %I on teamleader.%I (account, parent_id)', tab || '_parent', tab);
    end if;
    execute format('create index %I on teamleader.%I (account, changed_at)', tab || '_changed_at', tab);
end
$$;
comment on function teamleader.add_resource(text, boolean, boolean) is 'Creates the table of a resource, with its storage settings and indexes. detailed: .info adds fields; child: it is listed by parent record.';

select teamleader.add_resource('activityTypes');
select teamleader.add_resource('businessTypes');
select teamleader.add_resource('callOutcomes');
select teamleader.add_resource('calls', detailed => true);
select teamleader.add_resource('closingDays');
select teamleader.add_resource('commercialDiscounts');
select teamleader.add_resource('creditNotes', detailed => true);
select teamleader.add_resource('dayOffTypes');
select teamleader.add_resource('dealPhases');
select teamleader.add_resource('dealPipelines');
select teamleader.add_resource('deals', detailed => true);
select teamleader.add_resource('dealSources');
select teamleader.add_resource('documentTemplates');
select teamleader.add_resource('emailTracking', child => true);
select teamleader.add_resource('files', child => true);
select teamleader.add_resource('levelTwoAreas');
select teamleader.add_resource('lostReasons');
select teamleader.add_resource('mailTemplates');
select teamleader.add_resource('meetings', detailed => true);
select teamleader.add_resource('milestones', detailed => true);
select teamleader.add_resource('notes', child => true);
select teamleader.add_resource('paymentMethods');
select teamleader.add_resource('paymentTerms');
select teamleader.add_resource('priceLists');
select teamleader.add_resource('productCategories');
select teamleader.add_resource('products', detailed => true);
select teamleader.add_resource('projects-v2/materials', detailed => true);
select teamleader.add_resource('projects-v2/projectGroups', detailed => true);
select teamleader.add_resource('projects-v2/projectLines', child => true);
select teamleader.add_resource('projects-v2/projects', detailed => true);
select teamleader.add_resource('projects-v2/tasks', detailed => true);
select teamleader.add_resource('quotations', detailed => true);
select teamleader.add_resource('subscriptions', detailed => true);
select teamleader.add_resource('tags');
select teamleader.add_resource('tasks', detailed => true);
select teamleader.add_resource('taxRates');
select teamleader.add_resource('teams');
select teamleader.add_resource('tickets', detailed => true);
select teamleader.add_resource('tickets.messages', child => true);
select teamleader.add_resource('ticketStatus');
select teamleader.add_resource('timeTracking');
select teamleader.add_resource('unitsOfMeasure');
select teamleader.add_resource('users.daysOff', child => true);
select teamleader.add_resource('withholdingTaxRates');
select teamleader.add_resource('workTypes');

comment on column teamleader.record.id is 'Teamleader''s id of the record; where it has none, a UUIDv5 made from the fields that tell it from others.';

create table teamleader.record_history (
    resource          text        not null,
    account           text        not null,
    id                uuid        not null,
    content           jsonb       not null,
    source_updated_at timestamptz,
    deleted_at        timestamptz,
    valid_from        timestamptz not null,
    valid_to          timestamptz not null,
    primary key (resource, account, id, valid_from)
);
create index record_history_valid_to on teamleader.record_history (account, valid_to);
comment on table teamleader.record_history is 'Earlier versions of records, where HISTORY=on; the newest is in teamleader.record, since its changed_at.';
comment on column teamleader.record_history.resource is 'As in teamleader.record.';
comment on column teamleader.record_history.account is 'As in teamleader.record.';
comment on column teamleader.record_history.id is 'As in teamleader.record.';
comment on column teamleader.record_history.content is 'What the row held.';
comment on column teamleader.record_history.source_updated_at is 'updated_at of this version as Teamleader told it.';
comment on column teamleader.record_history.deleted_at is 'Where set, the record was marked deleted in this interval.';
comment on column teamleader.record_history.valid_from is 'Since when this copy held the version (changed_at).';
comment on column teamleader.record_history.valid_to is 'Until when: the changed_at of the version that took its place.';

-- lz4 where the server has it, as for the records.
do $$ begin
    alter table teamleader.record_history alter column content set compression lz4;
exception when feature_not_supported then
    null;
end $$;

create function teamleader.keep_version() returns trigger language plpgsql as $$
begin
    insert into teamleader.record_history (resource, account, id, content, source_updated_at, deleted_at, valid_from, valid_to)
    values (old.resource, old.account, old.id, old.content, old.source_updated_at, old.deleted_at, old.changed_at, new.changed_at)
    on conflict do nothing;
    return null;
end
$$;
comment on function teamleader.keep_version() is 'Keeps the version that an update of teamleader.record writes over.';
-- Whoever writes says whether versions are kept: the worker sets the parameter for its sessions by HISTORY.
create trigger keep_version after update on teamleader.record for each row
    when (old.changed_at is distinct from new.changed_at and current_setting('teamleader2db.history', true) = 'on')
    execute function teamleader.keep_version();

alter table teamleader2db.sync_step
    drop constraint sync_step_phase_check,
    add constraint sync_step_phase_check check (phase in ('list', 'sweep', 'detail', 'aged', 'done')),
    add column drift jsonb not null default '[]',
    add column aged bigint not null default 0,
    add column missing bigint not null default 0,
    add column stale bigint not null default 0,
    add column wrong bigint not null default 0;
comment on column teamleader2db.sync_step.phase is 'list: reading the list; sweep: asking for what a complete pass did not see; detail: asking .info for what is missing or stale; aged: for what is merely old; done.';
comment on column teamleader2db.sync_step.drift is 'How the API''s answers differed from its documents, in words.';
comment on column teamleader2db.sync_step.aged is 'Details that were asked for since they were old.';
comment on column teamleader2db.sync_step.missing is 'Of an audit: records of the API that have no row.';
comment on column teamleader2db.sync_step.stale is 'Of an audit: rows that hold an older state of their record.';
comment on column teamleader2db.sync_step.wrong is 'Of an audit: rows that hold what the API did not tell, or whose record is gone.';
comment on column teamleader2db.cursor.watermark is 'The API''s clock when the last wholly successful pass began, less SYNC_LOOKBACK; of resources that are listed by parent, the database''s clock. The next incremental pass asks for what changed since. Never moves back.';
comment on column teamleader2db.cursor.last_full_at is 'When a run last ended with this resource completed, read completely and proven so.';
