-- Schema teamleader2db: what the worker needs to go on after a crash.

-- The table of applied migrations is in it already.
create schema if not exists teamleader2db;
comment on schema teamleader2db is 'The machinery of teamleader2db: runs, checkpoints, tokens, leases and events to be sent.';

create table teamleader2db.lease (
    account  text        primary key,
    epoch    bigint      not null,
    holder   text        not null,
    taken_at timestamptz not null default now()
);
comment on table teamleader2db.lease is 'Who may write for an account. Each slice of work takes the next epoch; a transaction of an older one stops.';
comment on column teamleader2db.lease.account is 'The account.';
comment on column teamleader2db.lease.epoch is 'Rises by one with each slice; never falls.';
comment on column teamleader2db.lease.holder is 'Host and process that took the epoch, for people.';
comment on column teamleader2db.lease.taken_at is 'When the epoch was taken.';

create table teamleader2db.sync_run (
    account      text        not null,
    id           uuid        not null,
    request      jsonb       not null,
    status       text        not null default 'running' check (status in ('running', 'completed', 'partial', 'failed')),
    slice        integer     not null default 0,
    attempts     integer     not null default 0,
    waits        integer     not null default 0,
    replies      jsonb       not null default '[]',
    api_requests bigint      not null default 0,
    started_at   timestamptz not null default now(),
    finished_at  timestamptz,
    error        text,
    event        jsonb,
    primary key (account, id)
);
create index sync_run_finished on teamleader2db.sync_run (account, finished_at);
comment on table teamleader2db.sync_run is 'One row a sync request.';
comment on column teamleader2db.sync_run.account is 'The account.';
comment on column teamleader2db.sync_run.id is 'The request id.';
comment on column teamleader2db.sync_run.request is 'The parameters of the request, normalised: the same id with others is refused.';
comment on column teamleader2db.sync_run.status is 'running until the finishing transaction; then the word that the final event says.';
comment on column teamleader2db.sync_run.slice is 'The number of the delivery that may work: raised when a copy of the request has been confirmed by the broker. A delivery with a lower one is dropped.';
comment on column teamleader2db.sync_run.attempts is 'Claims since a checkpoint last moved; counts crash loops.';
comment on column teamleader2db.sync_run.waits is 'How often in a row the request was sent to a delay queue because the API was down.';
comment on column teamleader2db.sync_run.replies is 'Where else the final event goes: [{"reply_to", "correlation_id"}].';
comment on column teamleader2db.sync_run.api_requests is 'Requests made to the API for this run, retries included.';
comment on column teamleader2db.sync_run.started_at is 'When the run was first claimed.';
comment on column teamleader2db.sync_run.finished_at is 'When the run was finished.';
comment on column teamleader2db.sync_run.error is 'Why the run as a whole failed, if it did.';
comment on column teamleader2db.sync_run.event is 'The final event as it was sent, to be sent again when the request is delivered again.';

create table teamleader2db.sync_step (
    account    text        not null,
    run_id     uuid        not null,
    resource   text        not null,
    ordinal    integer     not null,
    phase      text        not null check (phase in ('list', 'sweep', 'detail', 'done')),
    status     text        check (status in ('completed', 'skipped', 'failed')),
    since      timestamptz,
    position   jsonb,
    listed     bigint      not null default 0,
    created    bigint      not null default 0,
    updated    bigint      not null default 0,
    unchanged  bigint      not null default 0,
    deleted    bigint      not null default 0,
    detailed   bigint      not null default 0,
    matches    bigint,
    verified   boolean,
    replaced   bigint      not null default 0,
    clock      timestamptz,
    error      text,
    primary key (account, run_id, resource),
    foreign key (account, run_id) references teamleader2db.sync_run (account, id) on delete cascade
);
comment on table teamleader2db.sync_step is 'A resource of a run: how far it has come, and its counts.';
comment on column teamleader2db.sync_step.account is 'The account.';
comment on column teamleader2db.sync_step.run_id is 'The request id.';
comment on column teamleader2db.sync_step.resource is 'The resource.';
comment on column teamleader2db.sync_step.ordinal is 'The order in which the resources are worked on.';
comment on column teamleader2db.sync_step.phase is 'list: reading the list; sweep: asking for what a complete pass did not see; detail: asking .info; done.';
comment on column teamleader2db.sync_step.status is 'Null until the phase is done.';
comment on column teamleader2db.sync_step.since is 'The updated_since of an incremental list pass; null: a complete pass.';
comment on column teamleader2db.sync_step.position is 'Where in the phase to go on; null at its beginning.';
comment on column teamleader2db.sync_step.listed is 'Distinct records that the list told.';
comment on column teamleader2db.sync_step.created is 'Rows that were not there before.';
comment on column teamleader2db.sync_step.updated is 'Rows whose list item differed.';
comment on column teamleader2db.sync_step.unchanged is 'Records whose row had the same list item already.';
comment on column teamleader2db.sync_step.deleted is 'Rows marked deleted.';
comment on column teamleader2db.sync_step.detailed is 'Rows whose .info was merged.';
comment on column teamleader2db.sync_step.matches is 'How many records the API said that the list holds, where it said so.';
comment on column teamleader2db.sync_step.verified is 'Whether the pass is proven to have seen every record that was there throughout.';
comment on column teamleader2db.sync_step.replaced is 'Characters that jsonb refuses and that became U+FFFD.';
comment on column teamleader2db.sync_step.clock is 'The API''s clock when the pass began; the next watermark comes from it.';
comment on column teamleader2db.sync_step.error is 'Why the resource failed or was skipped.';

