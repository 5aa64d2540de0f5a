-- Installed in the database of a seed once the worker has made its schema. Each process of the worker has a database user of its
-- own, so `session_user` tells which one writes.
create schema faults;

create table faults.lease (epoch bigint, holder text, at timestamptz not null default clock_timestamp());
create table faults.token (generation bigint, state text, by text, at timestamptz not null default clock_timestamp());
create table faults.violation (what text, at timestamptz not null default clock_timestamp());

create function faults.note_lease() returns trigger language plpgsql as $$ begin
    insert into faults.lease values (new.epoch, session_user);
    return null;
end $$;
create trigger note_lease after insert or update on teamleader2db.lease for each row execute function faults.note_lease();

-- A transaction that has committed the intent, a pair or a refusal.
create function faults.note_token() returns trigger language plpgsql as $$ begin
    insert into faults.token values (new.generation, new.state, session_user);
    return null;
end $$;
create trigger note_token after insert or update on teamleader2db.oauth_token for each row execute function faults.note_token();

-- A write is judged in its own transaction: while that holds the row of the lease, no newer epoch can be committed. One that is
-- rolled back leaves no violation, and has done no harm.
create function faults.judge() returns trigger language plpgsql as $$
declare newest record;
begin
    -- A run that was asked to end is ended without an epoch, under the row of the lease: by the command, or by any worker.
    if session_user = 'canceller' or exists (
        select from teamleader2db.sync_run
        where cancel_at < clock_timestamp() - interval '1 second'
          and (status = 'running' or xmin = pg_current_xact_id()::xid)
    ) then
        return null;
    end if;
    select epoch, holder into newest from faults.lease order by epoch desc limit 1;
    if newest.holder is distinct from session_user then
        insert into faults.violation values (format('%s wrote %s (%s) although %s holds the lease with epoch %s',
            session_user, tg_table_name, tg_op, newest.holder, newest.epoch));
    end if;
    -- A plain select of the lease's row locks nothing, and fences nothing.
    if not exists (select from pg_locks where pid = pg_backend_pid() and mode = 'RowShareLock' and granted
            and relation = 'teamleader2db.lease'::regclass) then
        insert into faults.violation values (format('%s wrote %s (%s) without holding the row of the lease',
            session_user, tg_table_name, tg_op));
    end if;
    return null;
end $$;
-- All that is fenced. Retention deletes runs, and with them their steps and pages, without a fence, on purpose.
create trigger judge after insert or update or delete on teamleader.record for each statement execute function faults.judge();
-- All of a run but its attempts: a process that was overtaken takes back its own claim, which harms nobody.
create trigger judge after insert or update of request, status, slice, waits, replies, started_at, finished_at, api_requests, event, error
    on teamleader2db.sync_run for each statement execute function faults.judge();
create trigger judge after insert or update on teamleader2db.sync_step for each statement execute function faults.judge();
create trigger judge after insert or update on teamleader2db.sync_page for each statement execute function faults.judge();
create trigger judge after insert or update on teamleader2db.cursor for each statement execute function faults.judge();
