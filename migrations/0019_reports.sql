-- What pages read: counts of rows, totals of runs, and indexes, so that no page reads a table from end to end.

lock table teamleader2db.lease in exclusive mode;

create table teamleader2db.table_count (
    account  text   not null,
    resource text   not null,
    rows     bigint not null,
    deleted  bigint not null
);
comment on table teamleader2db.table_count is
    'How many rows the tables of the resources have: the sums over its rows by account and resource. Each write adds a row of its own and changes no other, so no write waits for another; a worker folds them into one now and then. Where somebody has disabled triggers or loaded rows without them, teamleader2db.count_tables() counts again.';
comment on column teamleader2db.table_count.account is 'The account.';
comment on column teamleader2db.table_count.resource is 'The resource.';
comment on column teamleader2db.table_count.rows is 'To be added to the rows that are not marked deleted.';
comment on column teamleader2db.table_count.deleted is 'To be added to those that are.';

-- With the rights of its owner: who may write a record need not have any on the counts.
create function teamleader2db.count_row() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op <> 'INSERT' then
        insert into teamleader2db.table_count (account, resource, rows, deleted)
        values (old.account, old.resource, -(old.deleted_at is null)::integer, -(old.deleted_at is not null)::integer);
    end if;
    if tg_op <> 'DELETE' then
        insert into teamleader2db.table_count (account, resource, rows, deleted)
        values (new.account, new.resource, (new.deleted_at is null)::integer, (new.deleted_at is not null)::integer);
    end if;
    return null;
end
$$;
comment on function teamleader2db.count_row() is 'Counts a row of teamleader.record that is written.';

-- Of the parent: each partition has them by that, those to come as well. A worker that loads rows by COPY adds their
-- number itself, and says so by the parameter.
create trigger count_insert after insert on teamleader.record for each row
    when (current_setting('teamleader2db.counts', true) is distinct from 'own')
    execute function teamleader2db.count_row();
create trigger count_update after update on teamleader.record for each row
    when ((old.deleted_at is null) <> (new.deleted_at is null)
          or old.account <> new.account or old.resource <> new.resource)
    execute function teamleader2db.count_row();
create trigger count_delete after delete on teamleader.record for each row
    execute function teamleader2db.count_row();

-- Adds the opposite of the sums, in place of deleting the rows that they are of: these may be folded at this moment.
create function teamleader2db.count_truncated() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into teamleader2db.table_count (account, resource, rows, deleted)
    select account, resource, -sum(rows), -sum(deleted) from teamleader2db.table_count
    where resource = tg_argv[0] group by account, resource;
    return null;
end
$$;
comment on function teamleader2db.count_truncated() is 'Counts no row of a resource whose table is truncated.';

-- Truncating fires only what is on the very table: each partition has its own, also where the parent is truncated.
do $$
declare
    it record;
begin
    for it in
        select i.inhrelid::regclass as name,
            substring(pg_get_expr(c.relpartbound, c.oid) from '^FOR VALUES IN \(''(.*)''\)') as resource
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'teamleader.record'::regclass
    loop
        execute format('create trigger count_truncate after truncate on %s for each statement '
            'execute function teamleader2db.count_truncated(%L)', it.name, it.resource);
    end loop;
end
$$;

create or replace function teamleader.add_resource(name text, detailed boolean default false, child boolean default false) returns void
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
    execute format('create trigger count_truncate after truncate on teamleader.%I for each statement '
        'execute function teamleader2db.count_truncated(%L)', tab, name);
end
$$;

-- Writers wait for it, readers do not.
create function teamleader2db.count_tables() returns void language plpgsql as $$
begin
    lock table teamleader.record in share row exclusive mode;
    insert into teamleader2db.table_count (account, resource, rows, deleted)
    select account, resource, sum(rows), sum(deleted)
    from (select account, resource, count(*) filter (where deleted_at is null) as rows,
              count(*) filter (where deleted_at is not null) as deleted
          from teamleader.record group by account, resource
          union all
          select account, resource, -rows, -deleted from teamleader2db.table_count) as difference
    group by account, resource having sum(rows) <> 0 or sum(deleted) <> 0;
end
$$;
comment on function teamleader2db.count_tables() is
    'Counts the rows of all tables again: where triggers were disabled, or rows loaded without them.';
select teamleader2db.count_tables();

-- The steps of one resource, where its runs are few among many.
create index sync_step_resource on teamleader2db.sync_step (account, resource, run_id);

-- What the runs so far wrote, added up before sync_run is locked.
create table teamleader2db.written_so_far as
    select account, run_id, sum(created)::bigint as created, sum(updated)::bigint as updated,
        sum(deleted)::bigint as deleted, sum(detailed)::bigint as detailed
    from teamleader2db.sync_step group by account, run_id;

alter table teamleader2db.sync_run
    add column created bigint,
    add column updated bigint,
    add column deleted bigint,
    add column detailed bigint;
comment on column teamleader2db.sync_run.created is 'Rows that it created, of all resources; null until it is finished.';
comment on column teamleader2db.sync_run.updated is 'Rows that it updated.';
comment on column teamleader2db.sync_run.deleted is 'Rows that it marked deleted.';
comment on column teamleader2db.sync_run.detailed is 'Rows whose detail it merged.';
update teamleader2db.sync_run r
    set created = w.created, updated = w.updated, deleted = w.deleted, detailed = w.detailed
    from teamleader2db.written_so_far w
    where r.account = w.account and r.id = w.run_id and r.finished_at is not null;
drop table teamleader2db.written_so_far;

-- Pages of runs, the newest first: of all, and of few among many.
create index sync_run_started on teamleader2db.sync_run (account, started_at desc, id desc);
create index sync_run_status on teamleader2db.sync_run (account, status, started_at desc, id desc);
create index sync_run_mode on teamleader2db.sync_run (account, (request ->> 'mode'), started_at desc, id desc);
