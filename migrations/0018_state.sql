-- What the state of an account is read from, why resources failed, and runs that are cancelled.

alter table teamleader2db.sync_run
    alter column request drop not null,
    drop constraint sync_run_status_check,
    add constraint sync_run_status_check
        check (status in ('running', 'completed', 'partial', 'failed', 'cancelled')),
    add column cancel_at timestamptz,
    add column progress_at timestamptz,
    add column wait_since timestamptz,
    add column waited_at timestamptz,
    add column wait_until timestamptz,
    add column wait_reason text,
    add column budget_since timestamptz,
    add column budget_until timestamptz;
comment on column teamleader2db.sync_run.request is
    'The parameters of the request, normalised: the same id with others is refused. Null: its id was cancelled before a worker knew it.';
comment on column teamleader2db.sync_run.cancel_at is 'When it was asked to end; null: it was not.';
comment on column teamleader2db.sync_run.progress_at is 'When a checkpoint was last written.';
comment on column teamleader2db.sync_run.wait_since is
    'Since when the API does not answer it; null once it does. Set when the request goes to a delay queue.';
comment on column teamleader2db.sync_run.waited_at is 'When the request last went to a delay queue.';
comment on column teamleader2db.sync_run.wait_until is 'When it leaves that queue.';
comment on column teamleader2db.sync_run.wait_reason is 'What the API answered instead.';
comment on column teamleader2db.sync_run.budget_since is 'Since when it waits for the budget of the API.';
comment on column teamleader2db.sync_run.budget_until is 'When the next request may be sent; past: it does not wait for the budget.';

alter table teamleader2db.sync_step add column cause text, add column stale_details bigint;
comment on column teamleader2db.sync_step.stale_details is
    'Details that were missing or stale when the run started; null: unknown.';
comment on column teamleader2db.sync_step.cause is 'Why it failed, as the word that decides what an operator does; null: it did not.';

alter table teamleader2db.cursor
    add column incremental_span double precision,
    add column listed_rows bigint,
    add column held_rows bigint,
    add column held_of bigint,
    add column held_at timestamptz;
comment on column teamleader2db.cursor.incremental_details is
    'Rows that the last incremental pass has created or changed: each takes a detail.';
comment on column teamleader2db.cursor.incremental_span is
    'Of how many seconds the last incremental pass read the changes: for the forecasts of those to come.';
comment on column teamleader2db.cursor.listed_rows is
    'Records that the last complete pass has listed, and rows that later ones have created: for forecasts.';
comment on column teamleader2db.cursor.held_rows is
    'Rows whose records are missing from Teamleader, and that were not marked deleted since they are too many; null: none.';
comment on column teamleader2db.cursor.held_of is 'Of how many rows.';
comment on column teamleader2db.cursor.held_at is 'Since when. Null once a full sync has marked them, or found them again.';

-- Looked for each second, and with each look at the account's state.
create index sync_run_running on teamleader2db.sync_run (account) where status = 'running';
create index sync_step_failed on teamleader2db.sync_step (account, resource) where status = 'failed';