create table teamleader2db.sync_page (
    account  text    not null,
    run_id   uuid    not null,
    resource text    not null,
    pass     integer not null,
    page     integer not null,
    ids      uuid[]  not null,
    primary key (account, run_id, resource, pass, page),
    foreign key (account, run_id, resource) references teamleader2db.sync_step (account, run_id, resource) on delete cascade
);
comment on table teamleader2db.sync_page is 'The ids that each page of an unfinished run told; gone with the run.';
comment on column teamleader2db.sync_page.account is 'The account.';
comment on column teamleader2db.sync_page.run_id is 'The request id.';
comment on column teamleader2db.sync_page.resource is 'The resource.';
comment on column teamleader2db.sync_page.pass is 'The pass over the list, from 1; 0: ids that a sweep confirmed to be gone.';
comment on column teamleader2db.sync_page.page is 'A number that rises with each page read in the pass.';
comment on column teamleader2db.sync_page.ids is 'The ids.';

create table teamleader2db.cursor (
    account         text        not null,
    resource        text        not null,
    watermark       timestamptz,
    last_success_at timestamptz,
    last_full_at    timestamptz,
    primary key (account, resource)
);
comment on table teamleader2db.cursor is 'How far each resource of an account is known to be complete.';
comment on column teamleader2db.cursor.account is 'The account.';
comment on column teamleader2db.cursor.resource is 'The resource.';
comment on column teamleader2db.cursor.watermark is 'The API''s clock when the last wholly successful pass began, less SYNC_LOOKBACK. The next incremental pass asks for what changed since. Never moves back.';
comment on column teamleader2db.cursor.last_success_at is 'When a run last ended with this resource completed.';
comment on column teamleader2db.cursor.last_full_at is 'When a full run last ended with this resource completed.';

create table teamleader2db.oauth_token (
    account            text        primary key,
    generation         bigint      not null default 0,
    state              text        not null check (state in ('authorized', 'refreshing', 'reauthorization_required')),
    access_token       bytea,
    refresh_token      bytea,
    access_expires_at  timestamptz,
    access_lifetime    double precision,
    attempt_id         uuid,
    attempt_deadline   timestamptz,
    teamleader_account uuid,
    authorized_by      text,
    reason             text,
    updated_at         timestamptz not null default now()
);
comment on table teamleader2db.oauth_token is 'The OAuth tokens of an account. A refresh token works once: this row is the only place that knows the live one.';
comment on column teamleader2db.oauth_token.account is 'The account.';
comment on column teamleader2db.oauth_token.generation is 'Rises with each pair stored.';
comment on column teamleader2db.oauth_token.state is 'authorized; refreshing: an attempt is under way, or was when its process died; reauthorization_required: a person must authorize.';
comment on column teamleader2db.oauth_token.access_token is 'Sealed with TOKEN_ENCRYPTION_KEY (XChaCha20-Poly1305), bound to account and generation.';
comment on column teamleader2db.oauth_token.refresh_token is 'Sealed with TOKEN_ENCRYPTION_KEY (XChaCha20-Poly1305), bound to account and generation.';
comment on column teamleader2db.oauth_token.access_expires_at is 'When the access token expires, by this server''s clock.';
comment on column teamleader2db.oauth_token.access_lifetime is 'How many seconds the access token lives; it is refreshed ahead of its end by a share of that.';
comment on column teamleader2db.oauth_token.attempt_id is 'The refresh attempt that is under way.';
comment on column teamleader2db.oauth_token.attempt_deadline is 'When the attempt is certainly over, by this server''s clock.';
comment on column teamleader2db.oauth_token.teamleader_account is 'Teamleader''s own id of the account, from users.me: another one is refused.';
comment on column teamleader2db.oauth_token.authorized_by is 'The Teamleader user who authorized.';
comment on column teamleader2db.oauth_token.reason is 'Why authorization is required.';
comment on column teamleader2db.oauth_token.updated_at is 'When the row last changed.';

create table teamleader2db.oauth_state (
    state      text        primary key,
    account    text        not null,
    created_at timestamptz not null default now()
);
comment on table teamleader2db.oauth_state is 'Random states of authorizations that were begun; each works once, for an hour.';
comment on column teamleader2db.oauth_state.state is 'Random text (244 bits) that Teamleader sends back with the code.';
comment on column teamleader2db.oauth_state.account is 'The account that it was made for.';
comment on column teamleader2db.oauth_state.created_at is 'When it was made.';

create table teamleader2db.event_outbox (
    id             bigint      generated always as identity primary key,
    account        text        not null,
    event_id       uuid        not null,
    subject        text        not null,
    routing_key    text        not null,
    reply_to       text,
    correlation_id text,
    payload        text        not null,
    created_at     timestamptz not null default now(),
    sent_at        timestamptz
);
create index event_outbox_pending on teamleader2db.event_outbox (account, id) where sent_at is null;
comment on table teamleader2db.event_outbox is 'Events to be published, written in the transaction of what they tell; sent in order.';
comment on column teamleader2db.event_outbox.id is 'The order of sending.';
comment on column teamleader2db.event_outbox.account is 'The account.';
comment on column teamleader2db.event_outbox.event_id is 'The CloudEvents id and AMQP message_id: stays the same when the event is sent again.';
comment on column teamleader2db.event_outbox.subject is 'The request id, or the account for events about authorization.';
comment on column teamleader2db.event_outbox.routing_key is 'The routing key on the events exchange.';
comment on column teamleader2db.event_outbox.reply_to is 'Where set, the event goes to this queue instead of the events exchange.';
comment on column teamleader2db.event_outbox.correlation_id is 'The AMQP correlation_id.';
comment on column teamleader2db.event_outbox.payload is 'The CloudEvent as JSON.';
comment on column teamleader2db.event_outbox.created_at is 'When it was written.';
comment on column teamleader2db.event_outbox.sent_at is 'When the broker confirmed it; null: still to be sent.';
