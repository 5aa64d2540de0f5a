-- Logins at the dashboard that can be ended, and authorizations that belong to who started them.

create table teamleader2db.login (
    id      uuid        primary key,
    account text        not null,
    ends_at timestamptz not null
);
comment on table teamleader2db.login is 'Logins at the dashboard: one whose row is deleted holds for no process of the account.';
comment on column teamleader2db.login.id is 'Random id that the signed cookie of the login carries.';
comment on column teamleader2db.login.account is 'The account whose dashboard it is.';
comment on column teamleader2db.login.ends_at is 'When it ends by itself.';

alter table teamleader2db.oauth_state add column started_by text not null default 'command'
    check (started_by in ('browser', 'command', 'anyone'));
comment on column teamleader2db.oauth_state.started_by is
    'browser: only the browser with the cookie of this state may end it; command: anyone who has the printed link;
     anyone: HTTP_API_TOKEN is not set.';

alter table teamleader2db.oauth_token add column previously_authorized_by text;
comment on column teamleader2db.oauth_token.previously_authorized_by is
    'Who authorized before, while it is not known yet who did last.';
