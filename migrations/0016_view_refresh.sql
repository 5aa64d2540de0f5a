-- When the views of custom fields were last brought up to date, and with which definitions.

create table teamleader2db.view_refresh (
    -- One row.
    is_only boolean primary key default true check (is_only),
    definitions text not null,
    refreshed_at timestamptz not null default now()
);
comment on table teamleader2db.view_refresh is 'The last time the views with a column a custom field were brought up to date.';
comment on column teamleader2db.view_refresh.is_only is 'There is one row.';
comment on column teamleader2db.view_refresh.definitions is 'Which version of the program did it, and view_definitions() as it was then.';
comment on column teamleader2db.view_refresh.refreshed_at is 'When.';

-- sha256 is there in each PostgreSQL, also where its OpenSSL refuses MD5.
create function teamleader2db.view_definitions() returns text
    language sql stable parallel safe
    as $$
        select encode(sha256(convert_to(concat(
            (select string_agg(
                 concat_ws(' ', account, id, hashtextextended(content::text, 0), deleted_at is null), ',' order by account, id)
             from teamleader.record where resource = 'customFieldDefinitions'),
            ';',
            (select string_agg(concat_ws(' ', c.oid, c.relname,
                 (select string_agg(concat_ws(' ', attname, atttypid, atttypmod), ' ' order by attnum)
                  from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped)), ',' order by c.oid)
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where n.nspname = 'teamleader_views' and (c.relname like '%\_wide' or c.relname like '%\_with\_deleted'))),
            'UTF8')), 'hex')
    $$;
comment on function teamleader2db.view_definitions is
    'A digest of what the views with a column a custom field are made from: the definitions of custom fields, and the views that are there with their columns.';
